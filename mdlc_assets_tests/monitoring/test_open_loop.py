"""The open loop: quiet days stay quiet, drift is found within two days, a weekday pattern is no drift."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.monitoring import OpenLoop
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.monitoring.open_loop import compare, histogram, judge, make_profile
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day

_DECLARED = OpenLoop()
_FIRST = date(2018, 6, 4)


def _days(count: int, factor: float = 1.0, seed: int = 0) -> dict[date, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {_FIRST + timedelta(days=i): rng.gamma(2, 25, 2_000).round(2) * factor for i in range(count)}


def test_zero_has_a_bin_of_its_own() -> None:
    assert histogram(np.array([0, 0, 1, 5]), np.array([2.0])).tolist() == [0.5, 0.25, 0.25]
    assert histogram(np.array([0.0, 0.0]), np.empty(0)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("factor", "alarm"), [(1.0, False), (1.02, False), (1.5, True), (0.6, True)])
def test_a_shift_is_found_and_a_small_one_is_not(factor: float, alarm: bool) -> None:
    profile = make_profile(_days(21))
    found = [compare(_DECLARED, day, {"x": x}, {"x": profile}) for day, x in _days(2, factor, seed=9).items()]
    marked = [[name for name, said in columns.items() if said["marked"]] for columns in found]
    alarmed, reasons = judge(_DECLARED, found[1], [marked[0]])
    assert alarmed == (["x"] if alarm else [])
    assert all("x moved: mean" in reason for reason in reasons)


def test_one_odd_day_is_no_alarm() -> None:
    (columns,) = [
        compare(_DECLARED, day, {"x": x}, {"x": make_profile(_days(21))}) for day, x in _days(1, 1.5, seed=9).items()
    ]
    assert columns["x"]["marked"]
    assert judge(_DECLARED, columns, [[], []]) == ([], [])


def test_a_weekend_looks_like_weekends_before() -> None:
    days = {
        _FIRST + timedelta(days=i): np.full(500, float((_FIRST + timedelta(days=i)).weekday() >= 5)) for i in range(30)
    }
    profile = make_profile(dict(list(days.items())[:21]))
    for day, values in list(days.items())[21:]:
        assert not compare(_DECLARED, day, {"x": values}, {"x": profile})["x"]["marked"]


@pytest.mark.slow
@pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout")
def test_real_days_without_drift_raise_no_alarm(payments_fraud: LifecycleDeclaration) -> None:
    """Sixty real days against the three weeks before them, over all fifteen features."""
    first, last = date(2018, 6, 11), date(2018, 8, 30)
    events, labels = (
        pl.concat(frames) for frames in zip(*map(handbook_day, days_needed(payments_fraud, first, last)), strict=True)
    )
    table = feature_table(payments_fraud, events, labels, first, last)
    names = payments_fraud.features.names()
    by_day = {
        day: {name: rows[name].to_numpy() for name in names}
        for (day,), rows in table.group_by(pl.col("event_time").dt.date(), maintain_order=True)
    }
    days = sorted(by_day)
    profiles = {name: make_profile({day: by_day[day][name] for day in days[:21]}) for name in names}
    alarms, marked = [], [[], []]
    for day in days[21:]:
        columns = compare(_DECLARED, day, by_day[day], profiles)
        alarms += judge(_DECLARED, columns, marked[-2:])[0]
        marked.append([name for name, said in columns.items() if said["marked"]])
    assert len(days[21:]) == 60
    assert alarms == []
