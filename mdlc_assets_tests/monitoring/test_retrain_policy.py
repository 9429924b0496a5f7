"""The retrain policy: case by case, and what must hold whatever happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration.monitoring import ClosedLoop, Monitoring, Retrain
from mdlc_assets.monitoring.retrain_policy import EstimatedDay, LabelledDay, Situation, Training, decide

_TODAY = date(2018, 6, 20)
_POLICY = Monitoring(
    retrain=Retrain(drop=0.1, for_days=3, fresh_labelled_days=5, cool_down_days=7, max_age_days=90, budget=3)
)
_DELAY = 7


def _days(*metrics: float | None, recent: float = 0.3, days: int = 3, high: float = 0.45) -> list[LabelledDay]:
    first = _TODAY - timedelta(days=_DELAY + len(metrics) - 1)
    return [
        LabelledDay(
            first + timedelta(days=i), metric, recent, days, (recent - 0.1, high), 0.6, promised_interval=(0.5, 0.7)
        )
        for i, metric in enumerate(metrics)
    ]


def _estimated(*estimates: float, outputs: list[str] | None = None) -> list[EstimatedDay]:
    moved = ["score"] if outputs is None else outputs
    first = _TODAY - timedelta(days=len(estimates) - 1)
    return [EstimatedDay(first + timedelta(days=i), ["amount", *moved], moved, e, 0.6) for i, e in enumerate(estimates)]


_WELL = Situation(
    today=_TODAY,
    champion_trained=_TODAY - timedelta(days=20),
    trainings=[Training(_TODAY - timedelta(days=20), True)],
    stopped_days=[],
    labelled=_days(0.6, 0.58, 0.61, recent=0.6, high=0.7),
    label_delay_days=_DELAY,
)
_BAD = replace(_WELL, labelled=_days(0.6, 0.3, 0.28, 0.3, 0.31, 0.29))
_OLD = replace(_WELL, champion_trained=_TODAY - timedelta(days=90))


def _trained(*days_ago: int, passed: bool = True) -> list[Training]:
    return [Training(_TODAY - timedelta(days=ago), passed) for ago in days_ago]


@pytest.mark.parametrize(
    ("situation", "verdict", "said"),
    [
        (_WELL, "none", "promised 0.600"),
        (replace(_WELL, estimated=_estimated(0.6, outputs=[])), "none", "inputs or scores moved: amount"),
        (replace(_WELL, estimated=_estimated(0.4, outputs=[])), "none", "inputs or scores moved: amount"),
        (replace(_WELL, estimated=_estimated(0.59)), "none", "score"),
        (replace(_WELL, estimated=_estimated(0.4, 0.4)), "wait", "estimated at 0.400 on 2018-06-20"),
        (
            replace(_WELL, estimated=_estimated(*[0.4] * 12), labelled=_days(*[0.6] * 5, recent=0.6)),
            "none",
            "say 0.600",
        ),
        (
            replace(_WELL, estimated=_estimated(*[0.4] * 12), labelled=_days(*[0.45] * 5, recent=0.45, high=0.55)),
            "retrain",
            "score moved, since 2018-06-09; 5 labelled days",
        ),
        (replace(_WELL, labelled=[]), "none", "no day scored by the champion has labels yet"),
        (replace(_WELL, champion_trained=None), "none", "no champion"),
        (_BAD, "retrain", "since 2018-06-09; 5 labelled days"),
        (replace(_BAD, labelled=_days(0.6, 0.3, 0.28, None, 0.3, 0.31, 0.29)), "retrain", "since 2018-06-08"),
        (replace(_BAD, labelled=_days(0.6, 0.6, 0.3, 0.3, 0.3)), "wait", "3 of 5 labelled days"),
        (replace(_BAD, labelled=_days(0.6, 0.3, recent=0.3, days=1)), "none", "over 1 days"),
        (replace(_BAD, labelled=_days(0.3, 0.3, 0.3, 0.3, 0.3, high=0.55)), "none", "promised"),
        (replace(_BAD, labelled=_days(0.55, 0.55, 0.55, 0.55, 0.55, recent=0.55)), "none", "0.550"),
        (replace(_BAD, trainings=_trained(3)), "wait", "cool-down until 2018-06-24"),
        (replace(_BAD, trainings=_trained(7)), "retrain", "labelled days"),
        (replace(_BAD, trainings=_trained(8), label_delay_days=14), "wait", "cool-down until 2018-06-26"),
        (replace(_BAD, trainings=_trained(60, 40, 20, passed=False)), "wait", "3 refused by the gate"),
        (replace(_BAD, trainings=_trained(100, 40, 20)), "retrain", "labelled days"),
        (replace(_BAD, asked=_TODAY - timedelta(days=1)), "wait", "not trained yet"),
        (replace(_BAD, asked=_TODAY - timedelta(days=7)), "retrain", "labelled days"),
        (replace(_BAD, stopped_days=[_TODAY]), "stop", "quality stopped 2018-06-20"),
        (_OLD, "retrain", "90 days old"),
        (replace(_OLD, trainings=_trained(2)), "wait", "cool-down"),
    ],
)
def test_each_situation(situation: Situation, verdict: str, said: str) -> None:
    found = decide(_POLICY, situation)
    assert found.verdict == verdict, found.reasons
    assert said in "; ".join(found.reasons)


def test_a_drop_closes_at_half_of_what_opened_it() -> None:
    eased = replace(_WELL, labelled=_days(0.6, 0.3, 0.3, 0.52, 0.53, recent=0.53, high=0.6))
    assert not decide(_POLICY, eased).open
    assert decide(_POLICY, replace(eased, was_open=True)).open
    over = replace(eased, labelled=_days(0.6, 0.3, 0.3, 0.56, 0.56, recent=0.56), was_open=True)
    assert not decide(_POLICY, over).open


@pytest.mark.parametrize(
    ("ratio", "interval", "days", "verdict"),
    [
        (1.0, (0.9, 1.1), 28, "none"),
        (1.5, (1.3, 1.7), 28, "recalibrate"),
        (0.5, (0.4, 0.6), 28, "recalibrate"),
        (1.5, (1.1, 1.9), 28, "none"),
        (1.5, (1.3, 1.7), 27, "none"),
    ],
)
def test_scores_that_mean_something_else(ratio: float, interval: tuple[float, float], days: int, verdict: str) -> None:
    last = replace(_WELL.labelled[-1], calibration=ratio, calibration_interval=interval, calibration_days=days)
    found = decide(
        _POLICY.model_copy(update={"closed_loop": ClosedLoop(calibration_days=28)}), replace(_WELL, labelled=[last])
    )
    assert found.verdict == verdict
    worse = replace(
        _BAD,
        labelled=[
            replace(day, calibration=ratio, calibration_interval=interval, calibration_days=days)
            for day in _BAD.labelled
        ],
    )
    assert decide(_POLICY, worse).verdict == "retrain", "a worse ranking is not mended by calibration"


_day = st.fixed_dictionaries(
    {
        "metric": st.one_of(st.none(), st.floats(0, 1)),
        "estimate": st.one_of(st.none(), st.floats(0, 1)),
        "moved": st.booleans(),
        "stopped": st.booleans(),
        "passes": st.booleans(),
        "trains_after": st.integers(0, 12),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    world=st.lists(_day, min_size=20, max_size=70),
    cool_down=st.integers(1, 15),
    delay=st.integers(1, 10),
    budget=st.integers(1, 4),
    max_age=st.integers(5, 60),
)
def test_whatever_happens(world: list[dict], cool_down: int, delay: int, budget: int, max_age: int) -> None:  # type: ignore[type-arg]
    """A life of a model in which anything happens: what is asked for never breaks the declared bounds."""
    rule = Retrain(cool_down_days=cool_down, budget=budget, budget_days=40, max_age_days=max_age, for_days=3)
    policy = Monitoring(retrain=rule)
    bound = max(cool_down, delay)
    first = date(2020, 1, 1)
    trainings, asked, due, champion, was_open = [Training(first, True)], [], {}, first, False
    for i, found in enumerate(world):
        today = first + timedelta(days=i)
        trainings += [Training(due[today], found["passes"])] if today in due else []
        if today in due and found["passes"]:
            champion, was_open = due[today], False
        past = [(first + timedelta(days=k), one) for k, one in enumerate(world[: max(0, i - delay)])]
        labelled = [
            LabelledDay(day, one["metric"], one["metric"], min(3, n + 1), None, 0.6)
            for n, (day, one) in enumerate(past)
            if day > champion
        ]
        estimated = [
            EstimatedDay(first + timedelta(days=k), ["x"], ["score"] if one["moved"] else [], one["estimate"], 0.6)
            for k, one in enumerate(world[: i + 1])
        ]
        stopped = [today] if found["stopped"] else []
        situation = Situation(
            today, champion, trainings, stopped, labelled, estimated, asked[-1] if asked else None, was_open, delay
        )
        verdict = decide(policy, situation)
        was_open = verdict.open
        assert verdict.reasons and all(verdict.reasons)
        if stopped:
            assert verdict.verdict == "stop"
        if verdict.verdict != "retrain":
            continue
        pending = asked and trainings[-1].day < asked[-1]
        assert not pending or (today - asked[-1]).days >= bound, "never while one is pending"
        assert (today - trainings[-1].day).days >= bound, "never within the cool-down"
        assert sum(one.day > today - timedelta(days=40) for one in trainings) < budget, "never beyond the budget"
        old = (today - champion).days >= max_age
        harmed = verdict.open and any(day.metric is not None and day.metric < 0.6 for day in labelled)
        assert old or harmed, "never for moved inputs alone"
        if not old:
            assert sum(day.day >= verdict.since for day in labelled) >= rule.fresh_labelled_days  # type: ignore[operator]
        asked.append(today)
        due[today + timedelta(days=found["trains_after"])] = today
