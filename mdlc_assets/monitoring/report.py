"""The daily report: one HTML page that a person can act on at three in the morning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jinja2

from mdlc_assets import plots
from mdlc_assets.declaration import LifecycleDeclaration

_SHOWN_FEATURES = 4


@dataclass(frozen=True)
class Figures:
    """What the page is made from, by day: the documents of the stages, and the share of each decision."""

    day: date
    quality: Mapping[date, Mapping[str, Any]]
    open_loop: Mapping[date, Mapping[str, Any]]
    closed_loop: Mapping[date, Mapping[str, Any]]
    retrain: Mapping[str, Any]
    decisions: Mapping[date, Mapping[str, float]]
    model: Mapping[str, Any]


def render(lifecycle: LifecycleDeclaration, found: Figures) -> str:
    """The page as HTML with everything inside: styles, plots, no outside requests."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    today = found.open_loop.get(found.day, {})
    quality = found.quality.get(found.day, {"passed": True, "rules": [], "rows": 0, "quarantined": 0})
    columns = sorted(today.get("columns", {}).items(), key=lambda item: item[1]["usual"] - item[1]["distance"])
    return environment.get_template("report.html").render(
        lifecycle=lifecycle,
        day=found.day,
        headline=_headline(lifecycle, found, today, quality),
        retrain=found.retrain,
        quality=quality,
        open_loop=today,
        columns=columns,
        model=found.model,
        realised=[{**found.closed_loop[day], "day": day} for day in sorted(found.closed_loop)[-7:]][::-1],
        plots=[
            ("Rows a day, and those in quarantine", _volume(found)),
            ("What moved most: distance from the training days", _distances(found, [name for name, _ in columns])),
            (f"{lifecycle.monitoring.retrain.metric}: realised, and promised by the gate", _realised(lifecycle, found)),
            ("Share of decisions", _decisions(lifecycle, found)),
        ],
    )


def _headline(
    lifecycle: LifecycleDeclaration, found: Figures, today: Mapping[str, Any], quality: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Verdicts in words: how bad, what, who is called, what to do. The worst comes first."""
    owners = lifecycle.owners
    said = []
    if not quality["passed"]:
        broken = [rule["text"] for rule in quality["rules"] if not rule["passed"]]
        said.append({"level": "bad", "what": "The data of this day were stopped.", "why": " ".join(broken)})
        said[-1]["who"] = owners.quality
    verdict = found.retrain["verdict"]
    reasons = "; ".join(found.retrain["reasons"])
    if verdict in {"retrain", "wait", "stop"}:
        what = {
            "retrain": "A new model is being asked for.",
            "wait": "The model has become worse; a new one is asked for once there is enough to learn from.",
            "stop": "No retraining: the data have to be mended first.",
        }[verdict]
        said.append({"level": "bad", "what": what, "why": reasons, "who": owners.training})
    if today.get("alarm"):
        said.append(
            {
                "level": "warn",
                "what": "Inputs or scores are not what the model learnt from.",
                "why": "; ".join(today["reasons"]) + ". Nothing has to be done unless labels show harm: look whether "
                "the source changed.",
                "who": owners.monitoring,
            }
        )
    if not said:
        said.append({"level": "good", "what": "All is well.", "why": reasons, "who": owners.monitoring})
    return said


def _volume(found: Figures) -> str:
    figure, axes = plots.new_figure()
    days = sorted(found.quality)
    colours = [plots.BLUE if found.quality[day]["passed"] else plots.RED for day in days]
    axes.bar(plots.dates(days), [found.quality[day]["rows"] for day in days], color=colours)
    axes.bar(plots.dates(days), [-found.quality[day]["quarantined"] for day in days], color=plots.ORANGE)
    axes.axhline(0, color=plots.GREY, linewidth=0.8)
    axes.set_ylabel("rows")
    plots.by_day(axes)
    return plots.as_svg(figure)


def _distances(found: Figures, names: Sequence[str]) -> str:
    figure, axes = plots.new_figure()
    colours = (plots.RED, plots.BLUE, plots.ORANGE, plots.GREEN)
    for colour, name in zip(colours, names[:_SHOWN_FEATURES], strict=False):
        kept = {
            day: said["columns"][name]["distance"]
            for day, said in sorted(found.open_loop.items())
            if name in said["columns"]
        }
        axes.plot(plots.dates(list(kept)), list(kept.values()), marker=".", color=colour, label=name)
    if names:
        axes.legend(fontsize=8, loc="upper left")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("Jensen-Shannon distance")
    plots.by_day(axes)
    return plots.as_svg(figure)


def _realised(lifecycle: LifecycleDeclaration, found: Figures) -> str:
    metric = lifecycle.monitoring.retrain.metric
    figure, axes = plots.new_figure()
    reports = sorted(found.closed_loop.items())
    kept = {day: said["metrics"][metric] for day, said in reports if said["metrics"].get(metric) is not None}
    promised = {
        day: said["promised"][metric] for day, said in reports if (said["promised"] or {}).get(metric) is not None
    }
    axes.plot(plots.dates(list(kept)), list(kept.values()), marker="o", color=plots.BLUE, label="day")
    axes.plot(plots.dates(list(promised)), list(promised.values()), color=plots.GREY, ls="--", label="promised")
    if kept:
        axes.legend(fontsize=8, loc="lower left")
    axes.set_ylim(0, 1)
    plots.by_day(axes)
    return plots.as_svg(figure)


def _decisions(lifecycle: LifecycleDeclaration, found: Figures) -> str:
    figure, axes = plots.new_figure()
    days = sorted(found.decisions)
    others = [decision for decision in lifecycle.decisions.actions if decision != lifecycle.decisions.otherwise]
    for colour, decision in zip((plots.RED, plots.ORANGE, plots.BLUE, plots.GREEN), others[::-1], strict=False):
        shares = [100 * found.decisions[day].get(decision, 0) for day in days]
        axes.plot(plots.dates(days), shares, marker=".", color=colour, label=decision)
    axes.legend(fontsize=8, loc="upper left")
    axes.set_ylabel("% of events")
    axes.set_ylim(bottom=0)
    plots.by_day(axes)
    return plots.as_svg(figure)
