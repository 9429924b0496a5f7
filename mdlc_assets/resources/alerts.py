"""Alerts: a problem is told when it is new, when it gets worse, and when it is over; never twice in between.

Each notice is put on file before it is sent, to a webhook, by mail, to SNS: wherever an address is set. What could
not be delivered stays in the outbox and goes out with the next one, so a webhook that is down loses nothing and stops
nothing. Addresses come from the environment (`Alerts.from_environment`). The webhook's, which often holds a
token, and the mail password are only read from there when they are used, so that no user interface shows them.
"""

from __future__ import annotations

import json
import os
import smtplib
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from email.message import EmailMessage
from typing import Any, Literal

import dagster as dg
from tenacity import retry, stop_after_attempt, wait_exponential

from mdlc_assets.resources.storage import Storage, open_storage

_SECONDS = 5
_WORSE = 2.0
_LEVELS = ("good", "warn", "bad")

Level = Literal["warn", "bad"]
Change = Literal["new", "worse", "over"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a lifecycle. `key` says which problem it is, `size` how large (for "twice as bad"), `since`
    is the day it began. The texts hold counts, shares and means, never a value of a customer."""

    key: str
    level: Level
    what: str
    why: str
    do: str
    owner: str
    since: str
    size: float = 1.0


class Alerts(dg.ConfigurableResource):
    """Notices as JSON below `root` (a folder or s3://...), and sent to whatever address is set."""

    root: str
    mail_server: str = ""
    mail_user: str = ""
    mail_tls: bool = True
    mail_from: str = "mdlc@localhost"
    mail_to: str = ""
    sns_topic: str = ""
    cloudwatch_namespace: str = ""

    @classmethod
    def from_environment(cls, root: str) -> Alerts:
        """MDLC_ALERT_SNS_TOPIC, MDLC_ALERT_CLOUDWATCH (a namespace), MDLC_MAIL_SERVER (host:port), MDLC_MAIL_TO,
        MDLC_MAIL_FROM, MDLC_MAIL_USER, MDLC_MAIL_TLS (0 or 1); MDLC_ALERT_WEBHOOK and MDLC_MAIL_PASSWORD later."""
        given = os.environ.get
        return cls(
            root=root,
            mail_server=given("MDLC_MAIL_SERVER", ""),
            mail_user=given("MDLC_MAIL_USER", ""),
            mail_tls=given("MDLC_MAIL_TLS", "1") != "0",
            mail_from=given("MDLC_MAIL_FROM", "mdlc@localhost"),
            mail_to=given("MDLC_MAIL_TO", ""),
            sns_topic=given("MDLC_ALERT_SNS_TOPIC", ""),
            cloudwatch_namespace=given("MDLC_ALERT_CLOUDWATCH", ""),
        )

    def tell(
        self, lifecycle: str, day: date, problems: Sequence[Problem], not_judged: Collection[str] = ()
    ) -> list[str]:
        """Tell what has changed since the last day told of; says what, such as `new performance`.

        A day before the newest one told of changes nothing: a backfill is no news. Problems whose key was
        `not_judged` on the day stand as they stood.
        """
        storage = open_storage(self.root)
        state = _read(storage, f"{lifecycle}/open.json") or {"day": "", "open": {}}
        if day.isoformat() < state["day"]:
            return []
        now = {problem.key: problem for problem in problems}
        changes: list[tuple[Change, Problem]] = []
        kept: dict[str, Any] = {}
        for key, problem in now.items():
            told = state["open"].get(key)
            change = _change(told, problem)
            if change:
                changes.append((change, problem))
            # A problem that eases a little and comes back to where it was is not told again.
            kept[key] = asdict(problem) if change or told is None else {**told, "why": problem.why}
        for key, told in state["open"].items():
            if key not in now and key in not_judged:
                kept[key] = told
            elif key not in now:
                changes.append(("over", Problem(**told)))
        for change, problem in changes:
            notice = {"lifecycle": lifecycle, "day": day.isoformat(), "change": change, **asdict(problem)}
            storage.write(f"{lifecycle}/{day}-{problem.key}-{change}.json", _bytes(notice))
            storage.write(
                f"outbox/{day}-{lifecycle}-{problem.key}-{change}.json",
                _bytes({"notice": notice, "to": sorted(self._channels())}),
            )
        storage.write(f"{lifecycle}/open.json", _bytes({"day": day.isoformat(), "open": kept}))
        self.deliver()
        self._measure(lifecycle, problems)
        return [f"{change} {problem.key}" for change, problem in changes]

    def deliver(self) -> list[str]:
        """Send what lies in the outbox; gives what could not be sent, with the reason, and keeps it."""
        storage, channels = open_storage(self.root), self._channels()
        failed = []
        for name in storage.names("outbox"):
            waiting = _read(storage, name)
            if waiting is None:
                continue
            left = []
            for channel in waiting["to"]:
                if channel not in channels:
                    continue
                try:
                    channels[channel](waiting["notice"])
                except Exception as error:  # whatever a channel raises, the others are still told
                    left.append(channel)
                    failed.append(f"{name}: {channel}: {_why(error)}")
            if left:
                storage.write(name, _bytes({**waiting, "to": left, "failed": failed[-len(left) :]}))
            else:
                storage.delete(name)
        return failed

    def unsent(self, lifecycle: str) -> list[str]:
        """The lifecycle's alerts that could not be sent so far, each with the reason; the next day tries them again."""
        storage = open_storage(self.root)
        waiting = (_read(storage, name) or {} for name in storage.names("outbox"))
        mine = (one for one in waiting if one.get("notice", {}).get("lifecycle") == lifecycle)
        return [text for one in mine for text in one.get("failed", [])]

    def _channels(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        found: dict[str, Callable[[dict[str, Any]], None]] = {}
        webhook = os.environ.get("MDLC_ALERT_WEBHOOK", "")
        if webhook:
            found["webhook"] = lambda notice: _post(webhook, notice)
        if self.mail_server and self.mail_to:
            found["mail"] = self._mail
        if self.sns_topic:
            found["sns"] = self._publish
        return found

    def _mail(self, notice: dict[str, Any]) -> None:
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject(notice), self.mail_from, self.mail_to
        message.set_content(body(notice))
        host, _, port = self.mail_server.partition(":")
        with smtplib.SMTP(host, int(port or 25), timeout=_SECONDS) as server:
            if self.mail_tls:
                server.starttls()
            if self.mail_user:
                server.login(self.mail_user, os.environ.get("MDLC_MAIL_PASSWORD", ""))
            server.send_message(message)

    def _publish(self, notice: dict[str, Any]) -> None:
        from mdlc_assets.resources.aws import aws_client

        aws_client("sns").publish(
            TopicArn=self.sns_topic,
            Subject=subject(notice)[:100],
            Message=body(notice),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": str(notice[name])}
                for name in ("lifecycle", "level", "change", "key")
            },
        )

    def _measure(self, lifecycle: str, problems: Sequence[Problem]) -> None:
        """Open problems by level as CloudWatch metrics, for alarms and dashboards there."""
        if not self.cloudwatch_namespace:
            return
        from mdlc_assets.resources.aws import aws_client

        aws_client("cloudwatch").put_metric_data(
            Namespace=self.cloudwatch_namespace,
            MetricData=[
                {
                    "MetricName": "OpenProblems",
                    "Dimensions": [{"Name": "Lifecycle", "Value": lifecycle}, {"Name": "Level", "Value": level}],
                    "Value": sum(problem.level == level for problem in problems),
                    "Unit": "Count",
                }
                for level in _LEVELS[1:]
            ],
        )


def _why(error: Exception) -> str:
    """What may be written down of an error: the text of others than AWS may hold the address, and that a token."""
    from botocore.exceptions import BotoCoreError, ClientError

    return (
        f"{type(error).__name__}: {error}" if isinstance(error, BotoCoreError | ClientError) else type(error).__name__
    )


def subject(notice: dict[str, Any]) -> str:
    """One line: which lifecycle, how bad, what."""
    word = {"new": notice["level"].upper(), "worse": "WORSE", "over": "OVER"}[notice["change"]]
    return f"[{word}] {notice['lifecycle']} {notice['day']}: {notice['what']}"


def body(notice: dict[str, Any]) -> str:
    """The notice as a person reads it."""
    if notice["change"] == "over":
        return f"It is over: {notice['what']}\nIt began on {notice['since']}.\nOwner: {notice['owner']}\n"
    lines = [notice["why"], f"Since {notice['since']}.", f"What to do: {notice['do']}", f"Owner: {notice['owner']}"]
    return "\n".join(lines) + "\n"


def _change(told: dict[str, Any] | None, problem: Problem) -> Change | None:
    if told is None:
        return "new"
    graver = _LEVELS.index(problem.level) > _LEVELS.index(told["level"])
    return "worse" if graver or problem.size >= _WORSE * told["size"] else None


def _read(storage: Storage, name: str) -> dict[str, Any] | None:
    try:
        return json.loads(storage.read(name))
    except FileNotFoundError:
        return None


def _bytes(content: Any) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()


@retry(stop=stop_after_attempt(3), wait=wait_exponential(multiplier=0.2, max=1), reraise=True)
def _post(address: str, notice: dict[str, Any]) -> None:
    import httpx

    httpx.post(
        address, json={**notice, "text": f"{subject(notice)}\n{body(notice)}"}, timeout=_SECONDS
    ).raise_for_status()
