"""Batch transform that really serves: files in, `.out` files out, and nothing half done when it fails."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.archives import ArchiveError, packed, unpacked
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import JobFailedError, Jobs, Pace
from mdlc_assets.resources.sagemaker.requests import TransformPlan, model_request, transform_request
from mdlc_assets_tests.deployment.models import FEATURES, fit_model


@pytest.fixture
def service(tmp_path: Path) -> SageMaker:
    """With a model `m` to serve."""
    service = SageMaker(root=str(tmp_path))
    service.storage("models").write("model.tar.gz", packed(fit_model().files()))
    artifact = service.storage("models").location("model.tar.gz")
    service.client().create_model(**model_request("m", service.own_image(), artifact, service.role_arn()))
    return service


def _rows(count: int = 50) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    return pl.DataFrame({name: rng.normal(size=count) for name in FEATURES})


def _transform(service: SageMaker, **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "name": "t",
        "model": "m",
        "source": service.storage("days").location(""),
        "output": service.storage("scores").location(""),
    }
    plan = TransformPlan(**{**usual, **changes})
    return Jobs(service.client(), Pace(0.05, 0.3)).transform(transform_request(plan))


def _parquet(rows: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    rows.write_parquet(written)
    return written.getvalue()


def test_each_file_is_answered_by_one(service: SageMaker) -> None:
    rows = _rows()
    days = service.storage("days")
    days.write("date=1/part.parquet", _parquet(rows.head(20).select(*reversed(FEATURES))))
    days.write("date=2/part.parquet", _parquet(rows.tail(30)))
    assert _transform(service)["TransformJobStatus"] == "Completed"
    scores = service.storage("scores")
    assert scores.names("") == ["date=1/part.parquet.out", "date=2/part.parquet.out"]
    found = pl.concat(pl.read_parquet(scores.read(name)) for name in scores.names(""))["score"].to_numpy()
    np.testing.assert_array_equal(found, fit_model().score(rows))
    assert not _servers(Path(service.root))


@pytest.mark.parametrize("accept", ["text/csv", "application/jsonlines"])
def test_lines_are_cut_into_requests_and_put_together_again(service: SageMaker, accept: str) -> None:
    rows = _rows(3000)
    content = rows.write_csv(include_header=False).encode()
    assert len(content) > 200_000
    service.storage("days").write("rows.csv", content)
    _transform(
        service, content_type="text/csv; header=absent", accept=accept, split=True, concurrent=2, max_payload_mb=1
    )
    answer = service.storage("scores").read("rows.csv.out").decode().splitlines()
    found = [float(line) if accept == "text/csv" else float(line.split(":")[1].strip("} ")) for line in answer]
    np.testing.assert_array_equal(found, fit_model().score(rows))


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        (_parquet(_rows().drop("amount")), {}, "answered 400: .*the file lacks amount"),
        (
            _parquet(_rows().with_columns(extra=pl.lit(1.0))),
            {},
            "answered 400: .*the file has extra, which the model does",
        ),
        (_parquet(_rows().with_columns(amount=pl.lit(float("nan")))), {}, "answered 400: .*row 0: amount has no value"),
        (_parquet(_rows().with_columns(amount=pl.lit(float("inf")))), {}, "answered 400: .*row 0: amount is infinite"),
        (b"no parquet", {}, "answered 400: .*the body is not a Parquet file"),
        (b"1,2,3,4\n", {"content_type": "application/x-recordio-protobuf"}, "answered 415: .*content type is not"),
        (b"1,2,3\n", {"content_type": "text/csv; header=absent"}, "row 0 has 3 cells where the model needs 4"),
        (b"x" * (1024 * 1024 + 1), {"max_payload_mb": 1}, "larger than MaxPayloadInMB .*Mend: split the file"),
    ],
)
def test_bad_input_fails_the_job_and_leaves_nothing(
    service: SageMaker, content: bytes, changes: dict[str, Any], said: str
) -> None:
    days = service.storage("days")
    days.write("a.parquet", content)
    with pytest.raises(JobFailedError, match=said):
        _transform(service, **changes)
    assert service.storage("scores").names("") == []
    assert not _servers(Path(service.root))


def test_a_hundred_megabytes_are_refused_before_they_are_read(service: SageMaker) -> None:
    with pytest.raises(ClientError, match=r"MaxConcurrentTransforms \* MaxPayloadInMB must be at most 100"):
        _transform(service, max_payload_mb=60, concurrent=2)
    service.storage("days").write("a.parquet", b"\0" * (100 * 1024 * 1024 + 1))
    with pytest.raises(JobFailedError, match="a record of 104,857,601 bytes is larger than MaxPayloadInMB"):
        _transform(service, max_payload_mb=100)
    assert service.storage("scores").names("") == []


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"no archive", "the archive cannot be read"),
        (packed(fit_model().files())[:-200], "the archive cannot be read"),
        (
            packed({**fit_model().files(), "model.ubj": b"{ spoilt"}),
            "ended with code 1 before it answered /ping.*is not what was written",
        ),
        (packed({"weights.bin": b"1"}), "ended with code 1 before it answered /ping.*the model lacks 'model.json'"),
    ],
)
def test_a_corrupt_model_never_answers(service: SageMaker, archive: bytes, said: str) -> None:
    service.storage("models").write("model.tar.gz", archive)
    service.storage("days").write("a.parquet", _parquet(_rows()))
    with pytest.raises(JobFailedError, match=said):
        _transform(service)
    assert service.storage("scores").names("") == []
    assert not _servers(Path(service.root))


def test_a_stopped_transform_writes_nothing(service: SageMaker) -> None:
    service.storage("days").write("a.parquet", _parquet(_rows()))
    plan = TransformPlan("t", "m", service.storage("days").location(""), service.storage("scores").location(""))
    client = service.client()
    client.create_transform_job(**transform_request(plan))
    client.stop_transform_job(TransformJobName="t")
    _until(lambda: client.describe_transform_job(TransformJobName="t")["TransformJobStatus"] == "Stopped")
    assert service.storage("scores").names("") == []
    assert not _servers(Path(service.root))
    with pytest.raises(ClientError, match='Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/no"'):
        client.create_transform_job(**{**transform_request(plan), "ModelName": "no", "TransformJobName": "u"})


def test_archives_hold_no_paths_that_lead_out() -> None:
    with pytest.raises(ArchiveError, match="no file of a model"):
        unpacked(packed({"../../etc/passwd": b"x"}))
    files = {"b": b"2", "a/c": b"1"}
    assert packed(files) == packed(dict(reversed(files.items())))
    assert unpacked(packed(files)) == files


def _servers(root: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"MDLC_ML_ROOT={root}".encode() in (path / "environ").read_bytes() and int(path.name) != os.getpid():
                found.append(path.name)
        except OSError:
            continue
    return found


def _until(seen: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = seen()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")
