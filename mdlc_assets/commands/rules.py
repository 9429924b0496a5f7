"""`mdlc rules test`: past days decided again with changed rules."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdlc_assets.commands.answer import answer, for_scripts

if TYPE_CHECKING:
    from mdlc_assets.declaration import LifecycleDeclaration
    from mdlc_assets.declaration.rules import Decisions
    from mdlc_assets.integration.rehearsal import Rehearsal, Standing


@click.group()
def rules() -> None:
    """Business rules before they come into service."""


@rules.command("test")
@click.argument("lifecycle")
@click.option("--days", required=True, help="A day, or FIRST..LAST: days that were decided.")
@click.option(
    "--rules",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The changed rules: a declaration, or its part `decisions` alone [default: the declaration as it is now].",
)
@click.option("--max-changed", default="", help="Exit code 1 past it: a number of events, or a share such as 0.5%.")
@click.option("--amount", default="", help="The column to add up [default: the one that costs.miss names].")
@for_scripts
def test(lifecycle: str, days: str, file: Path | None, max_changed: str, amount: str, as_json: bool) -> None:
    """Decide past days of LIFECYCLE again and show what would have changed. Writes nothing.

    \b
    mdlc rules test orders --days 2024-06-01..2024-06-07 --rules changed.yaml --max-changed 1%
    """
    import os

    from mdlc_assets.commands.shared import find_lifecycle
    from mdlc_assets.home import Home
    from mdlc_assets.integration.rehearsal import rehearse
    from mdlc_assets.integration.rules import RuleError
    from mdlc_assets.production import UnsetError, resources_here
    from mdlc_assets.resources.lake import DayAbsentError

    declaration = find_lifecycle(lifecycle).declaration
    if amount and amount not in declaration.dataset.columns:
        raise click.BadParameter(
            f"there is no column {amount!r}. Mend: name one of dataset.columns", param_hint="--amount"
        )
    chosen, limit = _days(days), _limit(max_changed)
    changed = _rules_in(file, declaration) if file else declaration.decisions
    try:
        lake = resources_here(Home(), os.environ)["lake"]
        found = rehearse(declaration, lake, chosen, changed, amount or None)
    except (DayAbsentError, RuleError, UnsetError) as error:
        raise click.ClickException(str(error)) from None
    past = limit is not None and found.changed > limit(found.events)
    if not as_json:
        click.echo("\n".join(_lines(found)))
    over = f"{found.changed} of {found.events} decisions change, more than --max-changed {max_changed}" if past else ""
    answer(as_json, {**found.as_dict(), "past_limit": past}, over, good=not past)


def _days(text: str) -> list[date]:
    first, _, last = text.partition("..")
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        begin, end = date.max, date.min
    if begin > end:
        raise click.BadParameter(
            f"{text!r} is no range of days. Mend: write 2018-06-01..2018-06-07", param_hint="--days"
        )
    return [begin + timedelta(days=i) for i in range((end - begin).days + 1)]


def _limit(text: str) -> Any:
    """How many of so many events may change, as a function; None when any number may."""
    if not text:
        return None
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise click.BadParameter(f"{text!r} is no limit. Mend: write 100, or 0.5%", param_hint="--max-changed")
    return (lambda events: events * number / 100) if text.endswith("%") else (lambda events: number)


def _rules_in(file: Path, declaration: LifecycleDeclaration) -> Decisions:
    """The rules of a file, held to all that a declaration's are."""
    import yaml
    from pydantic import ValidationError

    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.declaration.errors import explain
    from mdlc_assets.declaration.rules import Decisions
    from mdlc_assets.integration.declared import integration_problems

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file}: this is not YAML: {error}. Mend: correct the file.") from None
    for part in ("attributes", "decisions"):
        content = content.get(part, content) if isinstance(content, dict) else content
    try:
        changed = Decisions.model_validate(content)
        problems = integration_problems(declaration.model_copy(update={"decisions": changed}))
    except ValidationError as error:
        raise click.ClickException(str(DeclarationError(file, explain(error, Decisions)))) from None
    if problems:
        raise click.ClickException(str(DeclarationError(file, problems)))
    return changed


def _lines(found: Rehearsal) -> list[str]:
    share = found.changed / found.events if found.events else 0.0
    lines = [
        f"{found.first} to {found.last}: {found.changed:,} of {found.events:,} decisions change ({share:.2%}); "
        f"decided then by rules {', '.join(found.rules_before)}"
    ]
    for move in sorted(found.moves, key=lambda move: -move.events):
        money = f", {found.amount_of} {move.amount:,.2f}" if move.amount is not None else ""
        known = f", {move.positives} positive of {move.labelled} labelled" if move.labelled else ", no label known"
        examples = ", ".join(map(str, move.examples))
        lines.append(f"  {move.before} -> {move.after}: {move.events:,}{money}{known}; such as {examples}")
    lines.append(f"  {'decision':12} {'before':>26}   {'after':>26}")
    for decision in sorted({*found.before, *found.after}):
        lines.append(
            f"  {decision:12} {_stood(found.before.get(decision)):>26}   {_stood(found.after.get(decision)):>26}"
        )
    return lines


def _stood(one: Standing | None) -> str:
    if one is None:
        return "0"
    return f"{one.events:,}" + (f", {one.precision:.1%} positive" if one.precision is not None else "")
