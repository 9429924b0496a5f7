"""The horizontal axis of every plot by day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from mdlc_assets import plots


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (1, ["2026-Nov-28"]),
        (4, ["28", "29", "30", "Dec"]),
        (30, ["29", "Dec", "05", "09", "13", "17", "21", "25"]),
    ],
)
def test_an_axis_of_days_shows_days_and_no_hours(count: int, shown: list[str]) -> None:
    figure, axes = plots.new_figure()
    days = [date(2026, 11, 28) + timedelta(days=i) for i in range(count)]
    axes.plot(plots.dates(days), [1.0] * count, marker=".")
    plots.by_day(axes)
    plots.as_svg(figure)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert [label for label in labels if label] == shown
