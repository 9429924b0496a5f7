"""What AWS refuses while it runs a Spark job: said with its mend, and no job is left behind that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from mdlc_assets.resources.aws import aws_client
from mdlc_assets.resources.spark_cluster import SparkServiceError

_ENDED = frozenset({"SUCCEEDED", "SUCCESS", "FAILED", "ERROR", "TIMEOUT", "STOPPED", "CANCELLED"})
Stop = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]
# Refusals that only services of this kind have.
_MENDS = {
    "ConcurrentRunsExceededException": "wait for the run that is under way, or raise the job's MaxConcurrentRuns",
    "ServiceQuotaExceededException": "wait for the jobs that are under way, or ask for more at Service Quotas",
    "ResourceNumberLimitExceededException": "wait for the jobs that are under way, or ask for more at Service Quotas",
    "EntityNotFoundException": "make the job at Glue, or correct its name in MDLC_SPARK",
    "ValidationException": "correct MDLC_SPARK and the variables beside it (docs/spark.md)",
}


class JobService:
    """The clients of a service that runs jobs, and of the logs by which a job reports.

    `stop` makes the call that ends a job out of the answer that told of its start. Where a start does not
    `repeat` safely, one that was not answered is not sent again: it may have been heard.
    """

    def __init__(self, name: str, stop: Stop, *, repeats: bool) -> None:
        self.client, self.logs = aws_client(name), aws_client("logs")
        self.refused: list[str] = []
        """What the logs said instead of the job's reports."""
        self._name, self._stop = name, stop
        self._started: list[Mapping[str, Any]] = []
        self.client.meta.events.register("after-call", self._note_state)
        if not repeats:
            self.client.meta.events.register(f"needs-retry.{name}.StartJobRun", self._refuse_to_repeat)
        self.logs.meta.events.register("after-call", self._note_refusal)
        self.logs.meta.events.register("after-call-error", self._note_silence)

    @contextmanager
    def seen_through(self) -> Iterator[None]:
        """Around all of a job. Raises `SparkServiceError` for what boto3 raises, after it has stopped the job."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise SparkServiceError(" ".join([_told(error), *self._stopped()])) from error

    def _stopped(self) -> Iterator[str]:
        for started in self._started:
            method, request = self._stop(started)
            try:
                answer = getattr(self.client, method)(**request)
            except (BotoCoreError, ClientError) as error:
                yield f"The job may still run and be billed ({request}): {_told(error)}"
            else:
                # Glue answers well where it could stop nothing.
                refused = f", which refused: {answer['Errors']}" if answer.get("Errors") else ""
                yield f"The service was asked to stop the job, for which nobody waits ({request}){refused}."

    def _note_state(self, parsed: Mapping[str, Any], model: Any, **rest: Any) -> None:
        if model.name == "StartJobRun" and "Error" not in parsed:
            self._started.append(parsed)
        elif model.name == "GetJobRun":
            job = parsed.get("JobRun") or parsed.get("jobRun") or {}
            if (job.get("JobRunState") or job.get("state")) in _ENDED:
                self._started.clear()

    def _refuse_to_repeat(self, caught_exception: Exception | None, **rest: Any) -> None:
        if isinstance(caught_exception, ConnectionClosedError | ReadTimeoutError):
            raise SparkServiceError(
                f"{self._name}:StartJobRun was not answered ({type(caught_exception).__name__}), and may have been "
                "heard. Mend: see that this machine reaches AWS, and that no run of the job is under way; run again."
            ) from caught_exception

    def _note_refusal(self, parsed: Mapping[str, Any], **rest: Any) -> None:
        error = parsed.get("Error")
        # A stream is there only when its job has written to it.
        if error and error.get("Code") != "ResourceNotFoundException":
            self.refused.append(f"{error.get('Code')}: {error.get('Message')}")

    def _note_silence(self, exception: Exception, **rest: Any) -> None:
        self.refused.append(str(exception))


def glue_service(job: str) -> JobService:
    """Glue, for the runs of a job. Its requests have no token by which it would know one that is sent again."""
    return JobService(
        "glue",
        lambda started: ("batch_stop_job_run", {"JobName": job, "JobRunIds": [started["JobRunId"]]}),
        repeats=False,
    )


def emr_serverless_service() -> JobService:
    """EMR Serverless. boto3 gives each request to start a job a token, so that it starts one job however often sent."""
    return JobService(
        "emr-serverless",
        lambda started: ("cancel_job_run", {name: started[name] for name in ("applicationId", "jobRunId")}),
        repeats=True,
    )


def _told(error: Exception) -> str:
    text = str(error).rstrip(".")
    if "Mend:" in text:
        return f"{text}."
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return f"{text}. Mend: {_MENDS.get(code, 'see that AWS takes the request, the credentials and the region')}."
