"""Labels in a file of their own, such as that of a week: each belongs to the day of its event."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.scaffold.days import instants
from mdlc_assets.scaffold.look import DataError
from mdlc_assets.sourcing.cells import read_cells
from mdlc_assets.sourcing.days import label_layouts
from mdlc_assets.sourcing.mapping import find_layout


def labels_with_instants(
    lifecycle: LifecycleDeclaration, file: str, rows: pl.DataFrame, events: Callable[[], pl.DataFrame]
) -> tuple[pl.DataFrame, pl.Series]:
    """The rows as they land, and the instant of the event of each, null where there is no such event.

    A column with the instant says it, and does not land; else the id does, by `events`: id and time of those that
    are there. Raises `DataError` and `LandingError`.
    """
    time, identity = lifecycle.dataset.time, lifecycle.dataset.id
    sources = lifecycle.dataset.sources.values()
    zones = {time: "UTC"} | {source.columns.get(time, time): source.time_zone for source in sources}
    named = next((column for column in rows.columns if column in zones), None)
    kept = rows.drop(named) if named else rows
    layout = find_layout(file, kept.columns, label_layouts(lifecycle))
    if named:
        return kept, instants(rows, named, zones[named])
    ids, _ = read_cells(rows[layout.names[identity]], lifecycle.dataset.columns[identity].type)
    known = events().unique(identity, keep="last")
    times = ids.to_frame(identity).join(known, on=identity, how="left", maintain_order="left")[time]
    if times.null_count() == len(times):
        raise DataError(
            f"{file}: {layout.names[identity]}",
            f"none of the {len(times)} labels is of an event that is there",
            f"`mdlc run {lifecycle.name} history` first, or add the column {time} with the instant of the event",
        )
    return kept, times
