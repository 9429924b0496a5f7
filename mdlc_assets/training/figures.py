"""The plots of an evaluation and of a backtest."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from mdlc_assets import plots
from mdlc_assets.training.metrics import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def precision_recall(test: Scored, rival: np.ndarray | None) -> Figure:
    """Precision by recall of the candidate, and of the champion on the same events."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = plots.new_figure(5, 3)
    for score, colour, name in ((rival, plots.GREY, "champion"), (test.score, plots.BLUE, "candidate")):
        if score is not None and not test.one_class:
            precision, recall, _ = precision_recall_curve(test.label, score)
            axes.step(recall, precision, where="post", color=colour, label=name)
    axes.axhline(test.label.mean(), color=plots.ORANGE, linestyle="--", linewidth=1, label="by chance")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Precision and recall on the test days", fontsize=9, loc="left")
    axes.legend(fontsize=8)
    return figure


def reliability_curve(calibration: Mapping[str, Any]) -> Figure:
    """Share of positives by mean score of each bin, with intervals; on the diagonal scores mean what they say."""
    figure, axes = plots.new_figure(5, 3)
    curve = [point for point in calibration["curve"] if point["score"] > 0]
    score = np.array([point["score"] for point in curve])
    share = np.array([point["share"] for point in curve])
    low, high = (np.array([point[end] for point in curve]) for end in ("low", "high"))
    least = min([1e-3, *score]) / 2
    # Most scores are small: only a logarithmic axis shows them apart. A share of 0 lies on its lower edge.
    error = np.clip([share - low, high - share], 0, None)
    axes.errorbar(score, np.maximum(share, least), error, fmt="o", color=plots.BLUE, markersize=4, linewidth=1)
    axes.plot([least, 1], [least, 1], color=plots.GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="mean score of the bin", ylabel="share of positives", xscale="log", yscale="log")
    axes.set(xlim=(least, 1.2), ylim=(least, 1.2))
    axes.set_title("Do scores mean what they say? (dashed: they do)", fontsize=9, loc="left")
    return figure


def slices(document: Mapping[str, Any], metric: str) -> Figure | None:
    """A metric with its interval on all test rows and on each slice."""
    parts = {"all": document, **document["slices"]}
    found = {name: part for name, part in parts.items() if part["metrics"].get(metric) is not None}
    if len(found) < 2:
        return None
    figure, axes = plots.new_figure(5, 0.9 + 0.35 * len(found))
    for place, part in enumerate(reversed(found.values())):
        value, interval = part["metrics"][metric], part["intervals"].get(metric)
        if interval:
            axes.plot(interval, [place, place], color=plots.BLUE, linewidth=2)
        axes.plot([value], [place], "o", color=plots.BLUE)
        axes.text(1.01, place, _counted(part), transform=axes.get_yaxis_transform(), fontsize=7)
        beside = (part.get("champion") or {}).get("metrics", {}).get(metric)
        if beside is not None:
            axes.plot([beside], [place], "|", color=plots.RED, markersize=12)
    axes.set_yticks(range(len(found)), list(reversed(found)))
    axes.set_xlabel(f"{metric} (red: champion)")
    if document["positives"] is not None:
        axes.set_xlim(0, 1)
    return figure


def _counted(part: Mapping[str, Any]) -> str:
    if part["positives"] is not None:
        return f"{part['positives']} positives"
    return f"{part.get('rows', part.get('test_rows'))} rows"


def backtest(documents: Mapping[date, Mapping[str, Any]], metrics: Sequence[str]) -> Figure:
    """Each metric by as-of day with its interval; hollow where the gate refused."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(7, 0.4 + 1.8 * len(metrics)), layout="constrained")
    for axes, metric in zip(np.atleast_1d(figure.subplots(len(metrics), 1, sharex=True)), metrics, strict=True):
        days = [day for day, found in documents.items() if found["metrics"].get(metric) is not None]
        values = [documents[day]["metrics"][metric] for day in days]
        at = plots.dates(days)
        for day, where in zip(days, at, strict=True):
            interval = documents[day]["intervals"].get(metric)
            if interval:
                axes.plot([where, where], interval, color=plots.BLUE, alpha=0.4, linewidth=2)
        axes.plot(at, values, color=plots.BLUE, linewidth=1)
        for passed in (True, False):
            chosen = [i for i, day in enumerate(days) if documents[day]["passed"] is passed]
            fill = plots.BLUE if passed else "white"
            axes.plot(
                at[chosen], [values[i] for i in chosen], "o", color=plots.BLUE, markerfacecolor=fill, markersize=5
            )
        axes.set_ylabel(metric, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        plots.by_day(axes)
    return figure


def as_png(figure: Figure) -> bytes:
    """The figure as a file, the same bytes each time for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
