"""Rows to validated or quarantine, with the rule and the reason; none is lost."""

from __future__ import annotations

import io
import time
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column
from mdlc_assets.declaration.quality import AgreementRule, EntityRule, ReferenceRule, RowRule, UsualRule
from mdlc_assets.quality.declared import quality_problems
from mdlc_assets.quality.row_checks import value_checks
from mdlc_assets.quality.rows import Parted, part_rows
from mdlc_assets.quality.schemas import checking_schema, complaints, failed_rows, stored_schema
from mdlc_assets.sourcing.days import raw_day
from mdlc_assets.sourcing.mapping import TYPES
from mdlc_assets_tests.sourcing.small_platform import DAY, payments, shipped, with_ages

HEAD = "transaction_id,event_time,customer_id,terminal_id,amount"


def _part(*lines: str, head: str = HEAD, lifecycle: LifecycleDeclaration | None = None) -> Parted:
    content = "\n".join([head, *lines]).encode()
    lifecycle = lifecycle or shipped()
    return part_rows(lifecycle, DAY, raw_day(lifecycle, ["a.csv"], lambda _: content).frame)


def _reasons(parted: Parted) -> list[tuple[str, str]]:
    return parted.quarantine.select("rule", "reason").rows()


@pytest.mark.parametrize(
    ("line", "rule", "reason"),
    [
        ("1,2018-04-01 10:00:00,2,3,-3.2", "amount_min", "amount -3.2 is below 0"),
        ("1,2018-04-01 10:00:00,2,3,1.234", "amount_decimals", "amount 1.234 has more than 2 decimals"),
        ("1,2018-04-01 10:00:00,2,3,", "amount_present", "amount is missing"),
        ("1,2018-04-01 10:00:00,2,3,abc", "amount_readable", "amount 'abc' cannot be read as a float"),
        (
            "1,2018-04-01 10:00:00,2.5,3,1",
            "customer_id_readable",
            "customer_id '2.5' cannot be read as an integer",
        ),
        ("1,soon,2,3,1", "event_time_readable", "event_time 'soon' cannot be read as a timestamp"),
        (
            "1,2018-04-02 00:00:00,2,3,1",
            "event_time_in_day",
            "event_time 2018-04-02 00:00:00 UTC is not on 2018-04-01",
        ),
        (
            "-1,2018-03-31 23:59:59,2,3,1",
            "transaction_id_min",
            "transaction_id -1 is below 0; event_time 2018",
        ),
    ],
)
def test_each_kind_of_bad_row_gets_its_rule_and_reason(line: str, rule: str, reason: str) -> None:
    parted = _part("7,2018-04-01 23:59:59.999,2,3,1.5", line)
    ((said_rule, said_reason),) = _reasons(parted)
    assert said_rule == rule and said_reason.startswith(reason)
    assert parted.validated["transaction_id"].to_list() == [7]
    assert parted.quarantine.columns[-4:] == ["_source_file", "_source_row", "rule", "reason"]
    assert parted.quarantine["_source_row"].to_list() == [2]


def test_the_first_good_row_of_a_doubled_id_is_kept() -> None:
    lines = ["3,2018-04-01 10:00:00,2,3,-1", "3,2018-04-01 11:00:00,2,3,5", "3,2018-04-01 09:00:00,2,3,6"]
    parted = _part(*lines)
    assert parted.validated["amount"].to_list() == [5.0]
    assert _reasons(parted) == [
        ("amount_min", "amount -1.0 is below 0"),
        ("transaction_id_unique", "transaction_id 3 is there more than once on this day"),
    ]


