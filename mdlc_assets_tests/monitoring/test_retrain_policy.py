"""The retrain policy, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from mdlc_assets.declaration.monitoring import Retrain
from mdlc_assets.monitoring.retrain_policy import LabelledDay, Situation, decide

_TODAY = date(2018, 6, 20)
_POLICY = Retrain(drop=0.1, for_days=3, fresh_labelled_days=5, cool_down_days=7, max_age_days=90)


def _days(*metrics: float | None, recent: float = 0.3, days: int = 3, high: float = 0.45) -> list[LabelledDay]:
    first = _TODAY - timedelta(days=7 + len(metrics) - 1)
    return [
        LabelledDay(first + timedelta(days=i), metric, recent, days, (recent - 0.1, high), 0.6)
        for i, metric in enumerate(metrics)
    ]


_WELL = Situation(
    today=_TODAY,
    champion_trained=_TODAY - timedelta(days=20),
    trained=_TODAY - timedelta(days=20),
    stopped_days=[],
    labelled=_days(0.6, 0.58, 0.61, recent=0.6, high=0.7),
    inputs_moved=[],
)
_BAD = replace(_WELL, labelled=_days(0.6, 0.3, 0.28, 0.3, 0.31, 0.29))


@pytest.mark.parametrize(
    ("situation", "verdict", "said"),
    [
        (_WELL, "none", "promised 0.600"),
        (replace(_WELL, inputs_moved=["amount"]), "none", "inputs moved: amount"),
        (replace(_WELL, labelled=[]), "none", "no day scored by the champion has labels yet"),
        (replace(_WELL, champion_trained=None), "none", "no champion"),
        (_BAD, "retrain", "since 2018-06-09; 5 labelled days"),
        (replace(_BAD, labelled=_days(0.6, 0.3, None, 0.3, 0.31, 0.29)), "retrain", "since 2018-06-09"),
        (replace(_BAD, labelled=_days(0.6, 0.6, 0.3, 0.3, 0.3)), "wait", "3 of 5 labelled days"),
        (replace(_BAD, labelled=_days(0.6, 0.3, recent=0.3, days=1)), "none", "over 1 days"),
        (replace(_BAD, labelled=_days(0.3, 0.3, 0.3, 0.3, 0.3, high=0.65)), "none", "promised"),
        (replace(_BAD, labelled=_days(0.55, 0.55, 0.55, 0.55, 0.55, recent=0.55)), "none", "0.550"),
        (replace(_BAD, trained=_TODAY - timedelta(days=3)), "wait", "cool-down until 2018-06-24"),
        (replace(_BAD, trained=_TODAY - timedelta(days=7)), "retrain", "labelled days"),
        (replace(_BAD, stopped_days=[_TODAY]), "stop", "quality stopped 2018-06-20"),
        (replace(_WELL, champion_trained=_TODAY - timedelta(days=90)), "retrain", "90 days old"),
        (
            replace(_WELL, champion_trained=_TODAY - timedelta(days=90), trained=_TODAY - timedelta(days=2)),
            "wait",
            "cool-down",
        ),
    ],
)
def test_each_situation(situation: Situation, verdict: str, said: str) -> None:
    found = decide(_POLICY, situation)
    assert found.verdict == verdict, found.reasons
    assert said in "; ".join(found.reasons)
