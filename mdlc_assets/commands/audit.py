"""`mdlc audit`: who decided what about which version, and which version scored an event."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from mdlc_assets.commands.answer import answer, for_scripts
from mdlc_assets.commands.shared import find_lifecycle, of_a_lifecycle

_TOLD = ("as_of", "refit", "digest", "digest_features", "digest_labels", "declaration", "code", "gate")


@click.command()
@click.option("--verify", is_flag=True, help="Check the chain, the champion, and each version's tags and files.")
@click.option("--expect", default="", help="With --verify: a head of the trail (number:digest) that you wrote down.")
@click.option("--event", default="", help="Which model scored it? An event's id, or an endpoint's request id.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="The event's day; without it all days are searched.")
@of_a_lifecycle
@for_scripts
def audit(verify: bool, expect: str, event: str, day: datetime | None, lifecycle: str, as_json: bool) -> None:
    """The audit trail: who decided what about which version, and why."""
    from mdlc_assets.home import Home
    from mdlc_assets.integration.trace import sightings
    from mdlc_assets.production import UnsetError, resources_here
    from mdlc_assets.training.verification import record_problems

    declaration, home = find_lifecycle(lifecycle).declaration, Home()
    try:
        resources = resources_here(home, os.environ)
    except UnsetError as error:
        raise click.ClickException(str(error)) from None
    registry = resources["registry"]
    if verify or expect:
        wrong = record_problems(registry, declaration, expect)
        head = registry.audit_head(lifecycle)
        good = f"The trail holds: {head.number} entries. Write down its head: {head}"
        document = {"lifecycle": lifecycle, "entries": head.number, "head": str(head), "problems": wrong}
        answer(as_json, document, "\n".join(wrong) or good, good=not wrong)
    trail = registry.audit(lifecycle)
    if not event:
        closing = f"{len(trail)} entries about {lifecycle}; `--verify` checks them."
        document = {"lifecycle": lifecycle, "entries": list(trail)}
        answer(as_json, document, "\n".join([*map(_entry, trail), closing]))
    captured = home.endpoints / lifecycle / "notes" / "capture"
    decided = resources["captured_decisions"]
    found = sightings(declaration, resources["lake"], captured, event, day.date() if day else None, decided)
    seen = [_seen(registry, lifecycle, trail, one) for one in found]
    words = [line for one in seen for line in _lines(lifecycle, one)]
    if not found:
        online = "" if captured.is_dir() else "; no online answers were captured here"
        words = [f"Nothing has scored {event}{online}. Give an event's id or a request id."]
    answer(as_json, {"lifecycle": lifecycle, "event": event, "seen": seen}, "\n".join(words), good=bool(found))


def _seen(registry: Any, lifecycle: str, trail: Any, sighting: Any) -> dict[str, Any]:
    """Where an event was scored, what was said there, and all about the version that did it."""
    from mdlc_assets.integration.trace import approvals_of
    from mdlc_assets.resources.registry import UnknownVersionError

    seen = {"where": sighting.where, "version": sighting.version, "said": dict(sighting.said)}
    if sighting.version is None:
        return seen
    try:
        tags = registry.version(lifecycle, sighting.version).tags
    except UnknownVersionError as error:
        return {**seen, "problem": str(error)}
    model = {name: tags.get(f"mdlc.{name}", "") for name in _TOLD}
    return {**seen, "model": model, "approvals": list(approvals_of(trail, sighting.version))}


def _lines(lifecycle: str, seen: Mapping[str, Any]) -> list[str]:
    which = f"version {seen['version']}" if seen["version"] is not None else "without a version"
    lines = [f"{seen['where']}: {which} of {lifecycle}"]
    lines += [f"  {name:12} {value}" for name, value in {**seen["said"], **seen.get("model", {})}.items()]
    lines += [f"  {seen['problem']}"] if "problem" in seen else []
    return lines + [f"  {_entry(entry)}" for entry in seen.get("approvals", ())]


def _entry(entry: Mapping[str, Any]) -> str:
    override = " AGAINST ITS GATE" if entry.get("override") and entry.get("gate") != "passed" else ""
    out = f", version {entry['after']} goes" if entry.get("after") else ""
    what = f"{entry['action']} version {entry['version']}{out}{override}"
    return f"{entry['number']:>4}  {entry['at'][:16]}Z  {what} by {entry['who']}: {entry['reason']}"
