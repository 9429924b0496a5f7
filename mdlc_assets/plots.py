"""Small plots in one style: colours that colour-blind people tell apart, SVG text that needs no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F"
_MOST_TICKS = 9


def new_figure(width: float = 7, height: float = 2.6) -> tuple[Figure, Axes]:
    """An empty figure (inches) with one set of axes, free of pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return figure, axes


def by_day(axes: Axes) -> None:
    """Let the horizontal axis show the days of what was drawn, written short: the month once, then day numbers."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, DateLocator, DayLocator

    first, last = axes.dataLim.intervalx
    locator: DateLocator = AutoDateLocator(minticks=4, maxticks=_MOST_TICKS)
    if 0 <= last - first < _MOST_TICKS:
        # Few days are not filled up with hours, nor one with years.
        locator = DayLocator()
        axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateFormatter("%Y-%b-%d") if first == last else ConciseDateFormatter(locator))


def dates(days: Sequence[date]) -> np.ndarray:
    """Days as matplotlib's axes take them."""
    return np.array(list(days), dtype="datetime64[D]")


def as_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, the same text each time for the same figure."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mdlc", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def as_markdown(figure: Figure) -> str:
    """The figure as a Markdown image with its data inside, for Dagster's metadata."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
