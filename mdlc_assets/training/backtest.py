"""A backtest: the evaluations of many as-of days side by side."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets import plots
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training import figures

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
div {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: 13px }}
th, td {{ text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #ddd; white-space: nowrap }}
svg {{ max-width: 100%; height: auto }}
</style>
<h1>{title}</h1>
{summary}
<div>{plot}</div>
<div>{table}</div>
</html>
"""


def backtest_frame(documents: Mapping[date, Mapping[str, Any]]) -> pl.DataFrame:
    """A row for each as-of day and metric: value, interval, the champion's value, and what the gate said."""
    rows = []
    for as_of, found in sorted(documents.items()):
        beside = (found["champion"] or {}).get("metrics", {})
        for metric, value in found["metrics"].items():
            low, high = found["intervals"].get(metric) or (None, None)
            rows.append(
                (
                    *(as_of, found["version"], found["test"], found["positives"], metric),
                    *(value, low, high, beside.get(metric), found["passed"]),
                )
            )
    schema = {
        "as_of": pl.Date,
        "version": pl.Int64,
        "test": pl.String,
        "positives": pl.Int64,
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "champion": pl.Float64,
        "passed": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def summary_lines(documents: Mapping[date, Mapping[str, Any]], metrics: Sequence[str], test_days: int) -> list[str]:
    """The backtest in sentences: how good on average, how bad at worst, how often it would have served."""
    days = sorted(documents)
    passed = sum(documents[day]["passed"] for day in days)
    lines = [f"{len(days)} as-of days, {days[0]} to {days[-1]}; the gate passed {passed} of them."]
    for metric in metrics:
        found = {day: documents[day]["metrics"].get(metric) for day in days}
        known = {day: value for day, value in found.items() if value is not None}
        if known:
            worst = min(known, key=lambda day: known[day])
            values = list(known.values())
            lines.append(
                f"{metric}: {np.mean(values):.3f} on average, {np.std(values):.3f} from day to day; worst "
                f"{known[worst]:.3f} as of {worst}."
            )
    close = [b for a, b in itertools.pairwise(days) if (b - a).days < test_days]
    if close:
        lines.append(
            f"{len(close)} as-of days are closer than {test_days} test days to the one before: their test days "
            "overlap, so they are not independent."
        )
    return lines


def backtest_table(documents: Mapping[date, Mapping[str, Any]], metrics: Sequence[str]) -> list[list[str]]:
    """The cells of the table, the head first."""
    rows = [["as of", "version", "test days", "positives", *metrics, "gate"]]
    for as_of, found in sorted(documents.items()):
        cells = []
        for metric in metrics:
            value, interval = found["metrics"].get(metric), found["intervals"].get(metric)
            said = "-" if value is None else f"{value:.3f}"
            cells.append(said + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""))
        gate = "passed" if found["passed"] else found["reasons"][0]
        rows.append([str(as_of), str(found["version"]), found["test"], _counted(found), *cells, gate])
    return rows


def _counted(found: Mapping[str, Any]) -> str:
    return "-" if found["positives"] is None else str(found["positives"])


def backtest_page(
    lifecycle: LifecycleDeclaration, documents: Mapping[date, Mapping[str, Any]], metrics: Sequence[str]
) -> str:
    """The page as HTML with everything inside."""
    head, *rows = backtest_table(documents, metrics)
    lines = summary_lines(documents, metrics, lifecycle.model.windows.test_days)
    table = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return _PAGE.format(
        title=html.escape(f"Backtest of {lifecycle.name}"),
        summary="".join(f"<p>{html.escape(line)}</p>" for line in lines),
        plot=plots.as_svg(figures.backtest(dict(sorted(documents.items())), metrics)),
        table=f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>{table}</table>",
    )


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table for Dagster's metadata."""
    head, *others = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *others))
