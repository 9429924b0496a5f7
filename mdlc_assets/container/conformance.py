"""Checks a container command against SageMaker's documented contract: ours, or a team's own.

    python -m mdlc_assets.container.conformance --data rows/ --body request.csv --content-type text/csv \\
        "docker run --rm {env} -v {root}:/opt/ml -p 127.0.0.1:{port}:8080 my-image {verb}"

The command is run as a process for each check. `{verb}` is train or serve, `{root}` the folder that stands for
/opt/ml, `{port}` the port to serve on, `{env}` the variables as `-e NAME=VALUE`. A command without placeholders
gets MDLC_ML_ROOT and SAGEMAKER_BIND_TO_PORT in its environment, and the verb as its last word.

From AWS's developer guide: "How Amazon SageMaker AI Provides Training Information", "... Signals Algorithm Success and
Failure", "Custom Inference Code with Hosting Services", "... with Batch Transform".
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

START_SECONDS, PING_SECONDS, CONNECT_SECONDS, ANSWER_SECONDS = 480.0, 2.0, 0.25, 60.0
SERVE_STOP_SECONDS, TRAIN_STOP_SECONDS, LONGEST_REASON = 30.0, 120.0, 1024


@dataclass(frozen=True)
class Sample:
    """What to give the container: files of the training channel, hyperparameters, a request it must answer."""

    data: Path
    body: bytes
    content_type: str
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    data_type: str = ""
    train_seconds: float = 600.0


@dataclass(frozen=True)
class Finding:
    """One rule of the contract, whether it was kept, and what was seen."""

    rule: str
    kept: bool
    seen: str

    def __str__(self) -> str:
        return f"{'kept  ' if self.kept else 'BROKEN'} {self.rule}: {self.seen}"


class Container:
    """A command that stands for an image, run below a folder that stands for /opt/ml."""

    def __init__(self, command: str | Sequence[str], work: Path) -> None:
        self.command = [command] if isinstance(command, str) else list(command)
        self.work = work

    def start(
        self, verb: str, root: Path, port: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run the command with a verb; what it says goes to <work>/container.log."""
        variables = dict(environment or {})
        said = " ".join(f"-e {shlex.quote(f'{name}={value}')}" for name, value in variables.items())
        text = self.command[0] if len(self.command) == 1 else ""
        if "{verb}" in text:
            words = shlex.split(text.format(verb=verb, root=root, port=port, env=said))
        else:
            words = [*(shlex.split(text) if text else self.command), verb]
        variables |= {"MDLC_ML_ROOT": str(root), "SAGEMAKER_BIND_TO_PORT": str(port), "MDLC_SERVE_HOST": "127.0.0.1"}
        with (self.work / "container.log").open("ab") as log:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **variables}
            )


def check_container(command: str | Sequence[str], sample: Sample, work: Path) -> list[Finding]:
    """All checks, training first: what it wrote is then served."""
    container = Container(command, work)
    found = list(check_train(container, sample))
    model = work / "trained" / "model"
    if model.is_dir() and any(model.iterdir()):
        found += check_serve(container, sample, model)
    else:
        found.append(Finding("serve", False, "nothing was trained, so nothing could be served"))
    return found


def check_train(container: Container, sample: Sample) -> Iterator[Finding]:
    """Exit codes, the model folder, the failure file, SIGTERM."""
    root = _lay_out(container.work / "trained", sample)
    before = _fingerprints(root / "input")
    process = container.start("train", root)
    code = _wait(process, sample.train_seconds)
    yield Finding("train: exit code 0 means success", code == 0, f"exit code {code}")
    files = [path for path in (root / "model").rglob("*") if path.is_file()]
    yield Finding("train: the model lies in /opt/ml/model", bool(files), f"{len(files)} files")
    yield Finding(
        "train: no failure file after success",
        not (root / "output" / "failure").exists(),
        "there is one" if (root / "output" / "failure").exists() else "there is none",
    )
    changed = before != _fingerprints(root / "input")
    yield Finding("train: input is left as it was", not changed, "changed" if changed else "unchanged")

    root = _lay_out(container.work / "failing", sample)
    for path in (root / "input" / "data" / "train").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\x00\xffthis is no data\n" * 8)
    code = _wait(container.start("train", root), sample.train_seconds)
    yield Finding("train: a non-zero exit code means failure", code not in (0, None), f"exit code {code}")
    failure = root / "output" / "failure"
    reason = failure.read_text(errors="replace") if failure.exists() else ""
    said = f"{len(reason)} characters: {reason[:60]!r}"
    yield Finding("train: /opt/ml/output/failure says why", len(reason.strip()) > 0, said)
    yield Finding(
        "train: its first 1,024 characters suffice", len(reason) <= LONGEST_REASON, f"{len(reason)} characters"
    )
    left = any(path.is_file() for path in (root / "model").rglob("*"))
    yield Finding("train: a failure leaves no model", not left, "a model was left" if left else "nothing was left")

    root = _lay_out(container.work / "stopped", sample)
    process = container.start("train", root)
    time.sleep(1.0)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = _wait(process, TRAIN_STOP_SECONDS)
    seen = f"ended after {time.monotonic() - began:.1f} s" if code is not None else "did not end"
    yield Finding("train: SIGTERM ends it within 120 s", code is not None, seen)


