"""The plots of an evaluation of foretold numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from mdlc_assets import plots
from mdlc_assets.training.metrics import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EPOCH = date(1970, 1, 1)


def foretold_and_actual(calibration: Mapping[str, Any]) -> Figure:
    """What came on average in each bin of forecasts, with its interval; on the dashed line both are the same."""
    figure, axes = plots.new_figure(5, 3)
    said, came, low, high = (
        np.array([point[key] for point in calibration["curve"]]) for key in ("score", "share", "low", "high")
    )
    axes.errorbar(said, came, [came - low, high - came], fmt="o", color=plots.BLUE, markersize=4, linewidth=1)
    ends = [min(said.min(), came.min()), max(said.max(), came.max())]
    axes.plot(ends, ends, color=plots.GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="foretold, mean of the bin", ylabel="what came, mean")
    axes.set_title("Does as much come as was foretold? (dashed: it does)", fontsize=9, loc="left")
    return figure


def by_day(test: Scored, rival: np.ndarray | None) -> Figure:
    """The sum of each test day: what came, what was foretold, by the champion and by the baseline too."""
    figure, axes = plots.new_figure(5, 3)
    days, place = np.unique(test.day, return_inverse=True)
    at = plots.dates([_EPOCH + timedelta(days=int(day)) for day in days])
    lines = (
        (test.label, plots.GREY, "-", "what came"),
        (test.baseline, plots.ORANGE, ":", "baseline"),
        (rival, plots.RED, "--", "champion"),
        (test.score, plots.BLUE, "-", "candidate"),
    )
    for values, colour, style, name in lines:
        if values is not None:
            axes.plot(at, np.bincount(place, values), style, marker=".", color=colour, label=name)
    plots.by_day(axes)
    axes.set_title("Sum of each test day", fontsize=9, loc="left")
    axes.legend(fontsize=8)
    return figure
