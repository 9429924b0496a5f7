"""Bodies for programs: each gives the same rows, what does not fit is named, answers come as accepted."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from mdlc_assets.deployment.payload import MEDIA_TYPES, PayloadError, read_rows
from mdlc_assets.deployment.server import create_app
from mdlc_assets_tests.deployment.models import FEATURES, fit_model, save_model

_ROWS = pl.DataFrame({name: [float(i), i + 0.5] for i, name in enumerate(FEATURES)})
_TURNED = _ROWS.select(*reversed(FEATURES))


def _npy(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, array, allow_pickle=array.dtype == object)
    return written.getvalue()


def _parquet(rows: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    rows.write_parquet(written)
    return written.getvalue()


def _lines(rows: list[object]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


_BODIES = [
    ("application/jsonlines", _lines(_TURNED.to_dicts())),
    ("application/jsonlines; charset=utf-8", _lines([{"features": list(row)} for row in _ROWS.iter_rows()]) + b"\n\n"),
    ("application/x-parquet", _parquet(_TURNED)),
    ("application/x-npy", _npy(_ROWS.to_numpy())),
    ("text/csv; header=absent", _ROWS.write_csv(include_header=False).encode()),
    ("text/csv", _TURNED.write_csv().encode()),
    ("application/json", json.dumps({"instances": _TURNED.to_dicts()}).encode()),
]


@pytest.mark.parametrize(("content_type", "body"), _BODIES)
def test_each_form_gives_the_same_rows(content_type: str, body: bytes) -> None:
    np.testing.assert_array_equal(read_rows(body, content_type, FEATURES), _ROWS.to_numpy())


def test_one_row_may_come_as_a_vector_and_whole_numbers_are_numbers() -> None:
    assert read_rows(_npy(np.array([1, 2, 3, 4], dtype=np.int32)), "application/x-npy", FEATURES).tolist() == [
        [1, 2, 3, 4]
    ]
    whole = _ROWS.cast(pl.Int16)
    assert read_rows(_parquet(whole), "application/x-parquet", FEATURES).dtype == np.float64


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("application/x-parquet", _parquet(_ROWS.drop("is_night")), "the file lacks is_night"),
        (
            "application/x-parquet",
            _parquet(_ROWS.with_columns(more=1)),
            "the file has more, which the model does not know",
        ),
        ("application/x-parquet", _parquet(_ROWS.with_columns(amount=pl.lit("9"))), "amount is String, not a number"),
        ("application/x-parquet", _parquet(_ROWS.head(0)), "the body holds no rows"),
        ("application/x-parquet", b"PAR1 but not really", "the body is not a Parquet file"),
        ("application/x-npy", _npy(np.zeros((2, 3))), r"the array has the shape \(2, 3\); the model needs \(rows, 4\)"),
        ("application/x-npy", _npy(np.array([{"a": 1}], dtype=object)), "not an NPY file of numbers"),
        ("application/x-npy", _npy(np.array([["1", "2", "3", "4"]])), "not an NPY file of numbers"),
        ("application/jsonlines", b'{"amount": 1', "line 0 is not JSON"),
        ("application/jsonlines", _lines([{"amount": 1}]), r"instances\[0\] lacks is_night"),
        ("application/jsonlines", _lines([{"features": [1, 2]}]), "row 0 is not a list of 4 values"),
        ("application/jsonlines", b"  \n", "the body is empty"),
        ("text/csv; header=absent", b"1,2,3,x\n", "row 0: terminal_fraud_share_7d is not a number"),
        ("text/csv; header=absent", b"1,2,3\n", "row 0 has 3 cells where the model needs 4"),
        ("text/csv; header=absent", b"1,2,3,\n", "row 0: terminal_fraud_share_7d has no value"),
        ("application/x-npy", _npy(np.array([[1, np.nan, 3, 4]])), "row 0: is_night has no value"),
        ("application/x-npy", _npy(np.array([[1, np.inf, 3, 4]])), "row 0: is_night is infinite"),
    ],
)
def test_what_does_not_fit_is_named(content_type: str, body: bytes, said: str) -> None:
    with pytest.raises(PayloadError, match=said) as refused:
        read_rows(body, content_type, FEATURES)
    assert refused.value.status == 400


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    class Writes:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (open, (str(tmp_path / "sprung"), "w"))

    body = _npy(np.array([Writes()], dtype=object))
    with pytest.raises(PayloadError):
        read_rows(body, "application/x-npy", FEATURES)
    with pytest.raises(PayloadError):
        read_rows(pickle.dumps(Writes()), "application/x-npy", FEATURES)
    assert not (tmp_path / "sprung").exists()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = save_model(tmp_path_factory.mktemp("bodies") / "model")
    return TestClient(create_app(folder, 3), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/html, text/csv;q=0.5", "text/csv"),
        ("text/csv;q=0.2, application/x-npy;q=0.9", "application/x-npy"),
        ("application/jsonlines", "application/jsonlines"),
        ("application/x-parquet", "application/x-parquet"),
    ],
)
def test_answers_come_as_the_caller_accepts_them(client: TestClient, accept: str, kind: str) -> None:
    headers = {"content-type": "application/x-npy", "accept": accept}
    answer = client.post("/invocations", content=_npy(_ROWS.to_numpy()), headers=headers)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    read = {
        "application/json": lambda body: json.loads(body)["scores"],
        "text/csv": lambda body: [float(line) for line in body.decode().splitlines()],
        "application/jsonlines": lambda body: [json.loads(line)["score"] for line in body.splitlines()],
        "application/x-npy": lambda body: np.load(io.BytesIO(body), allow_pickle=False).tolist(),
        "application/x-parquet": lambda body: pl.read_parquet(io.BytesIO(body))["score"].to_list(),
    }[kind]
    assert read(answer.content) == fit_model().score(_ROWS).tolist()


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "text/csv;q=much"])
def test_forms_we_do_not_write_are_refused(client: TestClient, accept: str) -> None:
    headers = {"content-type": "application/x-npy", "accept": accept}
    answer = client.post("/invocations", content=_npy(_ROWS.to_numpy()), headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (406, "accept")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: _npy(np.zeros((1, 4))) + b)),
    kind=st.sampled_from([*MEDIA_TYPES, "text/csv; header=absent"]),
)
def test_no_body_whatever_gets_a_server_error(client: TestClient, body: bytes, kind: str) -> None:
    assert client.post("/invocations", content=body, headers={"content-type": kind}).status_code < 500