def check_serve(container: Container, sample: Sample, model: Path) -> Iterator[Finding]:
    """Health, invocations, headers, batch variables, stopping, and a model that is not there."""
    with _serving(container, model) as (process, client, started):
        yield Finding("serve: /ping answers 200 within 8 minutes", started < START_SECONDS, f"after {started:.1f} s")
        began = time.monotonic()
        ping = client.get("/ping", timeout=PING_SECONDS)
        seconds = time.monotonic() - began
        yield Finding("serve: /ping within 2 s", seconds < PING_SECONDS, f"{seconds * 1000:.0f} ms")
        yield Finding("serve: /ping has an empty body", ping.content == b"", f"{len(ping.content)} bytes")
        yield _connects(client)
        yield from _invocations(client, sample)
        yield _execution_parameters(client)
        yield _ends(process, client, sample)
    for strategy in ("MULTI_RECORD", "MultiRecord"):
        batch = {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20",
            "SAGEMAKER_BATCH_STRATEGY": strategy,
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "2",
        }
        with _serving(container, model, batch) as (_, client, started):
            answer = _post(client, sample)
            yield Finding(f"batch: serves with {strategy}", answer.status_code == 200, f"{answer.status_code}")
    yield _without_model(container)


def _invocations(client: httpx.Client, sample: Sample) -> Iterator[Finding]:
    began = time.monotonic()
    answer = _post(client, sample)
    seconds = time.monotonic() - began
    yield Finding("serve: POST /invocations answers 200", answer.status_code == 200, f"{answer.status_code}")
    yield Finding("serve: /invocations within 60 s", seconds < ANSWER_SECONDS, f"{seconds:.2f} s")
    yield Finding("serve: it answers something", bool(answer.content), f"{len(answer.content)} bytes")
    strange = {
        "x-amzn-sagemaker-custom-attributes": "a=1",
        "x-amzn-sagemaker-inference-id": "9",
        "x-something-else": "ignored",
    }
    again = _post(client, sample, strange)
    same = again.status_code == 200
    yield Finding("serve: additional headers are ignored", same, f"{again.status_code}")
    refused = client.post(
        "/invocations", content=b"\x00", headers={"content-type": "application/x-unheard-of"}, timeout=ANSWER_SECONDS
    )
    client_error = 400 <= refused.status_code < 500
    yield Finding("serve: an unknown content type is the caller's mistake", client_error, f"{refused.status_code}")
    spoilt = client.post(
        "/invocations", content=b"\xff\xfe{", headers={"content-type": sample.content_type}, timeout=ANSWER_SECONDS
    )
    client_error = 400 <= spoilt.status_code < 500
    yield Finding("serve: a spoilt body is the caller's mistake", client_error, f"{spoilt.status_code}")
    ping = client.get("/ping", timeout=PING_SECONDS)
    yield Finding("serve: healthy after bad requests", ping.status_code == 200, f"{ping.status_code}")


def _connects(client: httpx.Client) -> Finding:
    began = time.monotonic()
    port = int(client.base_url.port or 0)
    try:
        with socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS):
            seconds = time.monotonic() - began
    except OSError as error:
        return Finding("serve: accepts a connection within 250 ms", False, str(error))
    return Finding("serve: accepts a connection within 250 ms", True, f"{seconds * 1000:.1f} ms")


def _execution_parameters(client: httpx.Client) -> Finding:
    rule = "batch: /execution-parameters, where there is one, answers its three keys"
    answer = client.get("/execution-parameters", timeout=PING_SECONDS)
    if answer.status_code == 404:
        return Finding(rule, True, "there is none")
    try:
        keys = set(answer.json())
    except (json.JSONDecodeError, TypeError):
        return Finding(rule, False, f"{answer.status_code}, and no JSON object")
    wanted = {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}
    return Finding(rule, answer.status_code == 200 and keys <= wanted, f"{answer.status_code}: {sorted(keys)}")


