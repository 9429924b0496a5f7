"""`raw` and `labels`: each day's landed files in the lake."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import dagster as dg

from mdlc_assets.asset_style import daily_asset, days_in_run, frame_schema
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.catalogue import Catalogue
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingFeed, LandingZone
from mdlc_assets.sourcing.files import LandingError
from mdlc_assets.sourcing.landed import Landed, label_rows, raw_rows

_READERS = 4


def sourcing_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 1 of a lifecycle."""
    dataset, name = lifecycle.dataset, lifecycle.name

    @dg.asset(
        **daily_asset(lifecycle, "sourcing", "raw"),
        description=f"{dataset.description} As they landed, under the declared names. A cell that cannot be "
        "read as its type is kept as text in `_unreadable`, so that nothing is lost.",
    )
    def raw(
        context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone, catalogue: Catalogue
    ) -> dg.MaterializeResult:
        feed = landing.feed(name, "transactions")
        landed = _read_days(feed, days_in_run(context), lambda files: raw_rows(lifecycle, files))
        return _write(context, lifecycle, lake, catalogue, "raw", landed)

    @dg.asset(
        **daily_asset(lifecycle, "sourcing", "labels"),
        description=f"1 where {lifecycle.labels.positive}. The day is that of the event; `known_at` says "
        "from when on the label may be used.",
    )
    def labels(
        context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone, catalogue: Catalogue
    ) -> dg.MaterializeResult:
        feed = landing.feed(name, "labels")
        inline = not feed.days()
        if inline:
            feed = landing.feed(name, "transactions")
        landed = _read_days(feed, days_in_run(context), lambda files: label_rows(lifecycle, files, inline=inline))
        return _write(context, lifecycle, lake, catalogue, "labels", landed)

    return dg.Definitions(assets=[raw, labels])


def _read_days(
    feed: LandingFeed, days: list[date], read: Callable[[Mapping[str, bytes]], Landed]
) -> dict[date, Landed]:
    """All the days, or one failure that names every file at fault; nothing is written before."""
    files = feed.files_by_day()
    faults = [
        f"{feed.location} has no file for {day}. Mend: put one there whose name contains {day}."
        for day in days
        if day not in files
    ]

    def one(day: date) -> Landed | LandingError:
        try:
            return read({name: feed.read(name) for name in files[day]})
        except LandingError as error:
            return error

    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(days, pool.map(one, [day for day in days if day in files]), strict=False))
    faults += [str(error) for error in found.values() if isinstance(error, LandingError)]
    if faults:
        raise dg.Failure(description="\n".join(faults), allow_retries=False)
    return found  # type: ignore[return-value]


def _write(
    context: dg.AssetExecutionContext,
    lifecycle: LifecycleDeclaration,
    lake: Lake,
    catalogue: Catalogue,
    table_name: str,
    landed: dict[date, Landed],
) -> dg.MaterializeResult:
    table = lake.table(lifecycle.name, table_name)
    for day, found in landed.items():
        table.write_day(day, found.rows)
        said: dict[str, int | str] = {"dagster/partition_row_count": found.rows.height, "files": found.files}
        if found.repeated:
            said["files that came twice"] = ", ".join(found.repeated)
        context.add_asset_metadata(said, partition_key=day.isoformat())
    last = landed[max(landed)].rows
    texts = {column: about.description for column, about in lifecycle.dataset.columns.items()}
    days = table.days()
    catalogue.put(
        lifecycle.name,
        table_name,
        {
            "description": lifecycle.dataset.description,
            "owner": lifecycle.owners.sourcing,
            "schema": {column: str(dtype) for column, dtype in last.schema.items()},
            "first_day": days[0],
            "last_day": days[-1],
            "days": len(days),
            "rows_on_last_day": table.read_day(days[-1], [lifecycle.dataset.id]).height,
            "fresh_within": lifecycle.dataset.fresh_within,
        },
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/column_schema": frame_schema(last, texts),
            "dagster/table_name": f"{lifecycle.name}.{table_name}",
            "dagster/row_count": sum(found.rows.height for found in landed.values()),
        }
    )
