"""A day's landed files as the rows of `raw` and of `labels`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column
from mdlc_assets.sourcing.files import LandingError, read_file
from mdlc_assets.sourcing.mapping import as_type, check_columns, find_source, to_declared


@dataclass(frozen=True)
class Landed:
    """The rows of a day, and which of its files said the same as another."""

    rows: pl.DataFrame
    files: int
    repeated: list[str]


def raw_rows(lifecycle: LifecycleDeclaration, files: Mapping[str, bytes]) -> Landed:
    """The rows of a day's transaction files, in file order; a file that came twice is read once.

    Raises `LandingError` naming file, column and mend.
    """
    kept, repeated = _without_repeats(files)
    frames = []
    for name, content in kept.items():
        frame = read_file(name, content)
        source = find_source(lifecycle.dataset, lifecycle.labels.column, frame.columns)
        frames.append(to_declared(frame, name, lifecycle.dataset, source))
    return Landed(pl.concat(frames), len(kept), repeated)


def label_rows(lifecycle: LifecycleDeclaration, files: Mapping[str, bytes], *, inline: bool) -> Landed:
    """Id, label and the instant from which it is known, sorted by id; the last file wins for an id.

    `inline`: the files are those of the transactions, the label stands beside the event and counts as
    known one label delay after it. Raises `LandingError`.
    """
    kept, repeated = _without_repeats(files)
    frames = [_labels_of(lifecycle, name, content, inline=inline) for name, content in kept.items()]
    rows = pl.concat(frames).unique(lifecycle.dataset.id, keep="last").sort(lifecycle.dataset.id)
    return Landed(rows, len(kept), repeated)


def _labels_of(lifecycle: LifecycleDeclaration, name: str, content: bytes, *, inline: bool) -> pl.DataFrame:
    dataset, label = lifecycle.dataset, lifecycle.labels.column
    frame = read_file(name, content)
    stamp = dataset.time if inline else "known_at"
    if inline:
        source = find_source(dataset, label, frame.columns)
        check_columns(frame, name, dataset, source)
        names, zone = source.columns, source.time_zone
    else:
        names, zone = {dataset.id: dataset.id, label: label, stamp: stamp}, "UTC"
    columns = {
        dataset.id: dataset.columns[dataset.id],
        label: Column(type="integer"),
        stamp: Column(type="timestamp"),
    }
    for ours in columns:
        if names.get(ours, ours) not in frame.columns:
            raise LandingError(name, "the column is missing", "send the file with it", names.get(ours, ours))
    if frame.schema[names[label]] == pl.Boolean:
        frame = frame.with_columns(pl.col(names[label]).cast(pl.Int8))
    read = frame.select(
        as_type(pl.col(names[ours]), frame.schema[names[ours]], column, zone).alias(ours)
        for ours, column in columns.items()
    )
    for ours in columns:
        if inline and ours != label:
            # An event that cannot be read is quarantined with its own row.
            read = read.filter(pl.col(ours).is_not_null())
        elif read[ours].null_count():
            raise LandingError(name, f"{read[ours].null_count()} values cannot be read", "correct them", names[ours])
    if not read[label].is_in([0, 1]).all():
        raise LandingError(name, "a label is neither 0 nor 1", "send 0 or 1 for each event", names[label])
    known = pl.col(stamp) + lifecycle.labels.delay if inline else pl.col(stamp)
    return read.select(dataset.id, pl.col(label).cast(pl.Int8), known.alias("known_at"))


def _without_repeats(files: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
    seen: set[str] = set()
    kept, repeated = {}, []
    for name, content in sorted(files.items()):
        digest = hashlib.sha256(content).hexdigest()
        if digest in seen:
            repeated.append(name)
        else:
            kept[name] = content
        seen.add(digest)
    return kept, repeated
