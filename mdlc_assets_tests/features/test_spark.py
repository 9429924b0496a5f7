"""Features on Spark: what bulk and a naive scan give, on random worlds and on real days; days whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.features.assets import features_definitions
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import choose_engine, compute_features
from mdlc_assets.features.spark import (
    ChangedMeanwhileError,
    Piece,
    Plan,
    _finish_day,
    feature_pieces,
    give_table,
    plan_features,
    unpacked,
    write_features,
    write_table,
)
from mdlc_assets.resources import spark_session as spark_room
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.spark_cluster import LocalSpark
from mdlc_assets.resources.spark_session import spark_session
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day
from mdlc_assets_tests.features.random_worlds import DAYS, EVENT, FAMILY, FIRST, close, declare, frame
from mdlc_assets_tests.features.test_engines_agree import _DAY, _expected

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_WORLDS = 100


@dataclass(frozen=True)
class _World:
    """What is drawn: events, families, whose label is late or never came, text for ids or not, the days asked for."""

    events: list[tuple[Any, ...]]
    drawn: list[dict[str, Any]]
    late: set[int]
    never: set[int]
    texts: bool
    first: int
    last: int

    def lay(self, shipped: LifecycleDeclaration, lake: Lake) -> tuple[LifecycleDeclaration, pl.DataFrame]:
        """The declaration, and the events with the labels that count; all days lie in the lake."""
        lifecycle = declare(shipped, self.drawn)
        table, number = frame(self.events), pl.col("transaction_id")
        due = pl.col("event_time").dt.truncate("1d") + (lifecycle.labels.delay // _DAY + 1) * _DAY
        late = number.is_in(list(self.late))
        known_at = pl.when(late).then(due).otherwise(due - timedelta(microseconds=1)).alias("known_at")
        table = table.with_columns(known_at, late.alias("late"), number.is_in(list(self.never)).alias("never"))
        if self.texts:
            lifecycle = _with_texts(lifecycle, "transaction_id", "customer_id")
            named = (pl.format("{}{}", pl.lit(name[0]), name).alias(name) for name in ("transaction_id", "customer_id"))
            # Text sorts otherwise than numbers do: t10 comes before t2.
            table = table.with_columns(named).sort("event_time", "transaction_id")
        for day in _days(0, DAYS - 1):
            of_day = table.filter(pl.col("event_time").dt.date() == day)
            events = of_day.drop("is_fraud", "known_at", "late", "never")
            lake.table(lifecycle.name, "validated").write_day(day, events)
            labels = of_day.filter(~pl.col("never")).select("transaction_id", "is_fraud", "known_at")
            lake.table(lifecycle.name, "labels").write_day(day, labels)
        counts = pl.when(~pl.col("late") & ~pl.col("never")).then("is_fraud").alias("is_fraud")
        return lifecycle, table.with_columns(counts)


def _with_texts(lifecycle: LifecycleDeclaration, *names: str) -> LifecycleDeclaration:
    columns = dict(lifecycle.dataset.columns)
    for name in names:
        columns[name] = columns[name].model_copy(update={"type": "string", "min": None})
    return lifecycle.model_copy(update={"dataset": lifecycle.dataset.model_copy(update={"columns": columns})})


def _days(first: int, last: int) -> list[date]:
    return [FIRST + timedelta(days=i) for i in range(first, last + 1)]


def _draw() -> list[_World]:
    worlds: list[_World] = []
    numbers = st.sets(st.integers(0, 24), max_size=4)

    @settings(max_examples=_WORLDS, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(EVENT, max_size=25),
        st.lists(FAMILY, min_size=1, max_size=3),
        numbers,
        numbers,
        st.booleans(),
        st.integers(0, DAYS - 1),
        st.integers(0, DAYS - 1),
    )
    def keep(events, drawn, late, never, texts, one, other) -> None:  # type: ignore[no-untyped-def]
        worlds.append(_World(events, drawn, late, never, texts, min(one, other), max(one, other)))

    keep()
    return worlds


@pytest.mark.slow
def test_spark_gives_what_bulk_and_a_scan_give(
    spark: SparkSession, payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    """All worlds are one Spark job."""
    worlds, plans, laid = _draw(), [], []
    for number, world in enumerate(worlds):
        lake = Lake(root=str(tmp_path / str(number)))
        lifecycle, table = world.lay(payments_fraud, lake)
        days = _days(world.first, world.last)
        plans.append(plan_features(lifecycle, lake.root, days, 1))
        laid.append((lifecycle, lake, table, days))
    tables: dict[int, list[pl.DataFrame]] = {}
    for row in sorted(feature_pieces(spark, plans, give_table).collect()):
        tables.setdefault(row.plan, []).append(unpacked(row.piece))
    assert len(worlds) >= _WORLDS // 2
    for number, (lifecycle, lake, table, days) in enumerate(laid):
        found = tables[number]
        expected = _in_bulk(lifecycle, lake, days)
        assert len(found) == len(days), worlds[number]
        for ours, day in zip(found, days, strict=True):
            assert ours.schema == expected[day].schema
            floats = [c.name for c in lifecycle.features.window_columns() if c.value and "ratio" in c.value]
            assert ours.drop(floats).equals(expected[day].drop(floats)), worlds[number]
            close(ours, {name: expected[day][name].to_list() for name in floats})
            close(ours, _expected(lifecycle, table, day))


def _in_bulk(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date]) -> dict[date, pl.DataFrame]:
    return {day: table for found, _ in compute_features(lifecycle, lake, days, "bulk") for day, table in found.items()}


@pytest.mark.slow
@pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout")
def test_an_asset_run_on_two_months_of_real_payments(
    spark: SparkSession, payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    lake = Lake(root=str(tmp_path))
    name, days = payments_fraud.name, payments_fraud.days(date(2018, 7, 1), date(2018, 8, 31))
    for day in days:
        for table, rows in zip(("validated", "labels"), handbook_day(day), strict=True):
            lake.table(name, table).write_day(day, rows)
    lifecycle = _with_engine(payments_fraud, "spark")
    ran = _run(lifecycle, lake, days)
    assert ran.success
    expected = _in_bulk(payments_fraud, lake, days)
    table = lake.table(name, "features")
    assert all(table.read_day(day).equals(frame) for day, frame in expected.items())
    told = {
        event.partition: event.step_materialization_data.materialization.metadata
        for event in ran.get_asset_materialization_events()
    }
    assert {day: told[day.isoformat()]["dagster/partition_row_count"].value for day in days} == {
        day: frame.height for day, frame in expected.items()
    }
    assert {told[day.isoformat()]["engine"].value for day in days} == {"spark"}
    # Written by the lake's own hand, so the very same bytes.
    before = table.digest(days[:3])
    for day in days[:3]:
        table.write_day(day, expected[day])
    assert table.digest(days[:3]) == before


def _run(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date]) -> dg.ExecuteInProcessResult:
    assets = [asset for asset in features_definitions(lifecycle).assets or [] if isinstance(asset, dg.AssetsDefinition)]
    (features,) = [asset for asset in assets if asset.key.path[-1] == "features"]
    tags = {
        "dagster/asset_partition_range_start": days[0].isoformat(),
        "dagster/asset_partition_range_end": days[-1].isoformat(),
    }
    resources = {"lake": lake, "spark_cluster": LocalSpark(master="local[2]")}
    return dg.materialize([features], resources=resources, tags=tags, raise_on_error=False)


def _with_engine(lifecycle: LifecycleDeclaration, engine: str, **more: object) -> LifecycleDeclaration:
    said = lifecycle.features.model_dump() | {"engine": engine, **more}
    return lifecycle.model_copy(update={"features": Features.model_validate(said)})


@pytest.fixture
def small(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> tuple[LifecycleDeclaration, Lake]:
    """A few days with a few events."""
    events = [(day, second, 1, 0, 100 * day, False, None) for day in range(DAYS) for second in (0, 3_600)]
    family = {"entity": "customer_id", "windows": ["1d"], "delay": "0s", "where": None, "default": 0.0}
    world = _World(events, [{**family, "aggregate": ["sum"], "label": False}], set(), set(), False, 0, 5)
    lake = Lake(root=str(tmp_path))
    return world.lay(payments_fraud, lake)[0], lake


def test_a_day_that_fails_is_not_there_and_the_others_are_whole(
    spark: SparkSession, small: tuple[LifecycleDeclaration, Lake]
) -> None:
    lifecycle, lake = small
    days = _days(1, 4)
    plan = plan_features(lifecycle, lake.root, days, 1)

    def write_all_but_one(plan: Plan, number: int, table: pl.DataFrame) -> Piece:
        if number == plan.asked + 1:
            raise RuntimeError("this day cannot be finished")
        return write_table(plan, number, table)

    with pytest.raises(Exception, match="this day cannot be finished"):
        feature_pieces(spark, [plan], write_all_but_one).collect()
    table = lake.table(lifecycle.name, "features")
    expected = _in_bulk(lifecycle, lake, days)
    assert days[1] not in table.days()
    assert all(table.read_day(day).equals(expected[day]) for day in table.days())
    assert not list(Path(lake.root).rglob(".part*")), "no half file is left"

    assert write_features(spark, lifecycle, lake.root, days) == dict.fromkeys(days, 2)
    assert all(table.read_day(day).equals(expected[day]) for day in days)


def test_rows_alone_need_no_windows(spark: SparkSession, small: tuple[LifecycleDeclaration, Lake]) -> None:
    lifecycle, lake = small
    lifecycle = _with_engine(lifecycle, "spark", windows=[])
    days = _days(0, 2)
    ((found, engine), *others) = list(compute_features(lifecycle, lake, days))
    tables = found | reduce(lambda one, other: one | other, (more for more, _ in others), {})
    assert engine == "spark"
    assert all(tables[day].equals(frame) for day, frame in _in_bulk(lifecycle, lake, days).items())


def test_a_gap_is_named(small: tuple[LifecycleDeclaration, Lake]) -> None:
    lifecycle, lake = small
    lake.table(lifecycle.name, "validated").delete_day(_days(2, 2)[0])
    with pytest.raises(DayAbsentError, match="validated has no data for 2018-04-03"):
        plan_features(lifecycle, lake.root, _days(3, 4), 1)
    assert plan_features(lifecycle, lake.root, _days(4, 5), 1).days == tuple(_days(3, 5))


def test_auto_takes_spark_for_much_where_it_can_be_had(small: tuple[LifecycleDeclaration, Lake]) -> None:
    lifecycle, lake = small
    days = _days(0, 5)
    size = sum(lake.table(lifecycle.name, "validated").sizes(days).values())
    little, much = (_with_engine(lifecycle, "auto", spark_above=above) for above in (size, f"{size - 1}B"))
    assert choose_engine(Days(little, lake), days, spark=True) == "bulk"
    assert choose_engine(Days(much, lake), days, spark=True) == "spark"
    assert choose_engine(Days(much, lake), days, spark=False) == "bulk"


def test_without_the_extra_the_error_says_what_to_install(
    small: tuple[LifecycleDeclaration, Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle, lake = small
    lifecycle = _with_engine(lifecycle, "spark")
    monkeypatch.setattr(spark_room, "spark_is_installed", lambda: False)
    with pytest.raises(spark_room.SparkAbsentError, match=r"Mend: pip install 'mdlc-assets\[spark\]'"):
        list(compute_features(lifecycle, lake, _days(0, 0)))
    ran = _run(lifecycle, lake, _days(0, 0))
    assert not ran.success
    assert "mdlc-assets[spark]" in str(ran.all_events)


def test_a_day_replaced_meanwhile_is_not_written(small: tuple[LifecycleDeclaration, Lake]) -> None:
    lifecycle, lake = small
    plan = plan_features(lifecycle, lake.root, _days(1, 2), 1)
    with pytest.raises(ChangedMeanwhileError, match=r"2018-04-02 has 2 events with customer_id, and had 0 .* Mend"):
        _finish_day(give_table, plan, plan.asked, [])


def test_a_session_that_is_there_is_left_running(spark: SparkSession) -> None:
    with spark_session() as used:
        assert used is spark
    assert spark.range(3).count() == 3
