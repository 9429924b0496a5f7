"""Each call of a Spark job on Glue and EMR Serverless throttled, denied, or not answered: waited out, or told with its
mend; and no job left behind. moto takes the jobs; what they print is laid into CloudWatch's logs by the test."""

import contextlib
import io
import itertools
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import boto3
import dagster as dg
import dagster_aws.pipes.message_readers
import pytest
from botocore.awsrequest import AWSResponse
from dagster._core.pipes import utils
from dagster_pipes import PipesContext, PipesMappingParamsLoader, encode_param, open_dagster_pipes

from mdlc_assets.resources.spark_cluster import (
    EmrServerlessSpark,
    GlueSpark,
    SparkCluster,
    SparkJob,
    SparkReportError,
    SparkServiceError,
)
from mdlc_assets_tests.moto_server import moto_environment
from mdlc_assets_tests.resources.aws_answers import Faults, answer, answer_first

DAY = date(2018, 4, 9)
JOB = SparkJob("s.py", {"--lake": "s3://lake"}, (DAY,), lambda spark: {})
ROLE = "arn:aws:iam::123456789012:role/features"
CALLS = {
    "glue": [
        "glue.StartJobRun",
        "glue.GetJobRun",
        "cloudwatch-logs.DescribeLogStreams",
        "cloudwatch-logs.GetLogEvents",
    ],
    "emr-serverless": [
        *("emr-serverless.StartJobRun", "emr-serverless.GetJobRun", "emr-serverless.GetDashboardForJobRun"),
        *("emr-serverless.GetApplication", "cloudwatch-logs.DescribeLogStreams", "cloudwatch-logs.GetLogEvents"),
    ],
}
STOPS = {"glue": "glue.BatchStopJobRun", "emr-serverless": "emr-serverless.CancelJobRun"}
WORDS = {
    "throttled": "Mend: do less at once, or ask AWS for a higher rate of {}.",
    "denied": "Mend: give the role {}; docs/spark.md has all that is needed.",
    "silent": "{} was not answered. Mend: see that this machine reaches AWS.",
}


class _Cluster:
    """What moto has not: a job that runs before it is over, with a dashboard, and can be stopped at Glue."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, event_name: str, request: Any, **rest: Any) -> AWSResponse | None:
        _, service, operation = event_name.split(".")
        self.asked.append(operation)
        if operation == "BatchStopJobRun":
            return answer(request, {"SuccessfulSubmissions": [{"JobName": "features"}]})
        if operation == "GetDashboardForJobRun":
            return answer(request, {"url": "https://127.0.0.1/dashboard"})
        if service == "emr-serverless" and operation == "GetJobRun" and self.asked.count(operation) == 1:
            named = {"applicationId": "a", "jobRunId": "j", "state": "RUNNING"}
            return answer(request, {"jobRun": named})
        return None


def _print_reports(group: str, stream: str) -> None:
    """What the job's own Pipes would print of a day of two rows."""
    # Its context is made up: the reports do not depend on it.
    context = {"data": {"asset_keys": ["features"], "run_id": "r", "retry_number": 0, "extras": {}}}
    messages = {"stdio": "stdout"}
    given = {"DAGSTER_PIPES_CONTEXT": encode_param(context), "DAGSTER_PIPES_MESSAGES": encode_param(messages)}
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(PipesContext, "_instance", None)
        with open_dagster_pipes(params_loader=PipesMappingParamsLoader(given)) as pipes:
            pipes.report_custom_message({"rows": {DAY.isoformat(): 2}})
    logs = boto3.client("logs")
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [{"timestamp": int(time.time() * 1000), "message": line} for line in said.getvalue().splitlines()]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.fixture(scope="module")
def faults(_moto_address: str) -> Iterator[Faults]:
    """Faults before the cluster's own answers, and reports in the logs as soon as a job has been started."""
    found, cluster = Faults(), _Cluster()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in moto_environment(_moto_address).items():
            patch.setenv(name, value)
        answer_first(patch, found, cluster)
        # Pipes looks at the logs every second, and waits for ten more for what may come late.
        patch.setattr(utils, "DEFAULT_SLEEP_INTERVAL", 0.02)
        patch.setattr(utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)
        patch.setattr(utils, "WAIT_FOR_LOGS_TIMEOUT", 0)
        pauses = "get_log_events_delay_generator"
        patch.setattr(dagster_aws.pipes.message_readers, pauses, lambda: (0.0 for _ in itertools.count()))
        command = {"Name": "glueetl", "ScriptLocation": "s3://code/spark_job.py"}
        boto3.client("glue").create_job(Name="features", Role=ROLE, Command=command, GlueVersion="5.0")
        boto3.client("emr-serverless").create_application(name="features", type="SPARK", releaseLabel="emr-7.9.0")

        def glue(parsed: dict[str, Any], **rest: Any) -> None:
            if "JobRunId" in parsed:
                _print_reports("test/log/output", parsed["JobRunId"])

        def emr(parsed: dict[str, Any], **rest: Any) -> None:
            if "jobRunId" in parsed:
                cluster.asked.clear()
                stream = f"/applications/{parsed['applicationId']}/jobs/{parsed['jobRunId']}/SPARK_DRIVER"
                _print_reports("/aws/emr-serverless", f"{stream}/stdout")
                _print_reports("/aws/emr-serverless", f"{stream}/stderr")

        session = boto3.DEFAULT_SESSION
        assert session is not None
        session.events.register("after-call.glue.StartJobRun", glue)
        session.events.register("after-call.emr-serverless.StartJobRun", emr)
        yield found
        found.begin()


