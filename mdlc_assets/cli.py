"""`mdlc`: the platform from the command line, thin over the functions that Dagster's jobs call too."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdlc_assets.commands.dev import dev
from mdlc_assets.commands.help import Sections
from mdlc_assets.commands.new import land, new
from mdlc_assets.commands.reference import reference
from mdlc_assets.commands.rules import rules
from mdlc_assets.commands.run import run
from mdlc_assets.commands.schema import schema
from mdlc_assets.commands.shared import find_lifecycle
from mdlc_assets.commands.stream import stream
from mdlc_assets.export.command import export
from mdlc_assets.operations.backup_command import backup, restore
from mdlc_assets.operations.command import doctor

if TYPE_CHECKING:
    from mdlc_assets.lifecycle import ModelLifecycle

# Heavy imports stay inside the commands: `mdlc --help` should answer at once.


_HISTORY = (
    *("algorithm", "train", "test", "refit", "gate", "compared_with", "digest", "digest_features", "digest_labels"),
    *("declaration", "code", "git_commit", "environment", "dagster_run"),
)


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mdlc-assets")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for all local state [default: $MDLC_HOME or ./.mdlc].",
)
def main(home: Path | None) -> None:
    """The model development life cycle as one Dagster asset graph.

    \b
    mdlc demo                             two weeks in the life of a fraud model, in minutes
    mdlc new churn --data customers.csv   a model on your own data
    mdlc dev                              the Dagster UI on the very same state

    Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 called wrongly.
    """
    if home:
        os.environ["MDLC_HOME"] = str(home.absolute())


main.add_command(export)
main.add_command(doctor)


for _command in (new, land, run, dev, rules, schema, reference, stream, backup, restore):
    main.add_command(_command)


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For scripts: one object for each file, a line each.")
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check declarations: FILES, or all there are.

    \b
    mdlc validate lifecycles/churn/defs.yaml
    """
    from mdlc_assets.commands.shared import judge_declaration
    from mdlc_assets.definitions import lifecycle_files

    judged = [judge_declaration(path) for path in files or lifecycle_files()]
    for found in judged:
        click.echo(found.as_json() if as_json else found.text, err=bool(found.problems) and not as_json)
    sys.exit(1 if any(found.problems for found in judged) else 0)


@main.command()
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of daily files to run on, instead of the simulated sample.",
)
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def demo(source: Path | None, lifecycle: str) -> None:
    """Live through two weeks of a model: history, training, an incident, a drift, a changeover.

    Starts afresh: what an earlier demo left in the home folder is replaced. The smaller lifecycles have a shorter
    demo, which leaves the others as they are: --lifecycle bakery_demand, --lifecycle pump_anomalies.
    """
    from mdlc_assets.demo.run import run_demo
    from mdlc_assets.demo.small import WORLDS, run_small_demo
    from mdlc_assets.demo.story import StoryError
    from mdlc_assets.home import Home

    if lifecycle in WORLDS:
        sys.exit(0 if run_small_demo(_lifecycle(lifecycle), Home()) else 1)
    try:
        good = run_demo(_lifecycle(lifecycle), Home(), source)
    except StoryError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if good else 1)


