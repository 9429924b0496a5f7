"""`mdlc history` and `mdlc profile`: what was made so far, and what rules it suggests."""

from __future__ import annotations

import click

from mdlc_assets.commands.answer import answer, for_scripts
from mdlc_assets.commands.shared import find_lifecycle, of_a_lifecycle, registry_here

_HISTORY = (
    *("algorithm", "train", "test", "refit", "gate", "compared_with", "digest", "digest_features", "digest_labels"),
    *("declaration", "code", "git_commit", "environment", "dagster_run"),
)


@click.command()
@of_a_lifecycle
@for_scripts
def history(lifecycle: str, as_json: bool) -> None:
    """Versions of the model: trained on what, judged how, approved by whom and why."""
    found = registry_here().history(find_lifecycle(lifecycle).declaration.name)
    lines = []
    for version in found:
        serves = click.style("  serves", fg="green") if version["serves"] else ""
        lines.append(f"version {version['version']}, as of {version['as_of']}{serves}")
        shown = ("uses", *_HISTORY) if version.get("uses") else _HISTORY
        lines += [f"  {name:16} {version.get(name, '')}" for name in shown]
        lines += [f"  {line}" for line in version["audit"]]
    none = f"{lifecycle} has no versions yet. Run the job {lifecycle}_train for a day."
    answer(as_json, found, "\n".join(lines) or none)


@click.command()
@click.argument("lifecycle")
@click.option("--days", default=60, show_default=True, help="How many of the last validated days to look at.")
@for_scripts
def profile(lifecycle: str, days: int, as_json: bool) -> None:
    """Suggest rules for LIFECYCLE from its history, as a piece of YAML for its declaration."""
    from dataclasses import asdict

    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home
    from mdlc_assets.quality.profile import as_yaml, suggest

    declaration = find_lifecycle(lifecycle).declaration
    validated = embedded_resources(Home())["lake"].table(*declaration.place("validated"))
    try:
        found = suggest(declaration, {day: validated.read_day(day) for day in validated.days()[-days:]})
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    words = as_yaml(found).rstrip("\n") if found else "# history suggests nothing that is not declared"
    answer(as_json, [asdict(one) for one in found], words)
