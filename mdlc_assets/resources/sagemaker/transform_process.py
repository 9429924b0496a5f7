"""Sees one transform job through: serves the model, sends it the records, writes a `.out` for each file.

Started by `local_transform`, one process for each job. Nothing lies at the output address before every file of
the job was answered.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from mdlc_assets.resources.sagemaker.archives import ArchiveError, unpack
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, environment_without_aws, now
from mdlc_assets.resources.sagemaker.transform_filters import FilterError, Filters

KIND = "transform-job"
_MEGABYTE = 1024 * 1024
_START_SECONDS = float(os.environ.get("MDLC_LOCAL_START_SECONDS", "480"))
_PING_SECONDS, _ANSWER_SECONDS, _STOP_SECONDS = 2.0, 600.0, 30.0
_STRATEGIES = {"SINGLE_RECORD": "SingleRecord", "MULTI_RECORD": "MultiRecord"}
_LOG = logging.getLogger("mdlc.transform_process")


class TransformError(RuntimeError):
    """Why the job fails, as its FailureReason."""


class StoppedError(RuntimeError):
    """The job was asked to stop."""


class TransformRun:
    """One job, its server and its folder."""

    def __init__(self, state: LocalState, name: str) -> None:
        self.state, self.name = state, name
        self.work = state.work(KIND, name)
        self.started = now()

    def run(self) -> None:
        """From its start to its end; raises nothing, and leaves no server behind."""
        server: subprocess.Popen[bytes] | None = None
        status, reason = "Completed", ""
        try:
            job = self._read()
            if "refused" in job:
                raise TransformError(f"ClientError: {job['refused']}")
            files = self._files(job)
            self._lay_out(job)
            port = _free_port()
            server = self._serve(job, port)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                self._wait_until_healthy(server, client)
                written = self._transform(job, files, client, server)
            self._publish(written)
        except StoppedError:
            status = "Stopped"
        except (TransformError, ArchiveError) as error:
            status, reason = "Failed", str(error)
        except Exception as error:
            _LOG.exception("the job failed")
            status, reason = "Failed", f"InternalServerError: {type(error).__name__}: {error}"
        finally:
            if server is not None:
                _stop(server)
            for folder in ("ml", "out"):
                shutil.rmtree(self.work / folder, ignore_errors=True)
        # Last, so that nothing runs any more once the job is said to have ended.
        self._end(status, reason)

    def _files(self, job: Document) -> list[tuple[Path, str]]:
        source = job["TransformInput"]["DataSource"]["S3DataSource"]
        if source["S3DataType"] != "S3Prefix":
            raise TransformError("ClientError: only S3Prefix is understood here.")
        path = self.state.s3_path(source["S3Uri"])
        found = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
        if not found:
            raise TransformError(f"ClientError: No S3 objects found under S3 URL {source['S3Uri']}")
        root = path.parent if path.is_file() else path
        return [(file, file.relative_to(root).as_posix()) for file in found]

    def _lay_out(self, job: Document) -> None:
        model = self.work / "ml" / "model"
        model.mkdir(parents=True, exist_ok=True)
        if job["artifact"]:
            archive = self.state.s3_path(job["artifact"])
            if not archive.is_file():
                raise TransformError(f"ClientError: Could not find model data at {job['artifact']}.")
            unpack(archive, model)

    def _serve(self, job: Document, port: int) -> subprocess.Popen[bytes]:
        batch = {"SAGEMAKER_BATCH": "true"}
        if "MaxPayloadInMB" in job:
            batch["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(job["MaxPayloadInMB"])
        if "BatchStrategy" in job:
            batch["SAGEMAKER_BATCH_STRATEGY"] = "".join(
                f"_{letter}" if letter.isupper() and place else letter
                for place, letter in enumerate(job["BatchStrategy"])
            ).upper()
        if "MaxConcurrentTransforms" in job:
            batch["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(job["MaxConcurrentTransforms"])
        environment = {
            **environment_without_aws(),
            **job["command_environment"],
            **job["model_environment"],
            **job.get("Environment", {}),
            **batch,
            "MDLC_ML_ROOT": str(self.work / "ml"),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "MDLC_SERVE_HOST": "127.0.0.1",
        }
        with (self.work / "server.log").open("ab") as log:
            return subprocess.Popen(
                job["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.work
            )

    def _wait_until_healthy(self, server: subprocess.Popen[bytes], client: httpx.Client) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            self._refuse_stopped()
            if server.poll() is not None:
                raise TransformError(
                    f"ClientError: the model's container ended with code {server.returncode} before it answered /ping: "
                    f"{self._tail()}"
                )
            try:
                if client.get("/ping", timeout=_PING_SECONDS).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise TransformError(
            f"ClientError: /ping was not answered with 200 within {_START_SECONDS:g} s: {self._tail()}"
        )

    def _transform(
        self, job: Document, files: list[tuple[Path, str]], client: httpx.Client, server: subprocess.Popen[bytes]
    ) -> list[tuple[Path, Path]]:
        settings = _settings(job, client)
        headers = {"content-type": job["TransformInput"].get("ContentType", "application/octet-stream")}
        if job["TransformOutput"].get("Accept"):
            headers["accept"] = job["TransformOutput"]["Accept"]
        target = self.state.s3_path(job["TransformOutput"]["S3OutputPath"])
        assemble = b"\n" if job["TransformOutput"].get("AssembleWith") == "Line" else b""

        filters = Filters.of(job)

        def answer(body: bytes) -> bytes:
            self._refuse_stopped()
            sent = filters.to_send(body) if filters else body
            response = client.post("/invocations", content=sent, headers=headers, timeout=_ANSWER_SECONDS)
            if response.status_code != 200:
                raise TransformError(f"ClientError: the model answered {response.status_code}: {response.text[:400]}")
            return filters.to_keep(body, response.content) if filters else response.content

        written = []
        with ThreadPoolExecutor(settings["concurrent"]) as pool:
            for file, name in files:
                bodies = _bodies(file.read_bytes(), job["TransformInput"].get("SplitType", "None"), settings)
                try:
                    answers = list(pool.map(answer, bodies))
                except FilterError as error:
                    raise TransformError(f"ClientError: {error}") from None
                except httpx.HTTPError as error:
                    code = server.poll()
                    gone = f"; its container ended with code {code}" if code is not None else ""
                    raise TransformError(f"ClientError: the model did not answer ({error}){gone}") from None
                whole = self.work / "out" / f"{name}.out"
                whole.parent.mkdir(parents=True, exist_ok=True)
                whole.write_bytes(_assembled(answers, assemble))
                written.append((whole, target / f"{name}.out"))
        return written

    def _publish(self, written: list[tuple[Path, Path]]) -> None:
        for whole, target in written:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.part")
            shutil.copyfile(whole, temporary)
            temporary.replace(target)

    def _end(self, status: str, reason: str = "") -> None:
        def change(job: Document) -> None:
            job |= {"TransformJobStatus": status, "TransformStartTime": self.started, "TransformEndTime": now()}
            if reason:
                job["FailureReason"] = reason[:1024]

        self.state.change(KIND, self.name, change)

    def _refuse_stopped(self) -> None:
        if self._read().get("stop"):
            raise StoppedError

    def _read(self) -> Document:
        job = self.state.read(KIND, self.name)
        if job is None:
            raise RuntimeError(f"the job {self.name} is gone from {self.state.root}")
        return job

    def _tail(self) -> str:
        lines = (self.work / "server.log").read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-2:])[-400:] or "nothing was logged"


def _settings(job: Document, client: httpx.Client) -> dict[str, Any]:
    """The request's values win over the container's, which win over the defaults."""
    asked: dict[str, Any] = {}
    try:
        response = client.get("/execution-parameters", timeout=_PING_SECONDS)
        if response.status_code == 200:
            asked = response.json()
    except (httpx.HTTPError, json.JSONDecodeError):
        pass
    strategy = job.get("BatchStrategy") or asked.get("BatchStrategy", "MultiRecord")
    megabytes = job.get("MaxPayloadInMB", asked.get("MaxPayloadInMB", 6))
    return {
        "strategy": _STRATEGIES.get(strategy, strategy),
        "bytes": (megabytes or 100) * _MEGABYTE,
        "concurrent": max(1, job.get("MaxConcurrentTransforms") or asked.get("MaxConcurrentTransforms", 1)),
    }


def _bodies(content: bytes, split: str, settings: dict[str, Any]) -> Iterator[bytes]:
    """The file in pieces of whole records, none larger than allowed."""
    if split not in ("None", "Line"):
        raise TransformError(f"ClientError: SplitType {split} is not done by the local form of SageMaker.")
    records = [content] if split == "None" else [line for line in content.splitlines(keepends=True) if line.strip()]
    piece: list[bytes] = []
    size = 0
    for record in records:
        if len(record) > settings["bytes"]:
            raise TransformError(
                f"ClientError: a record of {len(record):,} bytes is larger than MaxPayloadInMB "
                f"({settings['bytes'] // _MEGABYTE}). Mend: split the file, or raise MaxPayloadInMB (100 at most)."
            )
        if piece and (settings["strategy"] == "SingleRecord" or size + len(record) > settings["bytes"]):
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(record)
        size += len(record)
    if piece:
        yield b"".join(piece)


def _assembled(answers: list[bytes], between: bytes) -> bytes:
    if not between:
        return b"".join(answers)
    return b"".join(answer if answer.endswith(between) else answer + between for answer in answers)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """`transform_process <root> <region> <job>`."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    root, region, name = sys.argv[1:]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    TransformRun(LocalState(root, region), name).run()
