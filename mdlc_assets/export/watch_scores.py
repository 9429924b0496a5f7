"""The monitoring job: compares a day's scores with those of the days before, and says `quiet` or `alarm` and why.

    <scores>/date=2018-09-01/*.out   Parquet with a column `score`, as batch transforms answer

Its message becomes the job's ExitMessage. An alarm is no failure of the job: the exit code is 0. It is 1 when the
job could not do its work, and the message then says why.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from mdlc_assets.monitoring.drift import compare
from mdlc_assets.monitoring.sketch import Sketch, sketch

_LEAST_DAYS = 5
_LONGEST_MESSAGE = 1000


class ScoresError(ValueError):
    """Scores that cannot be compared; the text says why."""


def watch_scores(scores: Path, day: date, reference_days: int, alarm_distance: float) -> dict[str, Any]:
    """The report on a day. Raises `ScoresError`."""
    found = sorted((date.fromisoformat(path.name[5:]), path) for path in scores.glob("date=*") if path.is_dir())
    days = dict(found)
    if day not in days:
        raise ScoresError(f"{day} has no scores. Mend: predict the day first.")
    before = [one for one in days if one < day][-reference_days:]
    today = _sketch(days[day])
    if len(before) < _LEAST_DAYS:
        text = f"quiet: only {len(before)} earlier days have scores, {_LEAST_DAYS} are needed to compare"
        return {"day": day.isoformat(), "says": text, "rows": today.rows}
    compared = compare(day, today, {one: _sketch(days[one]) for one in before})
    excess = compared.jensen_shannon.excess
    word = "alarm" if excess > alarm_distance else "quiet"
    text = f"{word}: the scores lie {excess:.4f} beyond their usual distance, {alarm_distance:g} are allowed"
    return {
        "day": day.isoformat(),
        "says": text,
        "rows": today.rows,
        "reference": [before[0].isoformat(), before[-1].isoformat()],
        "distance": compared.jensen_shannon.distance,
        "usual": compared.jensen_shannon.usual,
        "mean": compared.mean,
        "reference_mean": compared.reference_mean,
    }


def _sketch(folder: Path) -> Sketch:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise ScoresError(f"{folder.name} is empty. Mend: predict the day again.")
    return sketch(pl.concat([pl.read_parquet(path, columns=["score"]) for path in files])["score"])


def main() -> None:
    """Where things lie comes as arguments; what a run decides comes from the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--message", type=Path, default=Path("/opt/ml/output/message"))
    given = parser.parse_args()
    try:
        day = date.fromisoformat(os.environ["MDLC_DAY"])
        days, distance = int(os.environ["MDLC_REFERENCE_DAYS"]), float(os.environ["MDLC_ALARM_DISTANCE"])
        report = watch_scores(given.scores, day, days, distance)
    except (ScoresError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        _write(given.message, f"failed: {type(error).__name__}: {error}")
        sys.exit(1)
    given.report.mkdir(parents=True, exist_ok=True)
    _write(given.report / "scores.json", json.dumps(report, indent=1))
    _write(given.message, report["says"])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text[:_LONGEST_MESSAGE])


if __name__ == "__main__":
    main()
