"""Sends the requests and waits: through throttling, to the end of a job, with its reason when it failed.

Whatever ends the waiting (a timeout, the end of the run, Ctrl-C) ends the job too: nothing goes on at AWS that
nobody waits for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mdlc_assets.resources.sagemaker.faults import ServiceError, UnansweredError, absent, code_of, passes, told
from mdlc_assets.resources.sagemaker.requests import Request

_ENDED = frozenset({"Completed", "Failed", "Stopped"})
_MOST_ATTEMPTS = 5
_LOG = logging.getLogger("mdlc.sagemaker")
# What a reason usually comes from, by words in it.
_MENDS = (
    ("No S3 objects found", "check that the channel's files were written and the role may read them"),
    ("Data download failed", "check that the channel's files were written and the role may read them"),
    ("CapacityError", "choose another `model.sagemaker.instance_type`, or try again later"),
    ("InsufficientInstanceCapacity", "choose another `model.sagemaker.instance_type`, or try again later"),
    ("AccessDenied", "give the role of `MDLC_SAGEMAKER_ROLE` the rights deploy/ lists"),
    ("stands in for the image", "give the image's command in `commands` of the resource SageMaker"),
    ("MaxRuntimeExceeded", "raise `model.sagemaker.max_runtime`, or take a larger machine"),
    ("MaxWaitTimeExceeded", "raise `model.sagemaker.max_wait`, or train without spot"),
)


class JobFailedError(ServiceError):
    """A job that ended otherwise than completed. `reason` is what SageMaker says."""

    def __init__(self, kind: str, name: str, status: str, reason: str) -> None:
        self.name, self.status, self.reason = name, status, reason
        said = reason.strip().rstrip(".") or "no reason was given"
        mend = ""
        if "Mend:" not in said:
            found = next((mend for words, mend in _MENDS if words in said), f"see the log of {kind} job {name}")
            mend = f" Mend: {found}."
        super().__init__(f"{kind} job {name} {status.lower()}: {said}.{mend}")


@dataclass
class Pace:
    """How often to ask: the first pause, the longest, and how long calls may be throttled."""

    first_seconds: float = 0.2
    longest_seconds: float = 30.0
    throttled_seconds: float = 300.0
    sleep: Callable[[float], None] = field(default=time.sleep)


class Jobs:
    """Jobs over one client, boto3's or the local one."""

    def __init__(self, client: Any, pace: Pace | None = None) -> None:
        self.client, self.pace = client, pace or Pace()

    def call(self, method: str, request: Request) -> dict[str, Any]:
        """One call, again after growing pauses while the service is throttled or not to be reached.

        Raises `ServiceError` when that lasts, and for what is denied or beyond a limit.
        """
        retrying = Retrying(
            retry=retry_if_exception(passes),
            wait=wait_random_exponential(multiplier=self.pace.first_seconds, max=self.pace.longest_seconds),
            stop=stop_after_delay(self.pace.throttled_seconds),
            sleep=self.pace.sleep,
            reraise=True,
        )
        try:
            return retrying(getattr(self.client, method), **request)
        except (ClientError, BotoCoreError) as error:
            words = told(error, self.client, method, self.pace.throttled_seconds)
            if words is None:
                raise
            raise words from error

    def listed(self, method: str, part: str, request: Request) -> list[dict[str, Any]]:
        """All items of all pages."""
        found: list[dict[str, Any]] = []
        token: dict[str, Any] = {}
        while True:
            answer = self.call(method, {**request, **token})
            found += answer[part]
            if not answer.get("NextToken"):
                return found
            token = {"NextToken": answer["NextToken"]}

    def train(self, request: Request, *, patience_seconds: float | None = None) -> dict[str, Any]:
        """Start a training job, or find the same one again, and wait for its end: its description.

        A job of the same name that failed or was stopped is followed by one with a number at its end.
        Raises `JobFailedError`.
        """
        limits = request["StoppingCondition"]
        longest = limits.get("MaxWaitTimeInSeconds", limits["MaxRuntimeInSeconds"])
        # Starting, downloading and uploading are not part of the runtime.
        return self._see_through("training", "TrainingJob", request, patience_seconds or longest + 3600)

    def transform(self, request: Request, *, patience_seconds: float = 86_400) -> dict[str, Any]:
        """As `train`, for a batch transform."""
        return self._see_through("transform", "TransformJob", request, patience_seconds)

    def ensure(self, method: str, request: Request, *, taken: str) -> dict[str, Any] | None:
        """Create what may be there already; None when it is. `taken` is a word of the service's refusal."""
        try:
            return self.call(method, request)
        except ClientError as error:
            if code_of(error) in ("ValidationException", "ResourceInUse", "ConflictException") and taken in str(error):
                return None
            raise

    def gone(self, method: str, request: Request) -> bool:
        """Delete what may be gone already; says whether it was there."""
        try:
            self.call(method, request)
        except ClientError as error:
            if not absent(error):
                raise
            return False
        return True

    def _see_through(self, kind: str, noun: str, request: Request, patience: float) -> dict[str, Any]:
        name = self._start(kind, noun, request)
        try:
            found = self._wait(kind, noun, name, patience)
        except BaseException:
            self._stop(kind, name)
            raise
        status = found[f"{noun}Status"]
        if status != "Completed":
            secondary = found.get("SecondaryStatus", "")
            reason = found.get("FailureReason") or (secondary if secondary != status else "somebody stopped it")
            raise JobFailedError(kind, name, status, reason)
        return found

    def _start(self, kind: str, noun: str, request: Request) -> str:
        stem = request[f"{noun}Name"]
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            name = stem if attempt == 1 else f"{stem[:60]}-{attempt}"
            try:
                self.call(f"create_{kind}_job", {**request, f"{noun}Name": name})
                return name
            except ClientError as error:
                if code_of(error) != "ResourceInUse":
                    raise
            except UnansweredError:
                self._stop(kind, name)
                raise
            status = self._describe(kind, noun, name)[f"{noun}Status"]
            if status in ("Completed", "InProgress"):
                _LOG.info("%s job %s is there already (%s): going on with it", kind, name, status)
                return name
        raise ServiceError(
            f"{kind} job {stem} failed {_MOST_ATTEMPTS} times. Mend: see its reasons at SageMaker; start a new run."
        )

    def _wait(self, kind: str, noun: str, name: str, patience: float) -> dict[str, Any]:
        end, pause = time.monotonic() + patience, self.pace.first_seconds
        while True:
            found = self._describe(kind, noun, name)
            if found[f"{noun}Status"] in _ENDED:
                return found
            if time.monotonic() > end:
                raise ServiceError(
                    f"{kind} job {name} has not ended after {patience:g} s and was stopped. "
                    "Mend: allow it more time, or take a larger machine."
                )
            self.pace.sleep(min(pause, max(0.0, end - time.monotonic()) + 0.01))
            pause = min(pause * 1.5, self.pace.longest_seconds)

    def _describe(self, kind: str, noun: str, name: str) -> dict[str, Any]:
        return self.call(f"describe_{kind}_job", {f"{noun}Name": name})

    def _stop(self, kind: str, name: str) -> None:
        noun = "TrainingJob" if kind == "training" else "TransformJob"
        try:
            self.call(f"stop_{kind}_job", {f"{noun}Name": name})
            _LOG.warning("%s job %s was asked to stop: nobody waits for it", kind, name)
        except ClientError:
            # It may have ended by itself just now, or never begun.
            _LOG.info("%s job %s has nothing to stop", kind, name)
        except ServiceError as error:
            _LOG.error("%s job %s may still run and be billed. Mend: stop it at SageMaker. %s", kind, name, error)
