"""`mdlc new`: from a data file to a declared lifecycle with its days in the landing zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdlc_assets.commands.answer import answer, for_scripts, progress
from mdlc_assets.commands.new_used import start_on_used_data
from mdlc_assets.commands.options import DURATION, ZONE
from mdlc_assets.commands.shared import said_along

if TYPE_CHECKING:
    from mdlc_assets.declaration import LifecycleDeclaration
    from mdlc_assets.scaffold.look import Look
    from mdlc_assets.scaffold.propose import Choices

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,40}$")
_NOTHING = "-"
_LIVED_DAYS = 7


@click.command()
@click.argument("name")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A CSV, Parquet or JSON-lines file, or a folder of them.",
)
@click.option("--uses", help="No data of its own: another lifecycle whose dataset, labels and features it takes.")
@click.option("--time", help="The column with the instant of each event.")
@click.option("--zone", type=ZONE, help="Zone of instants written without one, such as Europe/Brussels [default: UTC].")
@click.option("--id", "identity", help="The column that identifies an event; `-` when there is none.")
@click.option("--label", help="The column that says what really happened.")
@click.option("--positive", multiple=True, help="The value of the label that counts as 1; may be given again.")
@click.option("--number", is_flag=True, help="The label is a quantity that is to be foretold, not 1 or 0.")
@click.option("--anomalies", is_flag=True, help="Nobody says what was right: learn what is usual, without a label.")
@click.option(
    "--label-delay",
    type=DURATION,
    help="How long after the event labels are known: 7d, 2w [default: seen in the data].",
)
@click.option(
    "--entity", multiple=True, help="Whose event it is: a machine, a shop ...; may be given again; `-` for none."
)
@click.option("--owner", default="team:my-team", show_default=True, help="Who is called when something is wrong.")
@click.option(
    "--days",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Start with at most so many days, the newest.",
)
@click.option("--into", type=click.Path(path_type=Path), default=Path("lifecycles"), show_default=True)
@click.option("--yes", is_flag=True, help="Ask nothing; take what the data suggest. So does --json.")
@for_scripts
def new(
    name: str, data: Path | None, uses: str | None, days: int, into: Path, yes: bool, as_json: bool, **options: Any
) -> None:
    """Start the lifecycle NAME from a data file.

    Looks at the data, asks about what is not certain, writes <into>/NAME/defs.yaml and a test, and parts the data
    by day into the landing zone.

    \b
    mdlc new visits --data visits.csv
    mdlc new rain --data weather.csv --label weather --positive rain --yes
    mdlc new warmth --data weather.csv --label temp_max --number --yes
    mdlc new pumps --data readings.csv --anomalies --yes
    mdlc new second_opinion --uses visits
    """
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.home import Home
    from mdlc_assets.scaffold.days import land_day
    from mdlc_assets.scaffold.draft import draft, write_schema
    from mdlc_assets.scaffold.look import DataError, look_at, read_rows
    from mdlc_assets.scaffold.sample_test import test_text
    from mdlc_assets.scaffold.write import as_text

    folder, landing = into / name, Home().landing / name / "transactions"
    if not _NAME.match(name):
        raise click.ClickException(
            f"NAME {name!r}: a lifecycle cannot be called so. Mend: use 2 to 41 lower-case letters, digits and "
            "underscores, a letter first."
        )
    if (folder / "defs.yaml").exists():
        raise click.ClickException(f"{folder / 'defs.yaml'} is there already. Mend: choose another name, or remove it.")
    if uses:
        if data:
            raise click.UsageError(f"--data: the data are those of {uses}. Mend: leave it out, or leave --uses out.")
        start_on_used_data(name, uses, into, options["owner"], as_json=as_json)
    data = data or click.prompt("Which data file or folder", type=click.Path(path_type=Path))
    try:
        look = look_at(read_rows(data))
        said = _choose(name, look, options, ask=not (yes or as_json))
        found = draft(look, said, days, datetime.now(UTC).date())
    except (DataError, DeclarationError) as error:
        raise click.ClickException(str(error)) from None
    folder.mkdir(parents=True, exist_ok=True)
    write_schema(into)
    comment = f"Check a change with: mdlc validate {folder / 'defs.yaml'}"
    (folder / "defs.yaml").write_text(as_text(found.attributes, "../lifecycle.schema.json", comment), encoding="utf-8")
    _refuse_what_does_not_load(folder / "defs.yaml")
    (folder / f"test_{name}.py").write_text(test_text(found.declaration), encoding="utf-8")
    for day, rows in progress(found.days.items(), "landing days", quiet=as_json):
        land_day(landing, day, rows)
    following = _following(found.declaration, list(found.days), into)
    if not as_json:
        for note in found.notes:
            click.echo(f"  {note}")
        done = f"{folder / 'defs.yaml'} is written, and {len(found.days)} days landed in {landing}."
        click.secho(done, fg="green")
    document = {
        "declaration": str(folder / "defs.yaml"),
        "test": str(folder / f"test_{name}.py"),
        "landing": str(landing),
        "days": list(found.days),
        "notes": found.notes,
        "next": following,
    }
    answer(as_json, document, "\n".join(["Next:", *(f"  {line}" for line in following)]))


def _refuse_what_does_not_load(path: Path) -> None:
    """The file as it stands there, looked at as every later command will; what is wrong does not stay."""
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.lifecycle import load_lifecycle

    try:
        load_lifecycle(path)
    except DeclarationError as error:
        path.unlink()
        raise click.ClickException(
            f"{error}\n`mdlc new` wrote this itself and took it away again. Mend: name columns otherwise in the data."
        ) from None


def _choose(name: str, look: Look, options: dict[str, Any], *, ask: bool) -> Choices:
    from mdlc_assets.scaffold.days import instants
    from mdlc_assets.scaffold.label_times import label_times
    from mdlc_assets.scaffold.look import DataError, day_first, has_zone, positive_values, with_zone
    from mdlc_assets.scaffold.propose import Choices

    time = options["time"] or _ask("Which column is the time?", look.times, ask)
    if not time:
        ambiguous = day_first(look)
        if ambiguous:
            raise DataError(
                ambiguous, "day and month cannot be told apart", "write the dates as 2024-12-31 or 2024-12-31 23:59:59"
            )
        raise DataError(
            "--time", "no column holds instants", "events need a time: add one, such as 2024-12-31 23:59:59"
        )
    _refuse_unclear(look)
    when = look.column(time, "--time")
    zone = options["zone"] or "UTC"
    said, unsaid = with_zone(look.rows[when.source])
    if said and unsaid and not options["zone"] and not ask:
        raise DataError(
            f"--time {when.source}",
            f"{said} of {said + unsaid} instants say their zone, and the others do not",
            "write the zone with each, or name that of the others with --zone, such as --zone UTC",
        )
    if not options["zone"] and ask and not has_zone(look.rows[when.source]):
        zone = click.prompt("In which zone are these times?", default="UTC", type=ZONE)
    if options["anomalies"]:
        return _without_label(name, look, options, when.name, zone, ask=ask)
    label = options["label"] or _ask_label(look, when.name, bool(options["number"]), ask)
    if not label:
        names = ", ".join(seen.source for seen in look.columns.values())
        raise DataError(
            "--label",
            "no column has two values, so none is certain to be the label",
            f"name one of {names} and --positive, or write --anomalies",
        )
    truth = look.column(label, "--label")
    positive, number = tuple(options["positive"]), bool(options["number"])
    if number and (positive or truth.type not in ("integer", "float")):
        raise DataError(
            f"--number {truth.source}", "the label is no quantity", "name a column of numbers, or leave it out"
        )
    if not positive and not number and ask and truth.distinct > 2:
        positive = (click.prompt(f"Which value of {truth.source} counts as 1? ({', '.join(truth.examples)})"),)
    positive = () if number else positive or positive_values(truth)
    taken = {when.name, truth.name}
    identity, entities = _identify(look, options, taken, ask=ask)
    times = instants(look.rows, when.source, zone)
    come = label_times(look, times, truth, zone)
    delay = come.delay if options["label_delay"] is None else options["label_delay"]
    if ask and options["label_delay"] is None:
        delay = click.prompt("How long after the event is the label known?", default=f"{delay.days}d", type=DURATION)
    return Choices(
        name=name,
        time=when.name,
        label=truth.name,
        positive=positive,
        number=number,
        id=identity,
        entities=entities,
        zone=zone,
        delay=delay,
        weekly=come.weekly,
        one_weekday=come.one_weekday,
        came=come.column,
        owner=options["owner"],
    )


def _refuse_unclear(look: Look) -> None:
    """Numbers that would be taken for text."""
    from mdlc_assets.scaffold.look import DataError, decimal_comma

    column = decimal_comma(look)
    if column:
        raise DataError(
            f"column {column}",
            "its numbers are written with a comma, and would be taken for text",
            "write them with a point and without marks between thousands, such as 1234.50",
        )


def _ask_label(look: Look, time: str, number: bool, ask: bool) -> str | None:
    from mdlc_assets.scaffold.look import DataError

    if not number:
        return _ask("Which column is the label?", [name for name in look.labels if name != time], ask)
    numbers = [
        seen for seen in look.columns.values() if seen.type in ("integer", "float") and seen.name not in look.ids
    ]
    if not numbers or (len(numbers) > 1 and not ask):
        several = ", ".join(seen.source for seen in numbers)
        raise DataError(
            "--number",
            "it is not said which column is to be foretold" if several else "no column holds numbers",
            f"add --label and one of {several}" if several else "leave it out, or give data with a number to foretell",
        )
    return _ask("Which number is to be foretold?", [seen.name for seen in numbers], ask)


def _without_label(name: str, look: Look, options: dict[str, Any], time: str, zone: str, *, ask: bool) -> Choices:
    from mdlc_assets.scaffold.look import DataError
    from mdlc_assets.scaffold.propose import Choices

    for option in ("label", "positive", "number", "label_delay"):
        if options[option]:
            given = f"--{option.replace('_', '-')}"
            raise DataError(given, "--anomalies says that there is no label", "leave one of them out")
    identity, entities = _identify(look, options, {time}, ask=ask)
    return Choices(
        name=name,
        time=time,
        label="",
        id=identity,
        entities=entities,
        zone=zone,
        delay=timedelta(0),
        owner=options["owner"],
    )


def _identify(look: Look, options: dict[str, Any], taken: set[str], *, ask: bool) -> tuple[str | None, tuple[str, ...]]:
    """The id column, or None; and the columns that say whose event it is. Raises `DataError` for ids there twice."""
    from mdlc_assets.scaffold.look import DataError, nearly_the_id, repeated_values

    identity = options["identity"] or _ask(
        "Which column is the id? (- for none)", [i for i in look.ids if i not in taken], ask
    )
    entities: Sequence[str] = [e for e in options["entity"] if e != _NOTHING]
    candidates = [e for e in look.entities if e not in {*taken, identity}]
    if not options["entity"]:
        first = _ask("Whose events are these? (- for nobody's)", candidates, ask)
        entities = [first] if first else []
    nearly = None if identity else nearly_the_id(look)
    named = look.column(identity, "--id") if identity and identity != _NOTHING else nearly
    repeated, row = repeated_values(look.rows[named.source]) if named else (0, 0)
    if named and repeated:
        raise DataError(
            f"--id {named.source}",
            f"{repeated} of {look.rows.height} rows have the id of an earlier row, the first is row {row}",
            "take the rows out that are there twice, name another column, or write --id - to make ids from the rows",
        )
    return named.name if named else None, tuple(look.column(entity, "--entity").name for entity in entities)


def _ask(question: str, candidates: Sequence[str], ask: bool) -> str | None:
    best = candidates[0] if candidates else None
    if not ask:
        return best
    others = f" (or {', '.join(candidates[1:4])})" if len(candidates) > 1 else ""
    answer = click.prompt(f"{question}{others}", default=best or _NOTHING)
    return None if answer == _NOTHING else answer


def _following(declaration: LifecycleDeclaration, days: Sequence[date], into: Path) -> list[str]:
    name, (where, who) = declaration.name, said_along(into)
    over = [day for day in days if day < datetime.now(UTC).date()]
    labelled = [day for day in over if day <= over[-1] - timedelta(days=declaration.labels.delay_days)]
    lived = labelled[-_LIVED_DAYS:]
    if not declaration.labels.column:
        return [
            f"{where}mdlc run {name} history train",
            f'{where}mdlc approve 1 --lifecycle {name}{who} --reason "the test days look like those learnt from"',
            f"{where}mdlc run {name} batch_inference --first {lived[0]} --last {lived[-1]}",
        ]
    return [
        f"{where}mdlc run {name} labels history train",
        f'{where}mdlc approve 1 --lifecycle {name}{who} --reason "better than chance on days it had not seen"',
        f"{where}mdlc run {name} batch_inference monitor --first {lived[0]} --last {lived[-1]}",
    ]
