"""`mdlc land`: rows that came later, parted by day into the landing zone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdlc_assets.commands.answer import answer, for_scripts, progress

if TYPE_CHECKING:
    import polars as pl

    from mdlc_assets.declaration import LifecycleDeclaration


@click.command()
@click.argument("lifecycle")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--feed", default="transactions", show_default=True, help="The feed the rows belong to.")
@click.option("--replace", is_flag=True, help="For days that are there already: take the place of what landed.")
@click.option("--add", is_flag=True, help="For days that are there already: put the rows beside those.")
@for_scripts
def land(lifecycle: str, data: Path, feed: str, replace: bool, add: bool, as_json: bool) -> None:
    """Part DATA by day into the landing zone of LIFECYCLE.

    Labels of their own, with their id and when they were known, go to the day of their event.

    \b
    mdlc land churn newest.csv
    mdlc land churn labels_of_the_week.csv --feed labels
    """
    from mdlc_assets.commands.shared import find_lifecycle, refuse_used_data
    from mdlc_assets.home import Home
    from mdlc_assets.scaffold.days import by_day, instants, land_day, landed_files
    from mdlc_assets.scaffold.landed_labels import labels_with_instants
    from mdlc_assets.scaffold.look import DataError, read_rows
    from mdlc_assets.sourcing.files import LandingError
    from mdlc_assets.sourcing.mapping import find_layout, layouts

    declaration = find_lifecycle(lifecycle).declaration
    refuse_used_data(declaration, "land {uses} ...")
    folder = Home().landing / lifecycle / feed
    _refuse_unknown_feed(declaration, feed)
    time, zone = declaration.dataset.time, "UTC"
    try:
        rows = read_rows(data)
        if feed == "transactions":
            layout = find_layout(str(data), rows.columns, layouts(declaration))
            time, zone = layout.names[time], layout.time_zone
        elif feed != "labels" and time not in rows.columns:
            raise DataError(str(data), f"rows of {feed} have no column {time!r} to part them by", f"add {time}")
        if feed == "labels":
            rows, times = labels_with_instants(declaration, str(data), rows, lambda: _events(declaration))
        else:
            times = instants(rows, time, zone)
        parts = list(by_day(rows, times))
    except (DataError, LandingError) as error:
        raise click.ClickException(str(error)) from None
    there = landed_files(folder)
    again = [day for day, _ in parts if day in there]
    if again and not (replace or add):
        raise click.ClickException(
            f"{folder}: {len(again)} of these days are there already, the first {again[0]}. Mend: --add puts the rows "
            "beside those, --replace in their place."
        )
    foreign = [name for day in again for name in there[day] if name != f"{day}.parquet"]
    if foreign and replace:
        raise click.ClickException(
            f"{folder / foreign[0]}: the day has {len(foreign)} files of other names, which would stay. Mend: move "
            "them away first, or use --add."
        )
    for day, part in progress(parts, "landing days", quiet=as_json):
        land_day(folder, day, part, beside=add)
    count = sum(part.height for _, part in parts)
    lacking = "event or instant" if feed == "labels" else "instant"
    left_out = f"; {rows.height - count} without {lacking} are left out" if count < rows.height else ""
    document = {"lifecycle": lifecycle, "rows": count, "days": [day for day, _ in parts], "landing": folder}
    words = f"{count:,} rows on {len(parts)} days, {parts[0][0]} to {parts[-1][0]}, landed in {folder}{left_out}."
    end = declaration.dataset.end
    beyond = [day for day, _ in parts if end and day > end]
    if beyond:
        words += (
            f"\ndataset.end: {len(beyond)} of these days are after it and do not run (found {end}). Mend: take it out "
            "of the declaration."
        )
    answer(as_json, {**document, "left_out": rows.height - count, "after_end": beyond}, words)


def _refuse_unknown_feed(declaration: LifecycleDeclaration, feed: str) -> None:
    from mdlc_assets.declaration.errors import use_one_of

    others = [rule.dataset for rule in declaration.quality.references]
    others += [rule.dataset for rule in declaration.quality.agreements]
    labels = ["labels"] if declaration.labels.column else []
    known = ["transactions", *labels, *declaration.dataset.attributes, *dict.fromkeys(others)]
    if feed not in known:
        raise click.ClickException(
            f"--feed {feed}: {declaration.name} reads no such feed. Mend: {use_one_of(feed, known)}."
        )


def _events(declaration: LifecycleDeclaration) -> pl.DataFrame:
    """Id and time of all events that are validated."""
    import polars as pl

    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home
    from mdlc_assets.sourcing.cells import TYPES

    wanted = [declaration.dataset.id, declaration.dataset.time]
    table = embedded_resources(Home())["lake"].table(declaration.name, "validated")
    days = table.days()
    none = pl.DataFrame(schema={name: TYPES[declaration.dataset.columns[name].type] for name in wanted})
    return table.read(days, wanted) if days else none