@main.command()
@click.option("--lifecycle", default="payments_fraud", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def history(lifecycle: str, as_json: bool) -> None:
    """Versions of the model: trained on what, judged how, approved by whom and why."""
    import json

    found = _registry().history(_lifecycle(lifecycle).declaration.name)
    if as_json:
        click.echo(json.dumps(found, indent=1, default=str))
        return
    for version in found:
        serves = click.style("  serves", fg="green") if version["serves"] else ""
        click.echo(f"version {version['version']}, as of {version['as_of']}{serves}")
        for name in _HISTORY:
            click.echo(f"  {name:16} {version.get(name, '')}")
        for line in version["audit"]:
            click.echo(f"  {line}")
    if not found:
        click.echo(f"{lifecycle} has no versions yet. Run the job {lifecycle}_train for a day.")


@main.command()
@click.argument("version", type=int)
@click.option("--reason", required=True, help="Why; kept in the audit trail.")
@click.option("--approver", default=lambda: os.environ.get("USER", ""), help="Who [default: $USER].")
@click.option("--override", is_flag=True, help="Approve although the gate refused it.")
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def approve(version: int, reason: str, approver: str, override: bool, lifecycle: str) -> None:
    """Make VERSION the champion, through the audited Dagster job."""
    loop = _loop(lifecycle)
    config = {"version": version, "reason": reason, "approver": approver, "override": override}
    ran = loop.run("approve", config={f"{lifecycle}__champion": {"config": config}})
    follows = (
        f"The endpoint follows by the sensor {lifecycle}_deploy_approved or the job {lifecycle}_real_time_inference."
    )
    _say(ran.error or f"Version {version} of {lifecycle} is the champion. {follows}", ran.success)


@main.command()
@click.argument("version", type=int)
@click.option("--reason", required=True)
@click.option("--approver", default=lambda: os.environ.get("USER", ""))
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def reject(version: int, reason: str, approver: str, lifecycle: str) -> None:
    """Refuse VERSION, through the audited Dagster job."""
    config = {"version": version, "reason": reason, "approver": approver}
    ran = _loop(lifecycle).run("reject", config={f"{lifecycle}__reject": {"config": config}})
    _say(ran.error or f"Version {version} of {lifecycle} is rejected.", ran.success)


@main.command()
@click.option("--reason", required=True)
@click.option("--approver", default=lambda: os.environ.get("USER", ""))
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def rollback(reason: str, approver: str, lifecycle: str) -> None:
    """Put the champion before this one back in service, through the audited Dagster job."""
    loop = _loop(lifecycle)
    config = {"reason": reason, "approver": approver}
    ran = loop.run("rollback", config={f"{lifecycle}__rollback": {"config": config}})
    if not ran.success:
        _say(ran.error, False)
    champion = loop.resources["registry"].champion(lifecycle).version
    if loop.lifecycle.deployment.real_time is None:
        _say(f"Version {champion} of {lifecycle} is the champion again.", True)
    deployed = loop.run("real_time_inference")
    behind = f"Version {champion} is the champion again, but the endpoint has not changed over.\n{deployed.error}"
    _say(f"Version {champion} of {lifecycle} serves again." if deployed.success else behind, deployed.success)


@main.command()
@click.option("--verify", is_flag=True, help="Check the chain, the champion, and each version's tags and files.")
@click.option("--expect", default="", help="With --verify: a head of the trail (number:digest) that you wrote down.")
@click.option("--transaction", default="", help="Which model scored it? An event's id, or an endpoint's request id.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="The event's day; without it all days are searched.")
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def audit(verify: bool, expect: str, transaction: str, day: datetime | None, lifecycle: str) -> None:
    """The audit trail: who decided what about which version, and why."""
    from mdlc_assets.home import Home
    from mdlc_assets.integration.trace import approvals_of, sightings
    from mdlc_assets.production import UnsetError, resources_here
    from mdlc_assets.resources.registry import UnknownVersionError
    from mdlc_assets.training.verification import record_problems

    declaration, home = _lifecycle(lifecycle).declaration, Home()
    try:
        resources = resources_here(home, os.environ)
    except UnsetError as error:
        raise click.ClickException(str(error)) from None
    registry = resources["registry"]
    if verify or expect:
        wrong = record_problems(registry, declaration, expect)
        head = registry.audit_head(lifecycle)
        good = f"The trail holds: {head.number} entries. Write down its head: {head}"
        _say("\n".join(wrong) or good, not wrong)
    trail = registry.audit(lifecycle)
    if not transaction:
        for entry in trail:
            click.echo(_entry(entry))
        _say(f"{len(trail)} entries about {lifecycle}; `--verify` checks them.", True)
    captured = home.endpoints / lifecycle / "notes" / "capture"
    decided = resources["captured_decisions"]
    found = sightings(declaration, resources["lake"], captured, transaction, day.date() if day else None, decided)
    for seen in found:
        which = f"version {seen.version}" if seen.version is not None else "without a version"
        click.echo(f"{seen.where}: {which} of {lifecycle}")
        for name, value in seen.said.items():
            click.echo(f"  {name:12} {value}")
        if seen.version is None:
            continue
        try:
            tags = registry.version(lifecycle, seen.version).tags
        except UnknownVersionError as error:
            click.echo(f"  {error}")
            continue
        for name in ("as_of", "refit", "digest", "digest_features", "digest_labels", "declaration", "code", "gate"):
            click.echo(f"  {name:12} {tags.get(f'mdlc.{name}', '')}")
        for entry in approvals_of(trail, seen.version):
            click.echo(f"  {_entry(entry)}")
    if not found:
        online = "" if captured.is_dir() else "; no online answers were captured here"
        _say(f"Nothing has scored {transaction}{online}. Give an event's id or a request id.", False)


def _entry(entry: Mapping[str, Any]) -> str:
    override = " AGAINST ITS GATE" if entry.get("override") and entry.get("gate") != "passed" else ""
    out = f", version {entry['after']} goes" if entry.get("after") else ""
    what = f"{entry['action']} version {entry['version']}{out}{override}"
    return f"{entry['number']:>4}  {entry['at'][:16]}Z  {what} by {entry['who']}: {entry['reason']}"


@main.command("take-back")
@click.option("--reason", required=True)
@click.option("--who", default=lambda: os.environ.get("USER", ""))
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def take_back(reason: str, who: str, lifecycle: str) -> None:
    """Roll back a rollout that is under way: what served before takes everything again."""
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home

    done = embedded_resources(Home())["endpoints"].take_back(lifecycle, who, reason)
    _say("The rollout is taken back." if done else f"No rollout of {lifecycle} is under way.", done)


@main.command()
@click.option("--lifecycle", default="payments_fraud", show_default=True)
def stop(lifecycle: str) -> None:
    """End the local endpoint's processes."""
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home

    embedded_resources(Home())["endpoints"].stop(lifecycle)
    click.echo(f"The endpoint of {lifecycle} is stopped.")


@main.command()
@click.argument("lifecycle")
@click.option("--days", default=60, show_default=True, help="How many of the last validated days to look at.")
def profile(lifecycle: str, days: int) -> None:
    """Suggest rules for LIFECYCLE from its history, as a piece of YAML for its declaration."""
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home
    from mdlc_assets.quality.profile import as_yaml, suggest

    declaration = _lifecycle(lifecycle).declaration
    validated = embedded_resources(Home())["lake"].table(lifecycle, "validated")
    try:
        found = suggest(declaration, {day: validated.read_day(day) for day in validated.days()[-days:]})
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    click.echo(as_yaml(found) if found else "# history suggests nothing that is not declared", nl=not found)


@main.group()
def features() -> None:
    """Feature tables and the state they follow from."""


@features.command()
@click.argument("lifecycle")
@click.option("--first", type=click.DateTime(["%Y-%m-%d"]), help="First day [default: the first with validated rows].")
@click.option("--last", type=click.DateTime(["%Y-%m-%d"]), help="Last day [default: the last with validated rows].")
def rebuild(lifecycle: str, first: datetime | None, last: datetime | None) -> None:
    """Make feature state and features of LIFECYCLE again from validated rows, in one Dagster run.

    For a changed declaration, a corrected day, or lost state. What was right comes out with the same bytes.
    """
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home

    loop = _loop(lifecycle)
    there = embedded_resources(Home())["lake"].table(lifecycle, "validated").days()
    if not there:
        _say(f"{lifecycle} has no validated day. Run the job {lifecycle}_history for some days first.", False)
    begin, end = max(first.date(), there[0]) if first else there[0], last.date() if last else there[-1]
    gaps = [day for day in loop.lifecycle.days(begin, end) if day not in set(there)]
    if gaps or begin > end:
        lacking = f"{gaps[0]} has no validated rows" if gaps else f"{begin} is after {end}"
        _say(f"{lacking}. Choose days between {there[0]} and {there[-1]} that are there.", False)
    ran = loop.run("rebuild", begin, end)
    _say(ran.error or f"Features of {lifecycle} from {begin} to {end} are made again.", ran.success)


@main.command()
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="../shared/payments",
    show_default=True,
    help="The Fraud Detection Handbook's daily files.",
)
def table(source: Path) -> None:
    """Print the handbook's baseline table out of the platform's own training and evaluation."""
    from mdlc_assets.demo.table import print_table

    print_table(_lifecycle("payments_fraud"), source)


@main.command()
@click.argument("lifecycle")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs MDLC_TOKEN.")
@click.option("--port", default=0, show_default=True, help="0 takes a free one.")
def serve(lifecycle: str, host: str, port: int) -> None:
    """Decide events of LIFECYCLE over HTTP: features, score, rules, action."""
    from mdlc_assets.features.online import OnlineFeatures
    from mdlc_assets.home import Home
    from mdlc_assets.production import UnsetError, resources_here
    from mdlc_assets.realtime.serve import run_service, service_state, token_for
    from mdlc_assets.resources.endpoint_state import ExposedError

    try:
        token_for(host)
        home = Home()
        resources = resources_here(home, os.environ)
    except (ExposedError, UnsetError) as error:
        raise click.ClickException(str(error)) from None
    chosen = _lifecycle(lifecycle)
    store = resources["online_store"]
    source = OnlineFeatures(chosen.declaration, store.store)
    state = service_state(
        chosen.declaration,
        resources["registry"],
        source,
        home.captured_decisions / lifecycle,
        resources["outboxes"].open(lifecycle),
        at_hand=store.form == "embedded",
        read=lambda: _lifecycle(lifecycle).declaration,
        store_there=lambda: store.store.newest(source.space) is not None,
        sagemaker=resources["sagemaker"],
    )
    run_service(state, host, port, click.echo)


def _lifecycle(name: str) -> ModelLifecycle:
    return find_lifecycle(name)


def _registry():  # type: ignore[no-untyped-def]
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home

    return embedded_resources(Home())["registry"]


def _loop(name: str):  # type: ignore[no-untyped-def]
    from mdlc_assets.demo.loop import open_loop
    from mdlc_assets.home import Home

    return open_loop(_lifecycle(name), Home())


def _say(text: str, good: bool) -> None:
    click.echo(text, err=not good)
    sys.exit(0 if good else 1)
