"""Alerts: told once until they worsen or are over, to real receivers: HTTP, SMTP, and moto's SNS and CloudWatch."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from mdlc_assets.resources.alerts import Alerts, Problem
from mdlc_assets.resources.storage import open_storage

_DAY = date(2018, 6, 10)
_NAME = "payments_fraud"
_DRIFT = Problem(
    "inputs", "warn", "Inputs moved.", "amount moved: mean 80 against 53", "Look.", "team:x", "2018-06-09", 2.0
)
_WORSE_MODEL = Problem(
    "performance", "bad", "The model is worse.", "0.3, promised 0.6", "Wait.", "team:y", "2018-06-01"
)


def _tell(alerts: Alerts, i: int, *problems: Problem) -> list[str]:
    return alerts.tell(_NAME, _DAY + timedelta(days=i), problems)


def test_the_same_problem_is_told_once_until_it_worsens_or_is_over(tmp_path: Path) -> None:
    alerts = Alerts(root=str(tmp_path))
    assert _tell(alerts, 0) == []
    assert _tell(alerts, 1, _DRIFT) == ["new inputs"]
    assert _tell(alerts, 1, _DRIFT) == []
    assert _tell(alerts, 2, replace(_DRIFT, size=3.9, why="other figures")) == []
    assert _tell(alerts, 3, replace(_DRIFT, size=4.0), _WORSE_MODEL) == ["worse inputs", "new performance"]
    assert _tell(alerts, 4, replace(_DRIFT, size=2.0), _WORSE_MODEL) == []
    assert _tell(alerts, 5, replace(_DRIFT, size=4.1), _WORSE_MODEL) == []
    assert _tell(alerts, 6, replace(_DRIFT, level="bad"), _WORSE_MODEL) == ["worse inputs"]
    assert _tell(alerts, 7, _WORSE_MODEL) == ["over inputs"]
    assert _tell(alerts, 8, _DRIFT, _WORSE_MODEL) == ["new inputs"]
    assert _tell(alerts, 2) == [], "a backfill of an older day is no news"
    assert _tell(alerts, 9) == ["over inputs", "over performance"]
    kept = open_storage(str(tmp_path)).names(_NAME)
    assert f"{_NAME}/2018-06-17-inputs-over.json" in kept
    assert open_storage(str(tmp_path)).names("outbox") == []


def test_a_day_on_which_nobody_looked_ends_nothing(tmp_path: Path) -> None:
    alerts = Alerts(root=str(tmp_path))
    broken = replace(_WORSE_MODEL, key="quality")
    assert _tell(alerts, 0, _DRIFT) == ["new inputs"]
    assert alerts.tell(_NAME, _DAY + timedelta(days=1), [broken], {"inputs", "scores"}) == ["new quality"]
    assert _tell(alerts, 1, _DRIFT) == ["over quality"]


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A receiver that answers with `status` and keeps what it got."""
    seen: dict[str, Any] = {"status": 200, "got": []}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if seen["status"] == 200:
                seen["got"].append(content)
            self.send_response(seen["status"])
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MDLC_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/secret-token")
    yield seen
    server.shutdown()
    server.server_close()


def test_a_webhook_that_is_down_loses_nothing_and_stops_nothing(tmp_path: Path, webhook: dict[str, Any]) -> None:
    alerts = Alerts(root=str(tmp_path))
    webhook["status"] = 500
    assert _tell(alerts, 0, _DRIFT) == ["new inputs"]
    (waiting,) = open_storage(str(tmp_path)).names("outbox")
    assert "secret-token" not in (tmp_path / waiting).read_text()
    webhook["status"] = 200
    assert _tell(alerts, 1, _DRIFT) == []
    assert [(one["change"], one["key"], one["day"]) for one in webhook["got"]] == [("new", "inputs", "2018-06-10")]
    assert "[WARN] payments_fraud 2018-06-10: Inputs moved." in webhook["got"][0]["text"]
    assert "Owner: team:x" in webhook["got"][0]["text"]
    assert open_storage(str(tmp_path)).names("outbox") == []


def test_secrets_are_no_part_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDLC_ALERT_WEBHOOK", "http://127.0.0.1:9/hook-token")
    monkeypatch.setenv("MDLC_MAIL_PASSWORD", "password-token")
    monkeypatch.setenv("MDLC_MAIL_SERVER", "127.0.0.1:2525")
    said = Alerts.from_environment(str(tmp_path)).model_dump_json()
    assert "127.0.0.1:2525" in said
    assert "token" not in said


class _Inbox:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"


def _login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"mdlc", b"right"))


@pytest.mark.parametrize(("password", "arrives"), [("right", True), ("wrong", False)])
def test_mail_goes_to_a_real_server_that_asks_for_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, arrives: bool
) -> None:
    inbox = _Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(
        inbox, hostname="127.0.0.1", port=port, authenticator=_login, auth_required=True, auth_require_tls=False
    )
    server.start()
    try:
        monkeypatch.setenv("MDLC_MAIL_PASSWORD", password)
        alerts = Alerts(
            root=str(tmp_path),
            mail_server=f"127.0.0.1:{port}",
            mail_to="oncall@example.com",
            mail_user="mdlc",
            mail_tls=False,
        )
        _tell(alerts, 0, _WORSE_MODEL)
    finally:
        server.stop()
    assert bool(inbox.messages) == arrives
    assert bool(open_storage(str(tmp_path)).names("outbox")) != arrives
    if arrives:
        sender, receivers, content = inbox.messages[0]
        assert (sender, receivers) == ("mdlc@localhost", ["oncall@example.com"])
        assert "Subject: [BAD] payments_fraud 2018-06-10: The model is worse." in content
        assert "What to do: Wait." in content


def test_sns_and_cloudwatch_over_http(tmp_path: Path, s3_root: str) -> None:
    sns, sqs, cloudwatch = (boto3.client(name) for name in ("sns", "sqs", "cloudwatch"))
    topic = sns.create_topic(Name="mdlc-alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="mdlc-alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    alerts = Alerts(root=f"{s3_root}/alerts", sns_topic=topic, cloudwatch_namespace="mdlc")
    _tell(alerts, 0, _DRIFT, _WORSE_MODEL)
    _tell(alerts, 1, _WORSE_MODEL)
    got = [json.loads(one["Body"]) for _ in range(3) for one in sqs.receive_message(QueueUrl=queue).get("Messages", [])]
    assert sorted(one["Subject"] for one in got) == [
        "[BAD] payments_fraud 2018-06-10: The model is worse.",
        "[OVER] payments_fraud 2018-06-11: Inputs moved.",
        "[WARN] payments_fraud 2018-06-10: Inputs moved.",
    ]
    metrics = cloudwatch.list_metrics(Namespace="mdlc")["Metrics"]
    assert {tuple(d["Value"] for d in metric["Dimensions"]) for metric in metrics} == {
        (_NAME, "warn"),
        (_NAME, "bad"),
    }
