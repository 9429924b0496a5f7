"""The open loop: quiet days stay quiet, gross shifts alarm on their day, moderate ones on the next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.monitoring import OpenLoop
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.monitoring.open_loop import Watch
from mdlc_assets.monitoring.sketch import Sketch, from_table, sketch, sketches, to_table
from mdlc_assets.simulator.incidents import drifted_amount
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day

_FIRST = date(2018, 6, 4)
_DECLARED = OpenLoop()
Values = np.ndarray | list[str | None]


def _day(i: int) -> date:
    return _FIRST + timedelta(days=i)


def _gamma(i: int, rows: int = 4_000) -> np.ndarray:
    return np.random.default_rng([7, i]).gamma(2, 25, rows).round(2)


def _sketch(values: Values) -> dict[str, Sketch]:
    return {"x": sketch(pl.Series("x", values))}


def _watch(values: Callable[[int], Values] = _gamma, days: int = 28) -> Watch:
    return Watch(_DECLARED, {_day(i): _sketch(values(i)) for i in range(days)})


def test_few_values_are_kept_exactly_and_many_in_groups() -> None:
    few = sketch(pl.Series("x", [0.0, 2.0, 2.0, None, float("nan")]))
    assert few.points.tolist() == [0, 2]
    assert few.weights.tolist() == [0.2, 0.4]
    assert few.missing == pytest.approx(0.4)
    values = np.concatenate([np.zeros(5_000), _gamma(0, 20_000)])
    many = sketch(pl.Series("x", values))
    assert len(many.points) <= 512
    assert many.weights[many.points == 0].tolist() == [0.2]
    assert many.weights.sum() == pytest.approx(1)
    assert (many.points * many.weights).sum() == pytest.approx(values.mean())
    assert many.mean == pytest.approx(values.mean())


def test_a_sketch_survives_its_table() -> None:
    frame = pl.DataFrame({"x": [0.5, None, 2.0], "kind": ["a", "b", None]})
    found = sketches(frame, frame.columns)
    again = from_table(to_table(found))
    for name, one in found.items():
        assert again[name].points.tolist() == one.points.tolist()
        assert again[name].weights.tolist() == one.weights.tolist()
        assert (again[name].missing, again[name].text) == (one.missing, one.text)


@pytest.mark.parametrize(
    ("change", "first_alarm"),
    [
        (lambda x: x, None),
        (lambda x: x * 1.02, None),
        (lambda x: x * 1.15, 1),
        (lambda x: x * 1.5, 0),
        (lambda x: x * 0.6, 0),
        (lambda x: np.where(np.arange(len(x)) % 100 == 0, x * 100, x), 0),
        (lambda x: np.where(np.arange(len(x)) % 20 == 0, np.nan, x), 0),
        (lambda x: np.where(np.arange(len(x)) % 3 == 0, 0, x), 0),
    ],
    ids=["none", "2 %", "15 %", "half more", "less", "1 % in cents", "5 % missing", "a third zero"],
)
def test_how_soon_a_change_alarms(change: Callable[[np.ndarray], np.ndarray], first_alarm: int | None) -> None:
    found = _watch()
    for i in range(3):
        found.day(_day(28 + i), _sketch(change(_gamma(100 + i))))
    alarms = [i for i in range(3) if found.documents[_day(28 + i)]["alarm"]]
    assert alarms == ([] if first_alarm is None else list(range(first_alarm, 3)))


def test_an_alarm_says_what_since_when_and_ends_when_it_is_over() -> None:
    found = _watch()
    for i, factor in enumerate((1, 1.15, 1.15, 1.15, 1, 1)):
        found.day(_day(28 + i), _sketch(_gamma(100 + i) * factor))
    documents = [found.documents[_day(28 + i)] for i in range(6)]
    assert [document["alarm"] for document in documents] == [False, False, True, True, False, False]
    assert documents[3]["since"] == {"x": str(_day(29))}
    assert "x moved: mean" in documents[3]["reasons"][0]
    assert documents[5]["reasons"] == ["as on healthy days"]


def test_one_odd_moderate_day_is_no_alarm() -> None:
    found = _watch()
    document = found.day(_day(28), _sketch(_gamma(200) * 1.15))
    assert document["marked"] == ["x"]
    assert not document["alarm"]
    assert not found.day(_day(29), _sketch(_gamma(201)))["alarm"]


def test_marked_and_stopped_days_are_no_measure() -> None:
    found = _watch()
    for i in range(10):
        found.day(_day(28 + i), _sketch(_gamma(300 + i) * 1.5))
    found.day(_day(38), _sketch(_gamma(400)), stopped=True)
    quiet = found.day(_day(39), _sketch(_gamma(401)))
    assert not quiet["marked"]
    assert quiet["reference"]["recent"] == [str(_day(0)), str(_day(27)), 28]


def test_what_creeps_is_seen_against_the_training_days() -> None:
    found = _watch()
    days = [found.day(_day(28 + i), _sketch(_gamma(500 + i) * (1 + 0.006 * i))) for i in range(70)]
    assert any(day["alarm"] for day in days)
    assert not any(day["alarm"] for day in days[:7])


def test_a_weekend_looks_like_weekends_before() -> None:
    found = _watch(lambda i: np.full(500, float(_day(i).weekday() >= 5)), days=21)
    assert not any(
        found.day(_day(i), _sketch(np.full(500, float(_day(i).weekday() >= 5))))["marked"] for i in range(21, 30)
    )


def test_a_value_never_seen_before_is_told_without_naming_it() -> None:
    found = _watch(lambda i: ["card", "cash"] * 500)
    for i in range(2):
        document = found.day(_day(28 + i), _sketch(["card", "cash"] * 480 + ["secret"] * 40))
    assert document["alarm"]
    assert "4.0% with values never seen before" in document["reasons"][0]
    assert "secret" not in str(document)


def test_a_text_without_gaps_is_compared_whatever_its_shares_round_to() -> None:
    """Of 150 rows the shares of some sixty names add up to a little more than one, what is missing to less than 0."""

    def names(i: int) -> list[str]:
        generator = np.random.default_rng(i)
        return [f"v{number}" for number in generator.integers(0, 60, 150)]

    made = [_sketch(names(i)) for i in range(40)]
    assert all(one["x"].missing == 0.0 for one in made)
    old = to_table(made[0]).with_columns(missing=pl.lit(-2.220446049250313e-16))
    assert from_table(old)["x"].missing == 0.0
    found = _watch(names, days=28)
    for i in range(28, 40):
        document = found.day(_day(i), made[i])
        assert np.isfinite(document["columns"]["x"]["distance"])


def test_too_few_days_say_so() -> None:
    document = _watch(days=6).day(_day(6), _sketch(_gamma(6)))
    assert not document["columns"]
    assert document["reasons"] == ["6 days to compare with, 7 are needed"]


@pytest.fixture(scope="module")
def real_days(payments_fraud: LifecycleDeclaration) -> dict[date, dict[str, Sketch]]:
    return _sketch_days(payments_fraud, date(2018, 6, 4), date(2018, 8, 30), 1.0, date(2018, 8, 31))


def _sketch_days(
    lifecycle: LifecycleDeclaration, first: date, last: date, factor: float, since: date
) -> dict[date, dict[str, Sketch]]:
    read = [(day, *handbook_day(day)) for day in days_needed(lifecycle, first, last)]
    events = pl.concat([drifted_amount(rows, factor) if day >= since else rows for day, rows, _ in read])
    table = feature_table(lifecycle, events, pl.concat([labels for *_, labels in read]), first, last)
    by_day = table.group_by(pl.col("event_time").dt.date(), maintain_order=True)
    return {day: sketches(rows, lifecycle.features.names()) for (day,), rows in by_day}


@pytest.mark.slow
@pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout")
def test_sixty_real_days_without_drift_raise_no_alarm(real_days: dict[date, dict[str, Sketch]]) -> None:
    """Over all fifteen features, against the four weeks before them."""
    days = sorted(real_days)
    found = Watch(_DECLARED, {day: real_days[day] for day in days[:28]})
    for day in days[28:]:
        found.day(day, real_days[day])
    assert len(found.documents) == 60
    assert [day for day, document in found.documents.items() if document["alarm"]] == []


@pytest.mark.slow
@pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout")
@pytest.mark.parametrize(("factor", "within"), [(1.5, 0), (0.01, 0), (1.1, 1)])
def test_real_days_with_drift_alarm(
    payments_fraud: LifecycleDeclaration, real_days: dict[date, dict[str, Sketch]], factor: float, within: int
) -> None:
    first = date(2018, 8, 6)
    drifted = _sketch_days(payments_fraud, first, first + timedelta(days=1), factor, first)
    found = Watch(_DECLARED, {day: one for day, one in real_days.items() if day < first})
    alarms = [found.day(day, one)["alarm"] for day, one in drifted.items()]
    assert alarms.index(True) <= within