def test_declared_row_rules_and_allowed_values() -> None:
    columns = {
        **shipped().dataset.columns,
        "channel": Column(type="string", allowed=["web", "shop"], nullable=True),
        "amount": Column(type="float", max=100),
    }
    lifecycle = shipped().model_copy(
        update={
            "dataset": shipped().dataset.model_copy(update={"columns": columns, "sources": {}}),
            "quality": shipped().quality.model_copy(
                update={
                    "rows": [
                        RowRule(
                            name="own_terminal",
                            holds="terminal_id <> customer_id OR amount < 10",
                            reason="A terminal cannot pay itself.",
                        )
                    ]
                }
            ),
        }
    )
    parted = _part(
        "1,2018-04-01 10:00:00,2,2,9,web",
        "2,2018-04-01 10:00:00,2,2,11,shop",
        "3,2018-04-01 10:00:00,2,3,1,fax",
        "4,2018-04-01 10:00:00,2,3,100.5,",
        head=HEAD + ",channel",
        lifecycle=lifecycle,
    )
    assert parted.validated["transaction_id"].to_list() == [1]
    assert _reasons(parted) == [
        (
            "own_terminal",
            "A terminal cannot pay itself. (rule own_terminal: terminal_id <> customer_id OR amount < 10)",
        ),
        ("channel_allowed", "channel 'fax' is not one of web, shop"),
        ("amount_max", "amount 100.5 is above 100"),
    ]


def test_an_optional_column_is_checked_only_where_its_source_has_it() -> None:
    files = {
        "a.csv": f"{HEAD}\n1,2018-04-01 10:00:00,2,3,1\n".encode(),
        "b.csv": (f"{HEAD},account_age_days\n2,2018-04-01 10:00:00,2,3,1,\n3,2018-04-01 10:00:00,2,3,1,9\n").encode(),
    }
    parted = part_rows(shipped(), DAY, raw_day(shipped(), files, files.__getitem__).frame)
    assert parted.validated["transaction_id"].to_list() == [1, 3]
    assert _reasons(parted) == [("account_age_days_present", "account_age_days is missing")]


_CELLS = {
    "transaction_id": st.sampled_from(["1", "2", "3", "4", "x", "", "-5"]),
    "event_time": st.sampled_from(["2018-04-01 10:00:00", "2018-04-02", "noon", ""]),
    "customer_id": st.sampled_from(["1", "2", "", "1.5"]),
    "terminal_id": st.sampled_from(["1", "", "y"]),
    "amount": st.sampled_from(["1", "2.50", "-1", "0.001", "nan", ""]),
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*_CELLS.values()).map(",".join), min_size=1, max_size=25))
def test_no_row_is_lost_or_doubled_and_what_is_kept_fits(lines: list[str]) -> None:
    parted = _part(*lines)
    assert parted.validated.height + parted.quarantine.height == len(lines)
    assert parted.quarantine["_source_row"].is_sorted()
    assert parted.quarantine["_source_row"].n_unique() == parted.quarantine.height
    assert parted.quarantine.select(pl.col("rule", "reason").is_null().any()).row(0) == (False, False)
    assert complaints(stored_schema(shipped(), DAY), parted.validated) == []


def test_a_day_that_is_bad_throughout_stays_quick() -> None:
    frame = payments(DAY, 40_000).with_columns(pl.lit(-1.234).alias("amount"), account_age_days=pl.lit(None, pl.Int64))
    raw = frame.select(
        *shipped().dataset.columns,
        _source_file=pl.lit("a"),
        _source_row=pl.int_range(1, 40_001, dtype=pl.Int64),
        _unreadable=pl.lit(None, pl.String),
    )
    part_rows(shipped(), DAY, raw.head(10))
    started = time.process_time()
    parted = part_rows(shipped(), DAY, raw)
    assert parted.quarantine.height == 40_000
    assert parted.broken == {"amount_min": 40_000, "amount_decimals": 40_000}
    assert time.process_time() - started < 2


def test_pandera_sees_every_bad_value_and_a_changed_column() -> None:
    frame = with_ages(payments(DAY, 5), 10)
    schema = stored_schema(shipped(), DAY)
    assert complaints(schema, frame) == []
    negative = frame.with_columns(amount=pl.Series([1.0, -1.0, 2.0, -2.0, 3.0]))
    assert complaints(schema, negative) == ["amount_min fails in 2 of 5 rows (amount)"]
    tomorrow = frame.with_columns(pl.col("event_time") + timedelta(days=1))
    assert complaints(schema, tomorrow) == ["event_time_in_day fails in 5 of 5 rows (event_time)"]
    doubled = pl.concat([frame, frame.head(1)])
    assert any("field_uniqueness fails in 2 of 6 rows" in text for text in complaints(schema, doubled))
    assert complaints(schema, frame.with_columns(pl.col("customer_id").cast(pl.String)))
    assert complaints(schema, frame.with_columns(extra=1))
    assert complaints(schema, frame.drop("terminal_id"))
    types = {name: TYPES[column.type] for name, column in shipped().dataset.columns.items()}
    lenient = checking_schema(types, value_checks(shipped(), DAY), "rows")
    assert failed_rows(lenient, negative)["amount_min"].to_list() == [False, True, False, True, False]


