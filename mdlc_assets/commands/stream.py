"""`mdlc stream`: read a lifecycle's stream, put events into it, look after those that could not be read."""

from __future__ import annotations

import signal
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdlc_assets.commands.answer import answer, for_scripts
from mdlc_assets.commands.shared import find_lifecycle, refuse_used_data

if TYPE_CHECKING:
    from mdlc_assets.realtime.stream_parts import StreamParts

_PUT_AT_ONCE = 2_000


class _ReadsByDefault(click.Group):
    """`mdlc stream orders` is `mdlc stream read orders`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in self.commands:
            args = ["read", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_ReadsByDefault)
def stream() -> None:
    """Read a stream of events into the lake and the online store.

    \b
    mdlc stream orders                            read until SIGTERM
    mdlc stream put orders 2024-04-01.parquet
    mdlc stream dead orders                       what could not be read, and why
    mdlc stream redrive orders --day 2024-04-01
    """


@stream.command()
@click.argument("lifecycle")
@click.option("--until-empty", is_flag=True, help="Stop when nothing is left to read.")
@click.option("--port", default=0, show_default="a free one", help="For /metrics, on this machine alone.")
@for_scripts
def read(lifecycle: str, until_empty: bool, port: int, as_json: bool) -> None:
    """Read the stream of LIFECYCLE: events land, and the online store learns them."""
    import logging

    from mdlc_assets.realtime.stream_worker import StreamWorker

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("mdlc.stream").setLevel(logging.INFO)
    parts = _parts(lifecycle)
    worker = StreamWorker(parts.stream, parts.checkpoints, parts.handler, parts.pace)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: worker.stop())
    where = f"http://127.0.0.1:{worker.meters.serve(port)}/metrics"
    click.echo(f"Reading {parts.stream.name} as {worker.owner}; {where}", err=as_json)
    done = worker.run(until_empty=until_empty)
    dead = ", ".join(f"{count} {kind}" for kind, count in sorted(done.dead.items())) or "none"
    document = {"stream": parts.stream.name, "landed": done.landed, "learnt": done.learnt, "dead": dict(done.dead)}
    answer(as_json, document, f"{done.landed:,} events landed, {done.learnt:,} learnt; put aside: {dead}")


@stream.command()
@click.argument("lifecycle")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@for_scripts
def put(lifecycle: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Put the rows of FILES (Parquet, CSV, JSON lines) into the stream of LIFECYCLE, as they stand."""
    from mdlc_assets.realtime.stream_producer import entries_of_file

    parts = _parts(lifecycle)
    records: dict[str, int] = {}
    for file in files:
        entries = entries_of_file(parts.lifecycle, file.name, file.read_bytes())
        for start in range(0, len(entries), _PUT_AT_ONCE):
            parts.stream.put(entries[start : start + _PUT_AT_ONCE])
        records[str(file)] = len(entries)
        click.echo(f"{file}: {len(entries):,} records into {parts.stream.name}", err=as_json)
    answer(as_json, {"stream": parts.stream.name, "records": records}, "")


@stream.command()
@click.argument("lifecycle")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="When they arrived [default: each day].")
@for_scripts
def dead(lifecycle: str, day: datetime | None, as_json: bool) -> None:
    """Show which records of LIFECYCLE could not be read, and why; never what stood in them."""
    letters = _parts(lifecycle).handler.dead_letters
    found, lines = [], []
    for one in _days(letters.days(), day):
        for letter in letters.of_day(one):
            record = letter.record
            lines.append(f"{one}  {record.shard} {record.sequence}  {letter.kind}: {letter.reason}")
            place = {"day": one, "shard": record.shard, "sequence": record.sequence}
            found.append({**place, "kind": letter.kind, "reason": letter.reason})
        where = f"{letters.storage.location(letters.folder)}/date={one}"
        lines.append(f"{one}: {sum(letters.counts(one).values())} in {where}")
    answer(as_json, found, "\n".join(lines))


@stream.command()
@click.argument("lifecycle")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="When they arrived [default: each day].")
@for_scripts
def redrive(lifecycle: str, day: datetime | None, as_json: bool) -> None:
    """Put dead letters of LIFECYCLE that can be read by now back into its stream.

    Mend them in their files (`text` is the record), or mend the declaration. Exit code 1 when some are left.
    """
    parts, days = _parts(lifecycle), []
    letters = parts.handler.dead_letters
    for one in _days(letters.days(), day):
        found = letters.redrive(parts.handler.reader, parts.stream, one)
        days.append({"day": one, "sent": found.sent, "left": found.left})
        click.echo(f"{one}: {found.sent} put back, {found.left} left", err=as_json)
    answer(as_json, days, "", good=not any(one["left"] for one in days))


def _days(known: list[date], chosen: datetime | None) -> list[date]:
    return [day for day in known if chosen is None or day == chosen.date()]


def _parts(lifecycle: str) -> StreamParts:
    import os

    from mdlc_assets.home import Home
    from mdlc_assets.production import resources_here
    from mdlc_assets.realtime.stream_parts import stream_parts

    declaration = find_lifecycle(lifecycle).declaration
    refuse_used_data(declaration, "stream {uses}")
    return stream_parts(declaration, resources_here(Home(), os.environ))