@pytest.fixture(scope="module")
def clusters(faults: Faults) -> dict[str, SparkCluster]:
    (application,) = boto3.client("emr-serverless").list_applications()["applications"]
    emr = EmrServerlessSpark(
        application=application["id"], role=ROLE, script="s3://c/s.py", environment="s3://c/e.gz", poll_seconds=0.01
    )
    return {"glue": GlueSpark(job_name="features"), "emr-serverless": emr}


def _run(cluster: SparkCluster) -> dict[date, int]:
    rows: dict[date, int] = {}

    @dg.asset
    def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rows.update(cluster.run(context, JOB))
        return dg.MaterializeResult()

    dg.materialize([features], run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}})
    return rows


@pytest.mark.parametrize("service", CALLS)
def test_what_passes_is_waited_out_at_each_call(
    service: str, clusters: dict[str, SparkCluster], faults: Faults
) -> None:
    faults.begin()
    assert _run(clusters[service]) == {DAY: 2}
    assert set(CALLS[service]) <= set(faults.calls)
    for name in CALLS[service]:
        for fault in ("throttled", "silent"):
            faults.begin(fault, name)
            if (name, fault) == ("glue.StartJobRun", "silent"):
                with pytest.raises(SparkServiceError, match=r"may have been heard\. Mend: see that"):
                    _run(clusters[service])
                assert faults.calls == [name], "a second request might start a second job"
                continue
            assert _run(clusters[service]) == {DAY: 2}, (name, fault)
            assert faults.calls.count(name) >= 2, (name, fault)


# The threads in which Pipes reads logs end with what AWS refused them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("service", CALLS)
def test_what_lasts_is_told_with_the_permission_or_the_limit(
    service: str, clusters: dict[str, SparkCluster], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CALLS[service]:
        # No reports are waited for of a job that cannot be seen through.
        monkeypatch.setattr(utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0 if "logs" in name else -1)
        permission = name.replace("cloudwatch-logs.", "logs:").replace(".", ":")
        for fault, words in WORDS.items():
            faults.begin(fault, name, lasts=True)
            kind = SparkReportError if permission.startswith("logs:") else SparkServiceError
            with pytest.raises(kind) as told:
                _run(clusters[service])
            text = str(told.value)
            if (name, fault) == ("glue.StartJobRun", "silent"):
                words = "{} was not answered (ReadTimeoutError), and may have been heard. Mend: see that"
            assert words.replace("{}", permission) in text, (name, fault, text)
            under_way = name.rpartition(".")[2] in ("GetJobRun", "GetDashboardForJobRun")
            assert (STOPS[service] in faults.calls) is under_way, (name, fault)
            assert ("asked to stop the job, for which nobody waits" in text) is under_way, text


@pytest.mark.parametrize("service", CALLS)
def test_a_job_that_cannot_be_stopped_either_is_told_as_such(
    service: str, clusters: dict[str, SparkCluster], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", -1)
    faults.begin("denied", f"{service}.GetJobRun {STOPS[service]}", lasts=True)
    with pytest.raises(SparkServiceError) as told:
        _run(clusters[service])
    stop = STOPS[service].replace(".", ":")
    assert f"Mend: give the role {service}:GetJobRun; docs/spark.md" in str(told.value)
    assert "The job may still run and be billed ({" in str(told.value)
    assert f"Mend: give the role {stop}; docs/spark.md" in str(told.value)
