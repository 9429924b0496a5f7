"""The sizing page: it holds what the arithmetic gives, and the arithmetic follows its assumptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sizing import Assumptions, need, table

_PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"


@pytest.mark.parametrize("online", [True, False])
def test_the_page_holds_the_tables(online: bool) -> None:
    assert table(online=online) in _PAGE.read_text(), "run python -m benchmarks.sizing, and copy what it prints"


def test_twice_the_events_cost_twice_where_events_are_the_bill() -> None:
    once, twice = need(1, 1e10), need(1, 2e10)
    assert twice.dollars["lake"] == pytest.approx(2 * once.dollars["lake"])
    assert twice.dollars["online store"] == pytest.approx(2 * once.dollars["online store"])
    assert twice.shards == pytest.approx(2 * once.shards, rel=0.01)
    assert twice.total == pytest.approx(2 * once.total, rel=0.02)


def test_an_assumption_that_is_changed_is_felt() -> None:
    given = Assumptions()
    assert need(1, 2e7).engine == "bulk"
    assert need(1, 2e7, replace(given, task_bytes=8e9)).engine == "Spark"
    slower = need(100, 1e9, replace(given, decisions_per_second=given.decisions_per_second / 2))
    assert slower.decision_cores == pytest.approx(2 * need(100, 1e9).decision_cores, abs=1)
    assert need(10_000, 1e6).locations == 20
