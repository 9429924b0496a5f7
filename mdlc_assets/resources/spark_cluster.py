"""Where features are computed on Spark: in this process, as a process, on AWS Glue, or on EMR Serverless.

All run the same program (`features/spark_job.py`); Dagster Pipes carries what it says back. What is computed, and
that each day is written wholly or not at all, is the program's business (`features/spark.py`).
"""

from __future__ import annotations

import os
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from mdlc_assets.resources.spark_session import spark_is_installed, spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SETTING = "MDLC_SPARK"


class SparkReportError(RuntimeError):
    """A job ended well and did not say that it wrote all days."""


class SparkServiceError(RuntimeError):
    """The service that was to run a job refused, or did not answer; the text says what to do."""


@dataclass(frozen=True)
class SparkJob:
    """A program for Spark: its file, its arguments, the days it writes; and the same work for a session here."""

    script: str
    arguments: Mapping[str, str]
    days: tuple[date, ...]
    in_session: Callable[[SparkSession], Mapping[date, int]]

    def command_line(self) -> list[str]:
        """The arguments as a program gets them."""
        return [part for argument in self.arguments.items() for part in argument]

    def reported(self, messages: Iterable[Any], refused: Sequence[str] = ()) -> dict[date, int]:
        """The rows of each day, from the job's own messages. Raises `SparkReportError` where one is absent.

        `refused` is what kept the messages from being read.
        """
        rows: dict[date, int] = {}
        for message in messages:
            if isinstance(message, dict):
                rows |= {date.fromisoformat(day): count for day, count in message.get("rows", {}).items()}
        if absent := [day for day in self.days if day not in rows]:
            about = f"{absent[0]} and {len(absent) - 1} other days"
            if refused:
                raise SparkReportError(f"the Spark job ended, and its report of {about} cannot be read: {refused[-1]}")
            raise SparkReportError(
                f"the Spark job ended, and did not report {about} as written. "
                "Mend: switch on the CloudWatch logs of the application or job, by which it reports, and run again."
            )
        return rows


class SparkCluster(dg.ConfigurableResource, ABC):
    """Runs a job; the choices below differ in where."""

    @abstractmethod
    def run(self, context: dg.AssetExecutionContext, job: SparkJob) -> dict[date, int]:
        """The rows of each day that the job has written."""

    def is_there(self) -> bool:
        """Whether jobs can be run at all."""
        return True


class LocalSpark(SparkCluster):
    """In this process, on the cores of this machine: the embedded default."""

    master: str = "local[*]"
    memory: str = "2g"

    def run(self, context: dg.AssetExecutionContext, job: SparkJob) -> dict[date, int]:
        with spark_session(self.master, self.memory) as session:
            return dict(job.in_session(session))

    def is_there(self) -> bool:
        return spark_is_installed()


class SubmittedSpark(SparkCluster):
    """A process for each job: `python`, or `spark-submit` with its options for a cluster of one's own."""

    command: list[str] = Field(default=[sys.executable], description="What stands before the program's file.")

    def run(self, context: dg.AssetExecutionContext, job: SparkJob) -> dict[date, int]:
        command = [*self.command, job.script, *job.command_line()]
        done = dg.PipesSubprocessClient().run(context=context, command=command)
        return job.reported(done.get_custom_messages())


class GlueSpark(SparkCluster):
    """A Glue job that is there already (Glue 5 or later, its script a copy of `features/spark_job.py`)."""

    job_name: str
    worker_type: str = "G.1X"
    workers: int = Field(default=10, ge=2)

    def run(self, context: dg.AssetExecutionContext, job: SparkJob) -> dict[date, int]:
        from dagster_aws.pipes import PipesCloudWatchMessageReader, PipesGlueClient

        from mdlc_assets.resources.spark_on_aws import glue_service

        service = glue_service(self.job_name)
        client = PipesGlueClient(
            context_injector=dg.PipesEnvContextInjector(),
            message_reader=PipesCloudWatchMessageReader(client=service.logs),
            client=service.client,
        )
        with service.seen_through():
            done = client.run(
                context=context,
                start_job_run_params={
                    "JobName": self.job_name,
                    "Arguments": dict(job.arguments),
                    "WorkerType": self.worker_type,
                    "NumberOfWorkers": self.workers,
                },
            )
        return job.reported(done.get_custom_messages(), service.refused)