def test_a_bad_value_in_lazy_input_is_caught() -> None:
    negative = with_ages(payments(DAY, 5), 10).with_columns(amount=pl.Series([1.0, -1.0, 2.0, -2.0, 3.0]))
    schema = stored_schema(shipped(), DAY)
    schema.validate(negative.lazy(), lazy=True).collect()  # Pandera by itself looks at no value of a LazyFrame
    assert complaints(schema, negative.lazy()) == ["amount_min fails in 2 of 5 rows (amount)"]
    types = {name: TYPES[column.type] for name, column in shipped().dataset.columns.items()}
    lenient = checking_schema(types, value_checks(shipped(), DAY), "rows")
    assert failed_rows(lenient, negative.lazy())["amount_min"].sum() == 2


def test_all_failures_come_at_once() -> None:
    frame = with_ages(payments(DAY, 5), -1).with_columns(amount=pl.lit(-1.001))
    found = complaints(stored_schema(shipped(), DAY), frame)
    assert [text.split(" fails")[0] for text in found] == ["amount_min", "amount_decimals", "account_age_days_min"]


def test_other_wrong_rules_are_refused_too() -> None:
    quality = shipped().quality.model_copy(
        update={
            "usual": UsualRule(columns=["amont"]),
            "references": [
                ReferenceRule(name="volume", column="terminal", dataset="labels", mend="Ask."),
                ReferenceRule(name="known", column="terminal_id", dataset="../terminals", mend="Ask."),
            ],
            "agreements": [AgreementRule(name="amount_usual", dataset="x", columns={"event_time": "t"}, mend="Ask.")],
        }
    )
    problems = {p.field: p for p in quality_problems(shipped().model_copy(update={"quality": quality}))}
    assert set(problems) == {
        "quality.usual.columns.0",
        "quality.references.0.column",
        "quality.references.0.dataset",
        "quality.references.0.name",
        "quality.references.1.dataset",
        "quality.agreements.0.columns",
        "quality.agreements.0.name",
    }
    assert "amont" in str(problems["quality.usual.columns.0"]) and "Mend: use one of" in str(
        problems["quality.usual.columns.0"]
    )


def test_wrong_rules_are_refused_with_field_value_and_mend() -> None:
    rows = [
        RowRule(name="cut", holds="amount >", reason=""),
        RowRule(name="unknown", holds="amont > 1", reason=""),
        RowRule(name="number", holds="amount + 1", reason=""),
        RowRule(name="kinds", holds="amount > 'x' AND date_part('hour', amount) = 1", reason=""),
        RowRule(name="volume", holds="amount < 1000", reason=""),
        RowRule(name="two words", holds="amount < 1000", reason=""),
    ]
    entity = EntityRule(name="falls", entity="customer_id", column="event_time", change="never_falls", mend="Ask.")
    quality = shipped().quality.model_copy(update={"rows": rows, "entities": [entity]})
    problems = quality_problems(shipped().model_copy(update={"quality": quality}))
    assert [problem.field for problem in problems] == [
        "quality.rows.0.holds",
        "quality.rows.1.holds",
        "quality.rows.2.holds",
        "quality.rows.3.holds",
        "quality.entities.0.column",
        "quality.rows.4.name",
        "quality.rows.5.name",
    ]
    assert "no column amont" in problems[1].message and "amount" in problems[1].mend
    assert quality_problems(shipped()) == []


def test_the_same_rows_give_the_same_bytes() -> None:
    lines = [f"{i},2018-04-01 10:00:{i % 60:02d},2,3,{'-1' if i % 3 else '1'}" for i in range(200)]

    def content() -> list[bytes]:
        parted = _part(*lines)
        buffers = [io.BytesIO(), io.BytesIO()]
        for buffer, frame in zip(buffers, (parted.validated, parted.quarantine), strict=True):
            frame.write_parquet(buffer)
        return [buffer.getvalue() for buffer in buffers]

    assert content() == content()