def _ends(process: subprocess.Popen[bytes], client: httpx.Client, sample: Sample) -> Finding:
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(_post(client, sample).status_code))
    caller.start()
    caller.join()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = _wait(process, SERVE_STOP_SECONDS)
    seen = f"ended after {time.monotonic() - began:.1f} s" if code is not None else "did not end"
    return Finding("serve: SIGTERM ends it within 30 s", code is not None and answers == [200], seen)


def _without_model(container: Container) -> Finding:
    rule = "serve: without a model it is never healthy"
    root = container.work / "empty"
    (root / "model").mkdir(parents=True, exist_ok=True)
    port = _free_port()
    process = container.start("serve", root, port)
    try:
        end = time.monotonic() + 15
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/ping", timeout=PING_SECONDS, trust_env=False).status_code == 200:
                    return Finding(rule, False, "/ping answered 200")
            time.sleep(0.1)
        seen = f"ended with code {process.returncode}" if process.returncode is not None else "not healthy after 15 s"
        return Finding(rule, process.returncode != 0, seen)
    finally:
        _end(process)


@contextlib.contextmanager
def serving(
    container: Container, model: Path | None, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Path, httpx.Client]]:
    """A server that has answered its /ping, and what it sees as /opt/ml."""
    with _serving(container, model, environment) as (_, client, _):
        yield container.work / "served", client


@contextlib.contextmanager
def _serving(
    container: Container, model: Path | None, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, float]]:
    root = container.work / "served"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    if model is not None:
        shutil.copytree(model, root / "model")
    port, began = _free_port(), time.monotonic()
    process = container.start("serve", root, port, environment)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        try:
            started = _healthy(process, client, began)
            if started == float("inf"):
                raise RuntimeError(f"the server was never healthy: see {container.work / 'container.log'}")
            yield process, client, started
        finally:
            _end(process)


def _healthy(process: subprocess.Popen[bytes], client: httpx.Client, began: float) -> float:
    while (spent := time.monotonic() - began) < START_SECONDS and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/ping", timeout=PING_SECONDS).status_code == 200:
                return spent
        time.sleep(0.05)
    return float("inf")


def _post(client: httpx.Client, sample: Sample, more: Mapping[str, str] | None = None) -> httpx.Response:
    headers = {"content-type": sample.content_type, **(more or {})}
    return client.post("/invocations", content=sample.body, headers=headers, timeout=ANSWER_SECONDS)


def _lay_out(root: Path, sample: Sample) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (root / folder).mkdir(parents=True)
    shutil.copytree(sample.data, root / "input" / "data" / "train")
    about = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    if sample.data_type:
        about["ContentType"] = sample.data_type
    configs = {
        "hyperparameters": dict(sample.hyperparameters),
        "inputdataconfig": {"train": about},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"},
    }
    for name, content in configs.items():
        (root / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
    return root


def _fingerprints(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        _wait(process, SERVE_STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(say: Callable[[str], object] = lambda text: sys.stdout.write(f"{text}\n")) -> None:
    """Check the command given on the command line; exits with 1 when a rule is broken."""
    parser = argparse.ArgumentParser(description="Check a container command against SageMaker's contract.")
    parser.add_argument("command", help="how to run the container; see the module's text")
    parser.add_argument("--data", type=Path, required=True, help="a folder of files for the channel `train`")
    parser.add_argument("--data-type", default="", help="the channel's content type")
    parser.add_argument("--body", type=Path, required=True, help="a request that must be answered with 200")
    parser.add_argument("--content-type", required=True, help="the request's content type")
    parser.add_argument("--hyperparameters", default="{}", help="a JSON object of strings")
    parser.add_argument("--multi-model", action="store_true", help="check the contract of multi-model endpoints too")
    options = parser.parse_args()
    sample = Sample(
        options.data,
        options.body.read_bytes(),
        options.content_type,
        json.loads(options.hyperparameters),
        options.data_type,
    )
    with tempfile.TemporaryDirectory() as work:
        found = check_container(options.command, sample, Path(work))
        model = Path(work) / "trained" / "model"
        if options.multi_model and model.is_dir():
            from mdlc_assets.container.multi_model_conformance import check_multi_model

            found += check_multi_model(Container(options.command, Path(work)), sample, model)
    for finding in found:
        say(str(finding))
    sys.exit(0 if all(finding.kept for finding in found) else 1)


if __name__ == "__main__":
    main()