class EmrServerlessSpark(SparkCluster):
    """An EMR Serverless application of type Spark. `script` is a copy of `features/spark_job.py` on S3, `environment`
    an archive there of a Python with mdlc-assets (made by venv-pack or conda-pack)."""

    application: str
    role: str
    script: str
    environment: str
    log_group: str = "/aws/emr-serverless"
    minutes: int = Field(default=720, ge=5, description="After so long the job is ended.")
    poll_seconds: float = 5.0

    def run(self, context: dg.AssetExecutionContext, job: SparkJob) -> dict[date, int]:
        from dagster_aws.pipes import PipesCloudWatchMessageReader, PipesEMRServerlessClient

        from mdlc_assets.resources.spark_on_aws import emr_serverless_service

        python = "./environment/bin/python"
        settings = {
            "spark.archives": f"{self.environment}#environment",
            "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": python,
            "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": python,
            "spark.executorEnv.PYSPARK_PYTHON": python,
        }
        logs = {"enabled": True, "logGroupName": self.log_group}
        service = emr_serverless_service()
        client = PipesEMRServerlessClient(
            client=service.client,
            message_reader=PipesCloudWatchMessageReader(client=service.logs),
            poll_interval=self.poll_seconds,
        )
        submitted = {
            "entryPoint": self.script,
            "entryPointArguments": job.command_line(),
            "sparkSubmitParameters": " ".join(f"--conf {name}={value}" for name, value in settings.items()),
        }
        with service.seen_through():
            done = client.run(
                context=context,
                start_job_run_params={
                    "applicationId": self.application,
                    "executionRoleArn": self.role,
                    "executionTimeoutMinutes": self.minutes,
                    "jobDriver": {"sparkSubmit": submitted},
                    "configurationOverrides": {"monitoringConfiguration": {"cloudWatchLoggingConfiguration": logs}},
                },
            )
        return job.reported(done.get_custom_messages(), service.refused)


def spark_from_environment(environment: Mapping[str, str] | None = None) -> SparkCluster:
    """The cluster that MDLC_SPARK names, as an address: `local[4]`, `process:spark-submit --master yarn`,
    `glue:JOB`, or `emr-serverless:APPLICATION` with MDLC_SPARK_ROLE, _SCRIPT, _ENVIRONMENT and, if it
    is not the default, _LOGS beside it.

    Raises `ValueError` with the mend.
    """
    environment = os.environ if environment is None else environment
    address = environment.get(_SETTING, "local[*]")
    kind, _, rest = address.partition(":")
    if kind.startswith("local"):
        return LocalSpark(master=address)
    if kind == "process":
        return SubmittedSpark(command=shlex.split(rest) or [sys.executable])
    if kind == "glue" and rest:
        return GlueSpark(job_name=rest)
    if kind == "emr-serverless" and rest:
        named = ("role", "script", "environment")
        beside: dict[str, Any] = {name: environment.get(f"{_SETTING}_{name.upper()}", "") for name in named}
        if absent := [name for name, value in beside.items() if not value]:
            raise ValueError(
                f"environment: {_SETTING} is {address!r} and {_SETTING}_{absent[0].upper()} is not set. Mend: set it "
                "(docs/spark.md says to what)."
            )
        if logs := environment.get(f"{_SETTING}_LOGS"):
            beside["log_group"] = logs
        return EmrServerlessSpark(application=rest, **beside)
    raise ValueError(
        f"environment: {_SETTING} is {address!r}, which names no cluster. Mend: local[*], process:COMMAND, glue:JOB or "
        "emr-serverless:APPLICATION."
    )
