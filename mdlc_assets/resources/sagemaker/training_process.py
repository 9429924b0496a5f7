"""Sees one training job through: lays out /opt/ml, runs the command, uploads what it wrote.

Started by `local_training`, one process for each job. Everything it learns it writes into the job's document.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mdlc_assets.resources.sagemaker.archives import pack
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, environment_without_aws, now

KIND = "training-job"
_POLL_SECONDS = 0.1
_SYNC_SECONDS = 1.0
_STOP_SECONDS = float(os.environ.get("MDLC_LOCAL_STOP_SECONDS", "120"))
_LOG = logging.getLogger("mdlc.training_process")


class InputMissingError(RuntimeError):
    """Data of a channel that are not there, as SageMaker says it."""


class TrainingRun:
    """One job and its folder."""

    def __init__(self, state: LocalState, name: str) -> None:
        self.state, self.name = state, name
        self.work = state.work(KIND, name)
        self.ml = self.work / "ml"
        self.started: float | None = None

    def run(self) -> None:
        """From Starting to its end; raises nothing."""
        try:
            self._run()
        except InputMissingError as error:
            self._end("Failed", reason=f"ClientError: Data download failed: {error}")
        except Exception as error:
            _LOG.exception("the job failed")
            self._end("Failed", reason=f"InternalServerError: {type(error).__name__}: {error}")

    def _run(self) -> None:
        job = self._read()
        if "refused" in job:
            self._end("Failed", reason=f"ClientError: {job['refused']}")
            return
        outcome = "Interrupted"
        while outcome == "Interrupted":
            self._tell("Downloading", "Downloading input data")
            self._lay_out(job)
            self._tell("Training", "Training image download completed. Training in progress.")
            self.started = self.started or now()
            outcome = self._train(job)
        self._copy_checkpoints(job, back=True)
        if outcome in ("Completed", "Stopped", "MaxRuntimeExceeded"):
            self._upload(job, outcome)
            self._end("Completed" if outcome == "Completed" else "Stopped", secondary=outcome)
        else:
            self._end("Failed", reason=outcome)

    def _lay_out(self, job: Document) -> None:
        shutil.rmtree(self.ml, ignore_errors=True)
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
            (self.ml / folder).mkdir(parents=True)
        channels = {}
        for channel in job.get("InputDataConfig", []):
            mode = channel.get("InputMode") or job["AlgorithmSpecification"]["TrainingInputMode"]
            about = {
                "ContentType": channel.get("ContentType"),
                "TrainingInputMode": "Pipe" if mode == "Pipe" else "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            }
            channels[channel["ChannelName"]] = {key: value for key, value in about.items() if value}
            self._download(channel, self.ml / "input" / "data" / channel["ChannelName"])
        count = job.get("ResourceConfig", {}).get("InstanceCount", 1)
        hosts = [f"algo-{i + 1}" for i in range(count)]
        configs: dict[str, Any] = {
            "hyperparameters": job.get("HyperParameters", {}),
            "inputdataconfig": channels,
            "resourceconfig": {"current_host": "algo-1", "hosts": hosts, "network_interface_name": "lo"},
        }
        for name, content in configs.items():
            (self.ml / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
        self._copy_checkpoints(job, back=False)

    def _download(self, channel: Document, target: Path) -> None:
        source = channel["DataSource"].get("S3DataSource")
        if source is None or source["S3DataType"] != "S3Prefix":
            raise InputMissingError(f"channel {channel['ChannelName']}: only S3Prefix is understood here.")
        path = self.state.s3_path(source["S3Uri"])
        # A prefix may end in the middle of a name.
        files = [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())
        if not files:
            files = sorted(found for found in path.parent.glob(f"{path.name}*") if found.is_file())
        if not files:
            raise InputMissingError(
                f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. '
                "Please ensure that the bucket exists in the selected region."
            )
        for file in files:
            placed = target / (file.relative_to(path) if path.is_dir() else file.name)
            placed.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, placed)

    def _train(self, job: Document) -> str:
        limits = job.get("StoppingCondition", {})
        runtime = limits.get("MaxRuntimeInSeconds", 86_400)
        environment = {
            **environment_without_aws(),
            **job["command_environment"],
            **job.get("Environment", {}),
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": job["TrainingJobArn"],
            "MDLC_ML_ROOT": str(self.ml),
        }
        with (self.work / "job.log").open("ab") as log:
            process = subprocess.Popen(
                job["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.work
            )
            why = self._watch(process, job, time.monotonic() + runtime)
            code = process.wait()
        if why:
            return why
        if code == 0:
            return "Completed"
        failure = self.ml / "output" / "failure"
        reason = failure.read_text(errors="replace")[:1024] if failure.exists() else ""
        return f"AlgorithmError: {reason}{', ' if reason else ''}exit code: {code}"

    def _watch(self, process: subprocess.Popen[bytes], job: Document, end: float) -> str:
        """Wait for the process; say why it had to be stopped, if so."""
        synced = time.monotonic()
        while process.poll() is None:
            now_job = self._read()
            why = ""
            if now_job.get("stop"):
                why = "Stopped"
            elif now_job.get("interrupt"):
                why = "Interrupted"
            elif time.monotonic() > end:
                why = "MaxRuntimeExceeded"
            if why:
                self._tell("Stopping" if why != "Interrupted" else why, "Stopping the training job")
                self._stop(process)
                if why == "Interrupted":
                    self._copy_checkpoints(job, back=True)
                    self.state.change(KIND, self.name, lambda found: found.pop("interrupt", None))
                return why
            if time.monotonic() - synced > _SYNC_SECONDS:
                self._copy_checkpoints(job, back=True)
                synced = time.monotonic()
            time.sleep(_POLL_SECONDS)
        return ""

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _copy_checkpoints(self, job: Document, *, back: bool) -> None:
        address = job.get("CheckpointConfig", {}).get("S3Uri")
        if not address:
            return
        here, there = self.ml / "checkpoints", self.state.s3_path(address)
        source, target = (here, there) if back else (there, here)
        for file in sorted(source.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                placed = target / file.relative_to(source)
                placed.parent.mkdir(parents=True, exist_ok=True)
                temporary = placed.with_name(f".{placed.name}.part")
                try:
                    shutil.copyfile(file, temporary)
                    temporary.replace(placed)
                except FileNotFoundError:
                    # An older checkpoint that was just replaced.
                    temporary.unlink(missing_ok=True)

    def _upload(self, job: Document, outcome: str) -> None:
        self._tell("Uploading", "Uploading generated training model")
        base = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"
        for folder, name in ((self.ml / "model", "model.tar.gz"), (self.ml / "output" / "data", "output.tar.gz")):
            there = any(folder.iterdir())
            if there or (name == "model.tar.gz" and outcome == "Completed"):
                pack(folder, self.state.s3_path(f"{base}/{name}"))

    def _metrics(self, job: Document) -> list[Document]:
        text = (self.work / "job.log").read_text(errors="replace") if (self.work / "job.log").exists() else ""
        found = []
        for metric in job.get("AlgorithmSpecification", {}).get("MetricDefinitions", []):
            values = re.findall(metric["Regex"], text)
            if values:
                found.append({"MetricName": metric["Name"], "Value": float(values[-1]), "Timestamp": now()})
        return found

    def _tell(self, status: str, message: str) -> None:
        def change(job: Document) -> None:
            at = now()
            if job["SecondaryStatusTransitions"]:
                job["SecondaryStatusTransitions"][-1].setdefault("EndTime", at)
            job["SecondaryStatusTransitions"].append({"Status": status, "StartTime": at, "StatusMessage": message})
            job["SecondaryStatus"], job["LastModifiedTime"] = status, at

        self.state.change(KIND, self.name, change)

    def _end(self, status: str, *, secondary: str = "", reason: str = "") -> None:
        metrics = self._metrics(self._read())

        def change(job: Document) -> None:
            at = now()
            job["SecondaryStatusTransitions"][-1].setdefault("EndTime", at)
            job["SecondaryStatusTransitions"].append(
                {"Status": secondary or status, "StartTime": at, "EndTime": at, "StatusMessage": reason}
            )
            job |= {"TrainingJobStatus": status, "SecondaryStatus": secondary or status, "TrainingEndTime": at}
            job["LastModifiedTime"] = at
            if reason:
                job["FailureReason"] = reason[:1024]
            if metrics:
                job["FinalMetricDataList"] = metrics
            if self.started is not None:
                seconds = max(1, round(at - self.started))
                job |= {"TrainingStartTime": self.started, "TrainingTimeInSeconds": seconds}
                job["BillableTimeInSeconds"] = seconds

        self.state.change(KIND, self.name, change)
        shutil.rmtree(self.ml, ignore_errors=True)

    def _read(self) -> Document:
        job = self.state.read(KIND, self.name)
        if job is None:
            raise RuntimeError(f"the job {self.name} is gone from {self.state.root}")
        return job


def main() -> None:
    """`training_process <root> <region> <job>`."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    root, region, name = sys.argv[1:]
    # Whoever started this may go away; the job goes on.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    TrainingRun(LocalState(root, region), name).run()
