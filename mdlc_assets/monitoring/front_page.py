"""The front page over all lifecycles: who has to act, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from mdlc_assets import plots
from mdlc_assets.monitoring.page import environment, themed_svg

_ORDER = ("bad", "warn", "good")


def front_page(summaries: Sequence[dict[str, Any]]) -> str:
    """The page as HTML with everything inside, from the newest summary of each lifecycle."""
    ordered = sorted(summaries, key=lambda one: (_ORDER.index(one["level"]), one["lifecycle"]))
    counted = {level: sum(one["level"] == level for one in ordered) for level in _ORDER}
    words = ((counted["bad"], "to act on"), (counted["warn"], "to look at"), (counted["good"], "well"))
    said = f"{len(ordered)} in all: " + ", ".join(f"{count} {word}" for count, word in words if count)
    return (
        environment()
        .get_template("front.html")
        .render(lifecycles=[{**one, "plot": _trend(one)} for one in ordered], said=said if ordered else "")
    )


def _trend(summary: dict[str, Any]) -> str:
    figure, axes = plots.new_figure(4.4, 1.5)
    days = [date.fromisoformat(day) for day in summary["realised"]]
    values = list(summary["realised"].values())
    axes.plot(plots.dates(days), values, ".-", color=plots.BLUE)
    if summary["promised"] is not None:
        axes.axhline(summary["promised"], color=plots.GREY, ls="--", lw=1)
    # Most metrics lie from 0 to 1; an error in units, or a gain that is a loss, does not.
    axes.set_ylim(min([0, *values]), max([1, *values]))
    if days:
        plots.by_day(axes)
    return themed_svg(figure, f"{summary['metric']} realised by day; dashed: promised by the gate")
