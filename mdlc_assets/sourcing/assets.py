"""Stage 1: `raw`, `labels` and attributes, day by day from the landing zone."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, column_schema, daily_asset, days_before, days_in_run, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.base import duration_name
from mdlc_assets.resources.catalogue import Catalogue, CatalogueColumn, CatalogueEntry
from mdlc_assets.resources.lake import Lake, LakeTable, Written
from mdlc_assets.resources.landing import LandingFeed, LandingZone
from mdlc_assets.sourcing.attributes import attribute_types, attributes_day
from mdlc_assets.sourcing.days import LandedDay, LandingDayError, has_inline_labels, is_quiet, labels_day, raw_day

_THREADS = 4


def sourcing_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The assets `raw`, `labels`, and one for each declared feed of attributes."""
    attributes = [_attributes(lifecycle, feed) for feed in lifecycle.dataset.attributes]
    labels = [_labels(lifecycle)] if lifecycle.labels.column else []
    return dg.Definitions(assets=[_raw(lifecycle), *labels, *attributes])


def _raw(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    columns = _raw_columns(lifecycle)
    dataset = lifecycle.dataset

    @dg.asset(
        **daily_asset(lifecycle, "sourcing", "raw"),
        description=f"{dataset.description} As they arrived: all files of the day, under our column names "
        "and types, nothing left out. A cell that cannot be read is null and kept as text in `_unreadable`.",
        metadata=_table_metadata(lifecycle, "raw", columns),
        freshness_policy=_freshness(lifecycle),
    )
    @read_once
    def raw(context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone, catalogue: Catalogue) -> None:
        days = days_in_run(context)
        feed = landing.feed(lifecycle.name, "transactions")
        _refuse_missing(feed, [day for day in days if not is_quiet(lifecycle, feed.days(), day)])

        landed = _each_day(days, lambda day: raw_day(lifecycle, feed.files(day), feed.read))
        table = lake.table(lifecycle.name, "raw")
        _write_and_report(context, table, landed, "rows")
        catalogue.record(_entry(lifecycle, "raw", dataset.description, columns, table, landed))

    return raw


def _labels(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    columns = _label_columns(lifecycle)
    delay, number = duration_name(lifecycle.labels.delay), lifecycle.labels.kind == "number"
    meaning = lifecycle.labels.positive if number else f"1 means {lifecycle.labels.positive}"

    @dg.asset(
        **daily_asset(lifecycle, "sourcing", "labels"),
        description=f"What really happened to the events of the day: {meaning}. "
        f"Labels become known about {delay} after the event; `known_at` says when.",
        metadata=_table_metadata(lifecycle, "labels", columns),
    )
    @read_once
    def labels(context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone, catalogue: Catalogue) -> None:
        days = days_in_run(context)
        transactions = landing.feed(lifecycle.name, "transactions")
        feed = landing.feed(lifecycle.name, "labels")
        inline = has_inline_labels(lifecycle)

        def label(day: date) -> LandedDay:
            events = transactions.files(day) if inline else []
            return labels_day(lifecycle, day, events, transactions.read, feed.files(day), feed.read)

        landed = _each_day(days, label)
        _refuse_overdue(lifecycle, feed, transactions, landed)
        table = lake.table(lifecycle.name, "labels")
        _write_and_report(context, table, landed, "labels")
        about = f"Labels of {lifecycle.name}: {lifecycle.labels.positive}."
        catalogue.record(_entry(lifecycle, "labels", about, columns, table, landed))

    return labels


def _attributes(lifecycle: LifecycleDeclaration, feed: str) -> dg.AssetsDefinition:
    known = lifecycle.dataset.attributes[feed]
    declared = {**known.columns, known.entity: lifecycle.dataset.columns[known.entity]}
    columns = [
        CatalogueColumn(name, type_, declared[name].description if name in declared else "From when on it counts, UTC.")
        for name, type_ in attribute_types(lifecycle, feed).items()
    ]
    about = f"What is known of each {known.entity}: {', '.join(known.columns)}."

    @dg.asset(
        **daily_asset(lifecycle, "sourcing", feed),
        deps=[dg.AssetDep(asset_key(lifecycle, feed), partition_mapping=days_before(1, 1))],
        description=f"{about} The version that stood when the day began, and the changes of the day. A day without "
        "a file has none. Each event gets the version of its instant.",
        metadata=_table_metadata(lifecycle, feed, columns),
    )
    @read_once
    def attributes(context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone, catalogue: Catalogue) -> None:
        days = days_in_run(context)
        files = landing.feed(lifecycle.name, feed)
        table = lake.table(lifecycle.name, feed)
        there = table.days()
        earlier, later = [day for day in there if day < days[0]], [day for day in there if day > days[-1]]
        # From the last day that is there on: what stands when a day begins follows from the days before it.
        begin = earlier[-1] + timedelta(days=1) if earlier else min([*files.days(), days[0]])
        before = table.read_day(earlier[-1]) if earlier else None
        landed: dict[date, LandedDay] = {}
        for day in (begin + timedelta(days=i) for i in range((days[-1] - begin).days + 1)):
            change = partial(attributes_day, lifecycle, feed, files=files.files(day), read=files.read, before=before)
            landed |= _each_day([day], change)
            before = landed[day].frame
        if later and not (table.has(days[-1]) and table.read_day(days[-1]).equals(landed[days[-1]].frame)):
            # What stood later does not follow any more. It goes first, so that a run killed here leaves none of it.
            for day in later:
                table.delete_day(day)
            context.log.info(f"{later[0]} to {later[-1]} no longer followed and are gone: materialise {feed} for them")
        _write_and_report(context, table, landed, "versions", set(days))
        catalogue.record(_entry(lifecycle, feed, about, columns, table, landed))

    return attributes


def _each_day(days: Sequence[date], read: Callable[[date], LandedDay]) -> dict[date, LandedDay]:
    """All days read, before anything is written. Raises one `dg.Failure` with every bad file."""

    def attempt(day: date) -> LandedDay | LandingDayError:
        try:
            return read(day)
        except LandingDayError as errors:
            return errors

    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = dict(zip(days, pool.map(attempt, days), strict=True))
    errors = [error for o in outcomes.values() if isinstance(o, LandingDayError) for error in o.errors]
    if errors:
        count = "1 file cannot" if len(errors) == 1 else f"{len(errors)} files cannot"
        lines = "\n".join(f"- {error}" for error in errors)
        raise dg.Failure(f"{count} be used; no day of this run was written.\n{lines}", allow_retries=False)
    return {day: outcome for day, outcome in outcomes.items() if isinstance(outcome, LandedDay)}


def _refuse_missing(feed: LandingFeed, days: Sequence[date]) -> None:
    missing = [day for day in days if not feed.files(day)]
    if missing:
        named = ", ".join(map(str, missing[:10]))
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise dg.Failure(
            f"No file for {named}{more} in {feed.location}. Mend: put the day's Parquet, CSV or JSON-lines "
            f"file there, with the day in its name (for instance {missing[0]}.parquet), and run again.",
            allow_retries=False,
        )


def _refuse_overdue(
    lifecycle: LifecycleDeclaration,
    feed: LandingFeed,
    transactions: LandingFeed,
    landed: dict[date, LandedDay],
) -> None:
    """Labels that are not known yet make an empty day; labels that should long be there, a failure.

    What is due follows from the newest transactions, not from the clock, so a day gives the same always.
    """
    newest = max(transactions.days(), default=None)
    if newest is None:
        return
    due = newest - lifecycle.labels.delay - timedelta(days=2)
    landed_days = transactions.days()
    late = [
        day
        for day, found in landed.items()
        if not found.files and day <= due and not is_quiet(lifecycle, landed_days, day)
    ]
    if late:
        raise dg.Failure(
            f"No labels for {len(late)} days, {late[0]} to {late[-1]}, in {feed.location}, though there are "
            f"events up to {newest} and labels are known after "
            f"{duration_name(lifecycle.labels.delay)}. Mend: put a file with the columns "
            f"{lifecycle.dataset.id}, {lifecycle.labels.column}, known_at there for each event day, or "
            "declare the source with `labels_inline: true`.",
            allow_retries=False,
        )


def _write_and_report(
    context: dg.AssetExecutionContext,
    table: LakeTable,
    landed: dict[date, LandedDay],
    unit: str,
    reported: Collection[date] | None = None,
) -> None:
    def write(day: date) -> Written:
        return table.write_day(day, landed[day].frame)

    with ThreadPoolExecutor(_THREADS) as pool:
        written = dict(zip(landed, pool.map(write, landed), strict=True))
    days = [day for day in landed if reported is None or day in reported]
    for day in days:
        found = landed[day]
        metadata: dict[str, object] = {
            "dagster/partition_row_count": found.frame.height,
            "files": ", ".join(found.files) or "none yet",
            "sources": ", ".join(found.sources) or "none",
            "bytes_read": found.size,
            "digest": written[day].digest,
        }
        if "_unreadable" in found.frame.columns:
            metadata["rows_with_unreadable_cells"] = found.frame["_unreadable"].count()
        if found.repeated:
            metadata["files_left_out"] = f"same bytes as another file: {', '.join(found.repeated)}"
        if day == days[-1] and len(days) > 1:
            metadata[f"{unit} by day"] = dg.MetadataValue.md(_plot(landed, unit))
        context.add_asset_metadata(metadata, partition_key=day.isoformat())
    total = sum(landed[day].frame.height for day in days)
    context.log.info(f"{total:,} {unit} on {len(days)} days, {days[0]} to {days[-1]}")


def _plot(landed: dict[date, LandedDay], unit: str) -> str:
    figure, axes = plots.new_figure()
    names = [day.isoformat()[5:] for day in landed]
    axes.bar(names, [found.frame.height for found in landed.values()], color=plots.BLUE, width=0.9)
    axes.set_xticks(range(0, len(names), max(1, len(names) // 10)))
    axes.set_ylabel(unit)
    return plots.as_markdown(figure)


def _freshness(lifecycle: LifecycleDeclaration) -> dg.FreshnessPolicy | None:
    if lifecycle.dataset.end is not None:  # no more days are to come
        return None
    return dg.FreshnessPolicy.time_window(fail_window=lifecycle.dataset.fresh_within)


def _raw_columns(lifecycle: LifecycleDeclaration) -> list[CatalogueColumn]:
    declared = [
        CatalogueColumn(name, column.type, column.description, column.unit)
        for name, column in lifecycle.dataset.columns.items()
    ]
    return [
        *declared,
        CatalogueColumn("_source_file", "string", "The landed file, below its feed's folder."),
        CatalogueColumn("_source_row", "integer", "The row in that file, from 1."),
        CatalogueColumn("_unreadable", "string", "JSON: cells that could not be read, with their text."),
    ]


def _label_columns(lifecycle: LifecycleDeclaration) -> list[CatalogueColumn]:
    identity = lifecycle.dataset.columns[lifecycle.dataset.id]
    return [
        CatalogueColumn(lifecycle.dataset.id, identity.type, identity.description),
        CatalogueColumn(lifecycle.labels.column, "float", lifecycle.labels.positive)
        if lifecycle.labels.kind == "number"
        else CatalogueColumn(lifecycle.labels.column, "integer", f"1: {lifecycle.labels.positive}; 0: not."),
        CatalogueColumn("known_at", "timestamp", "From when on the label may be used, UTC."),
    ]


def _table_metadata(
    lifecycle: LifecycleDeclaration, name: str, columns: Sequence[CatalogueColumn]
) -> dict[str, object]:
    schema = column_schema((column.name, column.type, column.description) for column in columns)
    return {"dagster/table_name": f"{lifecycle.name}.{name}", "dagster/column_schema": schema}


def _entry(
    lifecycle: LifecycleDeclaration,
    name: str,
    description: str,
    columns: Sequence[CatalogueColumn],
    table: LakeTable,
    landed: dict[date, LandedDay],
) -> CatalogueEntry:
    return CatalogueEntry(
        lifecycle=lifecycle.name,
        dataset=name,
        description=description,
        owner=lifecycle.owners.sourcing,
        location=table.storage.location(table.folder),
        fresh_within=duration_name(lifecycle.dataset.fresh_within),
        columns=tuple(columns),
        rows={day: found.frame.height for day, found in landed.items()},
    )
