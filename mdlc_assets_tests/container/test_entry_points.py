"""The entry points as processes, where the contract says nothing but users will try it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from mdlc_assets.container.layout import InputError, Layout
from mdlc_assets.container.serve import ServeSettings, SettingError
from mdlc_assets.container.train import train
from mdlc_assets.training.algorithms import TrainingDataError
from mdlc_assets.training.checkpoints import TrainingStoppedError
from mdlc_assets_tests.deployment.models import FEATURES, save_model

BIN = Path(sys.executable).parent
_ROW = dict.fromkeys(FEATURES, 1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """`serve` on a free port, as it serves real-time requests."""
    root = tmp_path_factory.mktemp("ml")
    save_model(root / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"MDLC_ML_ROOT": str(root), "SAGEMAKER_BIND_TO_PORT": str(port), "MDLC_SERVE_HOST": "127.0.0.1"}
    process = subprocess.Popen([str(BIN / "serve")], env={**os.environ, **settings, "MDLC_MODEL_VERSION": "7"})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                client.get("/ping")
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield client
    process.terminate()
    # uvicorn ends by the signal it was stopped with.
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_a_hundred_megabytes_are_refused_and_the_server_lives(server: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1024 * 1024

    headers = {"content-type": "application/json"}
    announced = server.post("/invocations", content=b" " * (100 * 1024 * 1024), headers=headers)
    assert announced.status_code == 413
    assert "the body is larger than 6,291,456 bytes" in announced.json()["error"]
    # The server may hang up while the caller still writes.
    with contextlib.suppress(httpx.HTTPError):
        assert server.post("/invocations", content=chunks(), headers=headers).status_code == 413
    assert server.get("/ping").status_code == 200
    answer = server.post("/invocations", json={"instances": [_ROW]})
    assert (answer.status_code, answer.json()["model_version"]) == (200, 7)


def test_execution_parameters_are_those_of_the_environment(server: httpx.Client) -> None:
    assert server.get("/execution-parameters").json() == {
        "MaxConcurrentTransforms": 1,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }
    batch = ServeSettings.of(
        {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
            "SAGEMAKER_BATCH_STRATEGY": "SingleRecord",
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
        }
    )
    assert batch.max_body == 100 * 1024 * 1024
    assert batch.execution_parameters()["BatchStrategy"] == "SINGLE_RECORD"
    with pytest.raises(SettingError, match=r"SAGEMAKER_BATCH_STRATEGY is 'ALL'\. Mend: write MULTI_RECORD or SINGLE"):
        ServeSettings.of({"SAGEMAKER_BATCH_STRATEGY": "ALL"})
    with pytest.raises(SettingError, match="SAGEMAKER_MAX_PAYLOAD_IN_MB is 'six'"):
        ServeSettings.of({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "six"})


def _lay_out(root: Path, frames: dict[str, bytes], channels: dict[str, dict[str, str]], **given: str) -> Layout:
    for name, content in frames.items():
        path = root / "input" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = root / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    (config / "hyperparameters.json").write_text(json.dumps({"mdlc_algorithm": "decision_tree", **given}))
    return Layout(root)


_CSV = b"0,1.5,2\n1,3,4\n0,1,2\n1,5,6\n"


def test_the_process_trains_csv_without_names_and_says_why_it_cannot(tmp_path: Path) -> None:
    layout = _lay_out(tmp_path, {"train/a.csv": _CSV}, {"train": {"ContentType": "text/csv"}})
    command, environment = [str(BIN / "train")], {**os.environ, "MDLC_ML_ROOT": str(tmp_path)}
    assert subprocess.run(command, env=environment, timeout=300, check=False).returncode == 0
    assert json.loads((layout.model / "model.json").read_text())["features"] == ["f0", "f1"]
    (tmp_path / "input" / "data" / "train" / "a.csv").write_bytes(b"0,1,2\n0,3,4\n")
    assert subprocess.run(command, env=environment, timeout=300, check=False).returncode == 1
    reason = (tmp_path / "output" / "failure").read_text()
    assert reason == "all 2 training rows have the same label. Mend: train on more days, or check labels."


@pytest.mark.parametrize(
    ("frames", "channels", "said"),
    [
        ({"other/a.csv": _CSV}, {"other": {}}, "there is no channel train, only other. Mend: add it."),
        (
            {"train/a.txt": _CSV},
            {"train": {}},
            "content type of 'a.txt' is not understood. Mend: use application/x-parqu",
        ),
        ({"train/a.csv": b"\n"}, {"train": {"ContentType": "text/csv"}}, "Mend: "),
        (
            {"train/a.csv": _CSV},
            {"train": {"TrainingInputMode": "Pipe"}},
            "input mode Pipe is not understood. Mend: use File",
        ),
        (
            {"train/a.csv": b"label,a\n0,1\n", "train/b.csv": b"label,b\n1,1\n"},
            {"train": {"ContentType": "text/csv"}},
            "b.csv has the columns label, b, a.csv has label, a. Mend: write the same columns in the same order.",
        ),
        (
            {"train/a.csv": b"label,a\n0,1\n1,\n"},
            {"train": {"ContentType": "text/csv"}},
            "feature a is missing or infinite in some rows",
        ),
        (
            {"train/a.csv": b"label,a\n0,1\n,3\n"},
            {"train": {"ContentType": "text/csv"}},
            "label label is missing in some rows. Mend: train on rows whose label is known.",
        ),
    ],
)
def test_bad_channels_are_named(
    tmp_path: Path, frames: dict[str, bytes], channels: dict[str, dict[str, str]], said: str
) -> None:
    with pytest.raises((InputError, TrainingDataError)) as refused:
        train(_lay_out(tmp_path, frames, channels), threading.Event())
    assert said in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_parquet_files_are_read_together(tmp_path: Path) -> None:
    rows = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "fraud": [0, 1, 0, 1]})
    rows.head(2).write_parquet(tmp_path / "1.parquet")
    rows.tail(2).write_parquet(tmp_path / "2.parquet")
    frames = {f"train/{name}": (tmp_path / name).read_bytes() for name in ("1.parquet", "2.parquet")}
    layout = _lay_out(tmp_path, frames, {"train": {"ContentType": "application/x-parquet"}}, mdlc_label="fraud")
    assert train(layout, threading.Event())["train_rows"] == 4


def test_a_stop_before_the_next_model_leaves_none(tmp_path: Path) -> None:
    layout = _lay_out(tmp_path, {"train/a.csv": _CSV}, {"train": {"ContentType": "text/csv"}})
    stop = threading.Event()
    stop.set()
    with pytest.raises(TrainingStoppedError, match="Mend: start the job again"):
        train(layout, stop)
    assert not layout.model.exists()
