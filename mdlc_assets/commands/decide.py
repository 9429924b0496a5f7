"""`mdlc approve`, `reject`, `rollback`, `take-back`: what a person decides about versions, by audited Dagster jobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from mdlc_assets.commands.answer import answer, for_scripts, work
from mdlc_assets.commands.shared import find_lifecycle, loop_here, of_a_lifecycle

if TYPE_CHECKING:
    from mdlc_assets.demo.loop import Loop


@click.command()
@click.argument("version", type=int)
@click.option("--reason", required=True, help="Why; kept in the audit trail.")
@click.option("--approver", default=lambda: os.environ.get("USER", ""), help="Who [default: $USER].")
@click.option("--override", is_flag=True, help="Approve although the gate refused it.")
@of_a_lifecycle
@for_scripts
def approve(version: int, reason: str, approver: str, override: bool, lifecycle: str, as_json: bool) -> None:
    """Make VERSION the champion, through the audited Dagster job."""
    config = {"version": version, "reason": reason, "approver": approver, "override": override}
    with work(as_json):
        ran = loop_here(lifecycle).run("approve", config={f"{lifecycle}__champion": {"config": config}})
    follows = (
        f"The endpoint follows by the sensor {lifecycle}_deploy_approved or the job {lifecycle}_real_time_inference."
    )
    words = ran.error or f"Version {version} of {lifecycle} is the champion. {follows}"
    answer(as_json, _document(lifecycle, version, ran.success, ran.error, ran.run_id), words, good=ran.success)


@click.command()
@click.argument("version", type=int)
@click.option("--reason", required=True)
@click.option("--approver", default=lambda: os.environ.get("USER", ""))
@of_a_lifecycle
@for_scripts
def reject(version: int, reason: str, approver: str, lifecycle: str, as_json: bool) -> None:
    """Refuse VERSION, through the audited Dagster job."""
    config = {"version": version, "reason": reason, "approver": approver}
    with work(as_json):
        ran = loop_here(lifecycle).run("reject", config={f"{lifecycle}__reject": {"config": config}})
    words = ran.error or f"Version {version} of {lifecycle} is rejected."
    answer(as_json, _document(lifecycle, version, ran.success, ran.error, ran.run_id), words, good=ran.success)


@click.command()
@click.option("--reason", required=True)
@click.option("--approver", default=lambda: os.environ.get("USER", ""))
@of_a_lifecycle
@for_scripts
def rollback(reason: str, approver: str, lifecycle: str, as_json: bool) -> None:
    """Put the champion before this one back in service, through the audited Dagster job."""
    with work(as_json):
        loop = loop_here(lifecycle)
        before = _champion(loop, lifecycle)
        config = {"reason": reason, "approver": approver}
        ran = loop.run("rollback", config={f"{lifecycle}__rollback": {"config": config}})
        champion = _champion(loop, lifecycle)
    if not ran.success and champion == before:
        answer(as_json, _document(lifecycle, None, False, ran.error, ran.run_id), ran.error, good=False)
    # What failed after the decision (a model package group) must not keep the endpoint from changing over.
    document = _document(lifecycle, champion, ran.success, ran.error, ran.run_id)
    if loop.lifecycle.deployment.real_time is None:
        words = ran.error or f"Version {champion} of {lifecycle} is the champion again."
        answer(as_json, document, words, good=ran.success)
    with work(as_json):
        deployed = loop.run("real_time_inference")
    wrong = [error for error in (ran.error, deployed.error) if error]
    good = ran.success and deployed.success
    document |= {"done": good, "error": "\n".join(wrong), "deployed": deployed.success}
    behind = f"Version {champion} is the champion again, but the endpoint has not changed over."
    words = f"Version {champion} of {lifecycle} serves again." if deployed.success else behind
    answer(as_json, document, "\n".join([words, *wrong]), good=good)


@click.command("take-back")
@click.option("--reason", required=True)
@click.option("--who", default=lambda: os.environ.get("USER", ""))
@of_a_lifecycle
@for_scripts
def take_back(reason: str, who: str, lifecycle: str, as_json: bool) -> None:
    """Roll back a rollout that is under way: what served before takes everything again."""
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home

    find_lifecycle(lifecycle)
    with work(as_json):
        done = embedded_resources(Home())["endpoints"].take_back(lifecycle, who, reason)
    words = "The rollout is taken back." if done else f"No rollout of {lifecycle} is under way."
    answer(as_json, {"lifecycle": lifecycle, "done": done, "error": "" if done else words}, words, good=done)


def _champion(loop: Loop, lifecycle: str) -> int | None:
    champion = loop.resources["registry"].champion(lifecycle)
    return champion.version if champion else None


def _document(lifecycle: str, version: int | None, done: bool, error: str, run: str) -> dict[str, object]:
    return {"lifecycle": lifecycle, "version": version, "done": done, "error": error, "run": run}
