"""Lives of a model in memory, through the same pure functions as the assets: what pages and alerts are made from."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.closed_loop import realised, with_slices
from mdlc_assets.monitoring.estimate import Calibration, expected
from mdlc_assets.monitoring.open_loop import Watch
from mdlc_assets.monitoring.problems import Figures
from mdlc_assets.monitoring.retrain_policy import EstimatedDay, LabelledDay, Situation, Training, decide
from mdlc_assets.monitoring.sketch import Sketch, sketches

FIRST = date(2018, 6, 1)
_HISTORY, _DAYS, _ROWS = 28, 26, 3_000
_OUTPUTS = ("score", "decision")


def life(lifecycle: LifecycleDeclaration, *, drift_from: int | None = None, stopped: bool = False) -> Figures:
    """26 days after 28 of history. From `drift_from` on amounts grow and the model ranks worse; when `stopped`,
    quality has stopped the last day."""
    watch = Watch(lifecycle.monitoring.open_loop, {}, outputs=_OUTPUTS)
    frames: dict[date, pl.DataFrame] = {}
    kept: dict[date, dict[str, Sketch]] = {}
    quality, closed, retrain = {}, {}, {}
    delay = lifecycle.labels.delay_days
    for i in range(-_HISTORY, _DAYS):
        day = FIRST + timedelta(days=i)
        broken = stopped and i == _DAYS - 1
        quality[day] = _quality(day, broken)
        if broken:
            break
        drifted = drift_from is not None and i >= drift_from
        frames[day] = _events(lifecycle, day, drifted)
        kept[day] = sketches(frames[day], [*lifecycle.features.names(), *_OUTPUTS])
        if i < 0:
            continue
        watch.training = {day: one for day, one in kept.items() if day < FIRST}
        document = watch.day(day, kept[day])
        document |= {
            "model_version": 1,
            "decisions": dict(frames[day]["decision"].value_counts(normalize=True).iter_rows()),
            "estimated": _expected(frames, day, delay),
        }
        labelled_day = day - timedelta(days=delay)
        if labelled_day >= FIRST:
            closed[labelled_day] = _closed(lifecycle, frames, labelled_day)
        retrain[day] = _decide(lifecycle, day, closed, watch.documents)
    day = max(quality)
    shown = watch.documents.get(day, {"columns": {}})["columns"]
    return Figures(
        day=day,
        quality={when: said for when, said in quality.items() if when >= FIRST},
        open_loop=watch.documents,
        closed_loop=closed,
        retrain=retrain,
        model={"version": 1, "trained": FIRST, "refit": f"{FIRST - timedelta(days=28)} to {FIRST - timedelta(days=8)}"},
        sketches={
            name: (kept[day][name], [one[name] for when, one in kept.items() if when < FIRST])
            for name in sorted(shown, key=lambda name: -shown[name]["size"])[:6]
        },
        run_id="0000",
    )


def _events(lifecycle: LifecycleDeclaration, day: date, drifted: bool) -> pl.DataFrame:
    rng = np.random.default_rng(day.toordinal())
    label = (rng.random(_ROWS) < 0.03).astype(np.int8)
    sure = 0.35 if drifted else 1.0
    score = 1 / (1 + np.exp(4.2 - label * sure * 4.5 - rng.normal(0, 1.3, _ROWS)))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    time = [start + timedelta(seconds=28 * i) for i in range(_ROWS)]
    columns: dict[str, Any] = {name: rng.poisson(3, _ROWS).astype(float) for name in lifecycle.features.names()}
    columns["amount"] = rng.gamma(2, 26, _ROWS).round(2) * (1.5 if drifted else 1.0)
    columns["is_night"] = (rng.random(_ROWS) < 0.2).astype(float)
    columns["is_weekend"] = np.full(_ROWS, float(day.weekday() >= 5))
    return pl.DataFrame(
        {
            lifecycle.dataset.id: np.arange(_ROWS) + day.toordinal() * 10_000,
            lifecycle.dataset.time: time,
            lifecycle.model.entity: rng.integers(0, 900, _ROWS),
            **columns,
            "score": score,
            "model_version": np.ones(_ROWS, dtype=np.int64),
            "decision": np.where(score > 0.9, "block", np.where(score > 0.4, "review", "allow")),
            lifecycle.labels.column: label,
            "known_at": [when + lifecycle.labels.delay for when in time],
        }
    )


def _expected(frames: dict[date, pl.DataFrame], day: date, delay: int) -> dict[str, Any] | None:
    known = [frames[when] for when in frames if when <= day - timedelta(days=delay)][-14:]
    recent = [frames[when]["score"].to_numpy() for when in frames if day - timedelta(days=7) < when <= day]
    calibration = Calibration(
        *(np.concatenate([frame[name].to_numpy() for frame in known]) for name in ("score", "is_fraud")), len(known)
    )
    return expected(calibration, frames[day]["score"].to_numpy(), np.concatenate(recent), len(recent))


def _closed(lifecycle: LifecycleDeclaration, frames: dict[date, pl.DataFrame], day: date) -> dict[str, Any]:
    window = [when for when in frames if FIRST <= when <= day]
    recent = pl.concat([frames[when] for when in window[-7:]])
    slim = recent.drop(lifecycle.features.names())
    promised = {
        "metrics": {"average_precision": 0.7, "auc_roc": 0.95},
        "intervals": {"average_precision": (0.64, 0.76)},
    }
    return realised(
        lifecycle,
        frames[day],
        with_slices(lifecycle, slim, recent),
        pl.concat([frames[when] for when in window[-28:]]),
        promised,
        _ROWS,
    )


def _decide(
    lifecycle: LifecycleDeclaration, day: date, closed: dict[date, Any], opened: dict[date, Any]
) -> dict[str, Any]:
    metric = lifecycle.monitoring.retrain.metric
    labelled = [
        LabelledDay(
            when,
            said["metrics"][metric],
            said["recent"]["metrics"][metric],
            said["recent"]["days"],
            said["recent"]["interval"],
            said["promised"][metric],
            said["calibration_window"]["ratio"],
            said["calibration_window"]["interval"],
            said["calibration_window"]["days"],
            said["promised_interval"],
        )
        for when, said in closed.items()
    ]
    estimated = [
        EstimatedDay(
            when,
            said["alarmed"],
            said["outputs_alarmed"],
            said["estimated"]["recent"]["metrics"][metric],
            said["estimated"]["calibrated_on"]["metrics"][metric],
        )
        for when, said in opened.items()
    ]
    situation = Situation(
        day, FIRST, [Training(FIRST, True)], [], labelled, estimated, label_delay_days=lifecycle.labels.delay_days
    )
    return {**decide(lifecycle.monitoring, situation).as_dict(), "model_version": 1}


def _quality(day: date, broken: bool) -> dict[str, Any]:
    why = "account_age_days must grow by one for each day; it does not for 100.0% of the 1,118 values of customer_id"
    rule = {
        "rule": "account_age_grows",
        "severity": "stop",
        "passed": not broken,
        "observed": float(broken),
        "text": f"{why} on {day}. Mend: ask the accounts team to send the file again" if broken else "it grows",
    }
    return {"passed": not broken, "rows": _ROWS, "quarantined": 12, "rules": [rule]}
