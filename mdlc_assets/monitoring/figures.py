"""The plots of the daily report: what is shown always stands before what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mdlc_assets import plots
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.evaluation import is_of_numbers
from mdlc_assets.monitoring.sketch import Sketch, pooled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Small enough that its text can be read on a telephone, where it is shown at about its own size.
_WIDTH, _HEIGHT = 5, 2.4
_LINES = (plots.RED, plots.BLUE, plots.ORANGE, plots.GREEN)
_MARKERS = ("o", "s", "^", "D")
_MOST_BINS = 24
_MOST_TEXTS = 8
_MOSTLY_ONE = 0.6

Documents = Mapping[date, Mapping[str, Any]]


def volume_plot(quality: Documents) -> Figure:
    """Rows a day, stopped days in another colour; below zero those in quarantine."""
    figure, axes = plots.new_figure(_WIDTH, _HEIGHT)
    days = sorted(quality)
    passed = [quality[day]["passed"] for day in days]
    rows = np.array([quality[day]["rows"] for day in days])
    for good, colour, hatch, label in ((True, plots.BLUE, "", "rows"), (False, plots.RED, "///", "stopped")):
        some = [i for i, one in enumerate(passed) if one is good]
        if some:
            axes.bar(plots.dates([days[i] for i in some]), rows[some], color=colour, hatch=hatch, label=label)
    out = [-quality[day]["quarantined"] for day in days]
    if any(out):
        axes.bar(plots.dates(days), out, color=plots.ORANGE, label="quarantine")
    axes.axhline(0, color=plots.GREY, linewidth=0.8)
    _finish(axes)
    return figure


def distances_plot(reports: Documents, day: date, count: int = 4) -> Figure:
    """How far the columns that moved most are beyond the usual, in sizes that alarm; days in alarm are shaded."""
    figure, axes = plots.new_figure(_WIDTH, _HEIGHT)
    columns = reports[day]["columns"] if day in reports else {}
    top = 1.0
    names = sorted(columns, key=lambda name: -columns[name]["size"])[:count]
    for colour, marker, name in zip(_LINES, _MARKERS, names, strict=False):
        kept = {
            when: said["columns"][name]["size"] for when, said in sorted(reports.items()) if name in said["columns"]
        }
        axes.plot(plots.dates(list(kept)), list(kept.values()), marker=marker, ms=3, color=colour, label=name)
        top = max(top, *kept.values())
    for when in (when for when, said in reports.items() if said["alarm"]):
        axes.axvspan(*plots.dates([when, date.fromordinal(when.toordinal() + 1)]), color=plots.ORANGE, alpha=0.15, lw=0)
    axes.axhline(1, color=plots.GREY, linestyle="--", linewidth=1)
    axes.set_ylim(0, max(1.5, 1.1 * top) if top < 20 else None)
    if top >= 20:
        axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel("of what alarms")
    _finish(axes)
    return figure


def realised_plot(lifecycle: LifecycleDeclaration, closed: Documents, open_loop: Documents) -> Figure:
    """The metric by day and over the last days with its interval, before what the gate promised; and the estimate
    for the days that have no labels yet. Days that the model has learnt from show nothing."""
    metric = lifecycle.monitoring.retrain.metric
    figure, axes = plots.new_figure(_WIDTH, _HEIGHT)
    reports = sorted((day, said) for day, said in closed.items() if not said.get("learnt"))
    promised = {day: said["promised"][metric] for day, said in reports if _value(said["promised"], metric)}
    if promised:
        days = plots.dates(list(promised))
        axes.step(days, list(promised.values()), where="mid", color=plots.GREY, ls="--", label="promised")
        bounds = {
            day: said["promised_interval"] for day, said in reports if day in promised and said["promised_interval"]
        }
        if bounds:
            low, high = zip(*bounds.values(), strict=True)
            axes.fill_between(plots.dates(list(bounds)), low, high, color=plots.GREY, alpha=0.15, lw=0, step="mid")
    each = {day: said["metrics"][metric] for day, said in reports if _value(said["metrics"], metric)}
    # A line without points would still count as drawn, on an axis that begins in 1970.
    if each:
        axes.plot(plots.dates(list(each)), list(each.values()), ".", color=plots.BLUE, alpha=0.5, label="day")
    recent = {day: said["recent"] for day, said in reports if _value(said["recent"]["metrics"], metric)}
    if recent:
        days = plots.dates(list(recent))
        axes.plot(days, [said["metrics"][metric] for said in recent.values()], color=plots.BLUE, label="last days")
        sure = {day: said["interval"] for day, said in recent.items() if said["interval"]}
        if sure:
            low, high = zip(*sure.values(), strict=True)
            axes.fill_between(plots.dates(list(sure)), low, high, color=plots.BLUE, alpha=0.2, lw=0)
    guessed = {
        day: said["estimated"]["metrics"][metric]
        for day, said in sorted(open_loop.items())
        if said.get("estimated") and _value(said["estimated"]["metrics"], metric)
    }
    if guessed:
        axes.plot(plots.dates(list(guessed)), list(guessed.values()), "x", ms=4, color=plots.RED, label="estimated")
    versions = [(day, said["model_version"]) for day, said in reports]
    for (_, before), (day, now) in pairwise(versions):
        if before != now:
            axes.axvline(plots.dates([day])[0], color=plots.GREEN, lw=1.5)
            axes.annotate(f" version {now}", (plots.dates([day])[0], 0.03), fontsize=8, color=plots.GREEN)
    if not is_of_numbers(metric):
        axes.set_ylim(0, 1)
    _finish(axes)
    return figure


def decisions_plot(lifecycle: LifecycleDeclaration, open_loop: Documents) -> Figure:
    """The share of each decision but the usual one."""
    figure, axes = plots.new_figure(_WIDTH, _HEIGHT)
    kept = {day: said["decisions"] for day, said in sorted(open_loop.items()) if said.get("decisions")}
    others = [decision for decision in lifecycle.decisions.actions if decision != lifecycle.decisions.otherwise]
    for colour, marker, decision in zip(_LINES, _MARKERS, others[::-1], strict=False):
        shares = [100 * said.get(decision, 0) for said in kept.values()]
        axes.plot(plots.dates(list(kept)), shares, marker=marker, ms=3, color=colour, label=decision)
    axes.set_ylabel("% of events")
    axes.set_ylim(bottom=0)
    _finish(axes)
    return figure


def calibration_plot(document: Mapping[str, Any]) -> Figure:
    """What was realised at each level of the score, beside the line on which both are the same."""
    figure, axes = plots.new_figure(_WIDTH, _HEIGHT)
    bins = document["calibration_window"]["bins"]
    if document["positives"] is None:
        said, came = ([point[key] for point in bins] for key in ("score", "share"))
        ends = [min(*said, *came), max(*said, *came)]
        axes.plot(ends, ends, color=plots.GREY, ls="--", lw=1, label="as foretold")
        axes.plot(said, came, "o-", color=plots.BLUE, label="came")
        axes.set(xlabel="foretold", ylabel="came, mean")
        axes.legend(fontsize=8, loc="upper left", frameon=False)
        return figure
    axes.plot([0, 1], [0, 1], color=plots.GREY, ls="--", lw=1, label="as the score says")
    axes.plot([b["score"] for b in bins], [b["share"] for b in bins], "o-", color=plots.BLUE, label="realised")
    axes.set(xlabel="score", xlim=(0, 1), ylim=(0, 1))
    axes.set_ylabel("share of positives")
    axes.legend(fontsize=8, loc="upper left", frameon=False)
    return figure


def distribution_plot(name: str, today: Sketch, reference: Sequence[Sketch]) -> Figure:
    """Today's distribution before that of the healthy days."""
    figure, axes = plots.new_figure(_WIDTH, 2.0)
    points, weights = pooled(reference) if reference else (today.points, today.weights)
    if today.text:
        healthy, now = (
            dict(zip(texts.tolist(), shares, strict=True))
            for texts, shares in ((points, weights), (today.points, today.weights))
        )
        names = sorted({*healthy, *now}, key=lambda text: -healthy.get(text, 0))[:_MOST_TEXTS]
        first, then = ([shares.get(text, 0) for text in names] for shares in (healthy, now))
        at = np.arange(len(first))
        axes.bar(at, first, width=0.8, color=plots.GREY, alpha=0.45, label="healthy days")
        axes.plot(at, then, "o", color=plots.RED, label="today")
        axes.set_xticks(at, names, fontsize=8)
        axes.set_yscale("symlog", linthresh=0.01)
    else:
        edges = _edges(points, weights, today)
        for values, share, kind in ((points, weights, "healthy days"), (today.points, today.weights, "today")):
            counts, _ = np.histogram(values, edges, weights=share)
            if kind == "today":
                axes.stairs(100 * counts, edges, color=plots.RED, lw=1.8, label=kind)
            else:
                axes.stairs(100 * counts, edges, fill=True, color=plots.GREY, alpha=0.45, label=kind)
                if counts.max() > _MOSTLY_ONE:
                    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylabel("share" if today.text else "% of events")
    axes.set_xlabel(name, fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _edges(points: np.ndarray, weights: np.ndarray, today: Sketch) -> np.ndarray:
    """Bins over the middle 99 % of both; what lies beyond goes into the outermost ones' range or is not drawn."""
    values = np.concatenate([points, today.points])
    share = np.concatenate([weights, today.weights])
    order = np.argsort(values)
    level = np.cumsum(share[order]) / max(share.sum(), 1e-9)
    low, high = values[order][np.searchsorted(level, [0.005, 0.995]).clip(max=len(values) - 1)].tolist()
    if high <= low:
        low, high = low - 0.5, high + 0.5
    distinct = np.unique(values)
    whole = np.all(distinct == np.round(distinct)) and high - low <= _MOST_BINS
    return np.arange(low - 0.5, high + 1.5) if whole else np.linspace(low, high, _MOST_BINS + 1)


def _finish(axes: Axes) -> None:
    plots.by_day(axes)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            fontsize=8,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            frameon=False,
            borderaxespad=0,
            handlelength=1.5,
        )


def _value(metrics: Mapping[str, Any] | None, name: str) -> bool:
    return bool(metrics) and metrics.get(name) is not None  # type: ignore[union-attr]
