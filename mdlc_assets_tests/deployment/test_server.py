"""The model server: what it answers to good requests, and to all kinds of bad ones."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from mdlc_assets.deployment.scoring import load_scorer
from mdlc_assets.deployment.server import create_app
from mdlc_assets.resources.endpoint_state import ExposedError, check_host
from mdlc_assets_tests.deployment.models import FEATURES, save_model

ROW = dict(zip(FEATURES, (12.5, 0.0, 3.0, 0.25), strict=True))
JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("server") / "model")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(folder, 7, max_body=20_000), raise_server_exceptions=False) as client:
        yield client


def _expected(folder: Path, rows: list[dict[str, float]]) -> list[float]:
    return load_scorer(folder).score_rows(np.array([[row[f] for f in FEATURES] for row in rows])).tolist()


def test_scores_carry_version_and_request_id(client: TestClient, folder: Path) -> None:
    rows = [ROW, {**ROW, "amount": 900.0}]
    answer = client.post("/invocations", json={"instances": rows}, headers={"x-request-id": "pay-17"})
    assert answer.status_code == 200
    assert answer.json() == {
        "scores": _expected(folder, rows),
        "model_version": 7,
        "request_id": "pay-17",
    }
    assert answer.headers["x-request-id"] == "pay-17"


def test_each_format_and_field_order_gives_the_same_scores(client: TestClient, folder: Path) -> None:
    expected = _expected(folder, [ROW])
    turned = dict(reversed(ROW.items()))
    table = {"columns": list(turned), "data": [list(turned.values())]}
    lines = ",".join(turned) + "\r\n" + ",".join(map(str, turned.values())) + "\r\n"
    for body, headers in (
        (json.dumps({"instances": [turned]}), JSON),
        (json.dumps(table), {"content-type": "application/json; charset=UTF-8"}),
        (lines, CSV),
        ("\ufeff" + lines, CSV),
    ):
        answer = client.post("/invocations", content=body.encode(), headers=headers)
        assert (answer.status_code, answer.json()["scores"]) == (200, expected), body


def test_an_unfit_request_id_is_replaced(client: TestClient) -> None:
    answer = client.post("/invocations", json={"instances": [ROW]}, headers={"x-request-id": "a b\x7f"})
    assert len(answer.json()["request_id"]) == 32


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ("{", None, "not JSON"),
        ("[]", None, '"instances"'),
        ('{"instances": []}', "instances", "at least one row"),
        ('{"instances": [1]}', "instances", "instances[0] is not an object"),
        ('{"instances": [{"amount": 1}]}', "is_night", "lacks is_night, customer_payments_1d"),
        (json.dumps({"instances": [{**ROW, "colour": 1}]}), "colour", "has colour"),
        (json.dumps({"instances": [{**ROW, "amount": "12"}]}), "amount", "instances[0].amount is not a num"),
        (json.dumps({"instances": [{**ROW, "amount": [1]}]}), "amount", "not a number"),
        (json.dumps({"instances": [ROW, {**ROW, "amount": None}]}), "amount", "row 1: amount has no value"),
        (json.dumps({"instances": [{**ROW, "amount": float("nan")}]}), None, "NaN is not a value in JSON"),
        (json.dumps({"instances": [ROW]}).replace("12.5", "1e999"), "amount", "amount is infinite"),
        (json.dumps({"instances": [ROW]}).replace("12.5", "9" * 400), "amount", "too large"),
        (json.dumps({"instances": [ROW]}).replace("12.5", "9" * 5000), None, "too long"),
        ("[" * 9000, None, "nested too deeply"),
        (json.dumps({"columns": list(ROW), "data": [[1, 2]]}), "data", "data[0] is not a list of 4 values"),
        (json.dumps({"columns": [*ROW, "amount"], "data": [[1] * 5]}), "amount", "amount twice"),
        (json.dumps({"columns": "amount", "data": []}), "columns", "list of names"),
        (b'{"instances": "\xff"}', None, "not UTF-8"),
    ],
)
def test_bad_json_is_told_what_is_wrong(client: TestClient, body: str | bytes, field: str | None, words: str) -> None:
    content = body if isinstance(body, bytes) else body.encode()
    answer = client.post("/invocations", content=content, headers=JSON)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("lines", "field", "words"),
    [
        ("", None, "a header line and at least one row"),
        (",".join(FEATURES), None, "a header line and at least one row"),
        ("amount\n1", "is_night", "the header lacks is_night"),
        (",".join(FEATURES) + "\n1,2,3", None, "row 0 has 3 cells"),
        (",".join(FEATURES) + "\n1,2,3,abc", "terminal_fraud_share_7d", "is not a number"),
        (",".join(FEATURES) + "\n1_0,2,3,4", "amount", "amount is not a number"),
        (",".join(FEATURES) + "\n1,2,3,inf", "terminal_fraud_share_7d", "is infinite"),
        (",".join(FEATURES) + "\n1,,3,4", "is_night", "is_night has no value"),
        (",".join(FEATURES) + '\n1,2,3,"4', None, "not CSV"),
    ],
)
def test_bad_csv_is_told_what_is_wrong(client: TestClient, lines: str, field: str | None, words: str) -> None:
    answer = client.post("/invocations", content=lines.encode(), headers=CSV)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/x-recordio-protobuf"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_media_types_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/invocations", content=b"{}", headers=headers)
    assert answer.status_code == 415


def test_a_large_body_is_refused_whether_announced_or_not(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    announced = client.post("/invocations", content=b" " * 20_001, headers=JSON)
    streamed = client.post("/invocations", content=chunks(), headers=JSON)
    assert announced.status_code == streamed.status_code == 413
    assert "20,000 bytes" in announced.json()["error"]


def test_wrong_method_and_path(client: TestClient) -> None:
    assert client.get("/invocations").status_code == 405
    assert client.get("/elsewhere").status_code == 404


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["instances", "columns", "data", *FEATURES]), inner)
            ),
            max_leaves=12,
        ).map(lambda content: json.dumps(content).encode()),
        st.lists(st.fixed_dictionaries({name: st.floats() | st.none() | st.integers() for name in FEATURES})).map(
            lambda rows: json.dumps({"instances": rows}).encode()
        ),
    ),
    headers=st.sampled_from([JSON, CSV]),
)
def test_no_body_whatever_gets_a_server_error(client: TestClient, body: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/invocations", content=body, headers=headers)
    assert answer.status_code in (200, 400)
    assert all(0 <= score <= 1 for score in answer.json().get("scores", []))


def test_nothing_that_was_sent_is_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post("/invocations", json={"instances": [{**ROW, "amount": 123456.789}]})
        client.post("/invocations", json={"instances": [{**ROW, "amount": "secret-card"}]})
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "asyncio"))]
    assert not any("123456" in text or "secret-card" in text for text in ours)


def test_a_token_guards_all_but_ping(folder: Path) -> None:
    client = TestClient(create_app(folder, 1, token="s3cret"))
    body = {"instances": [ROW]}
    assert client.get("/ping").status_code == 200
    assert client.get("/metrics").status_code == 401
    refused = client.post("/invocations", json=body, headers={"authorization": "Bearer s3creT"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert client.post("/invocations", json=body, headers={"authorization": "Bearer \u00e9".encode()}).is_error
    good = {"authorization": "bearer s3cret"}
    assert client.post("/invocations", json=body, headers=good).status_code == 200


def test_a_draining_server_sends_callers_elsewhere(folder: Path) -> None:
    app = create_app(folder, 1)
    client = TestClient(app)
    app.state.server.draining = True
    assert client.get("/ping").status_code == 503
    answer = client.post("/invocations", json={"instances": [ROW]})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_metrics_count_answers_and_rows(folder: Path) -> None:
    client = TestClient(create_app(folder, 3))
    client.post("/invocations", json={"instances": [ROW, ROW]})
    client.post("/invocations", json={})
    text = client.get("/metrics").text
    assert 'status="200"} 1' in text
    assert 'status="400"} 1' in text
    assert "mdlc_rows_scored_total" in text
    assert text.splitlines()[-1].endswith(" 3")


def test_the_wide_world_needs_a_token() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.0.1"):
        check_host(host, None)
    for host in ("0.0.0.0", "10.0.0.5", "::", "example.com"):
        with pytest.raises(ExposedError, match="MDLC_ENDPOINT_TOKEN"):
            check_host(host, None)
        check_host(host, "token")


def test_a_body_that_does_not_arrive_is_not_waited_for(folder: Path) -> None:
    import asyncio

    async def never() -> dict[str, object]:
        await asyncio.sleep(3600)
        return {}

    said: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/invocations",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(create_app(folder, 1, body_seconds=0.2)(scope, never, send))  # type: ignore[arg-type]
    assert said[0]["status"] == 408
    assert b"took too long" in said[1]["body"]  # type: ignore[operator]
