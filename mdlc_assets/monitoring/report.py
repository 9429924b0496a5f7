"""The daily report: one HTML page that a person can act on at three in the morning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring import figures
from mdlc_assets.monitoring.page import environment, themed_svg
from mdlc_assets.monitoring.problems import Figures
from mdlc_assets.resources.alerts import Problem

_TABLE_DAYS = 10


@dataclass(frozen=True)
class Surroundings:
    """Where links lead: addresses of Dagster and MLflow, and the days that have a page."""

    dagster_url: str
    mlflow_url: str
    pages: Sequence[date] = ()


def render(lifecycle: LifecycleDeclaration, found: Figures, problems: Sequence[Problem], around: Surroundings) -> str:
    """The page as HTML with everything inside: styles, plots, no outside requests."""
    today = found.open_loop.get(found.day, {})
    metric = lifecycle.monitoring.retrain.metric
    retrain = found.retrain.get(found.day)
    closed = [{**found.closed_loop[day], "day": day} for day in sorted(found.closed_loop)]
    earlier = [day for day in around.pages if day < found.day]
    later = [day for day in around.pages if day > found.day]
    return (
        environment()
        .get_template("report.html")
        .render(
            lifecycle=lifecycle,
            day=found.day,
            metric=metric,
            problems=problems,
            calm="; ".join(retrain["reasons"]) if retrain else "",
            quality=found.quality.get(found.day),
            model=found.model,
            estimated=today.get("estimated"),
            links=_links(lifecycle, found, around),
            earlier=earlier[-1] if earlier else None,
            later=later[0] if later else None,
            plots=[(title, themed_svg(figure, title)) for title, figure in _plots(lifecycle, found)],
            distributions=[
                (name, themed_svg(figures.distribution_plot(name, *pair), f"{name} today and on healthy days"))
                for name, pair in found.sketches.items()
            ],
            reference=(today.get("reference") or {}).get("recent"),
            columns=sorted(today.get("columns", {}).items(), key=lambda item: -item[1]["size"]),
            alarmed=today.get("alarmed", []),
            moved=bool(today.get("alarm")),
            since=today.get("since", {}),
            realised=closed[: -_TABLE_DAYS - 1 : -1],
            newest=closed[-1] if closed else None,
            versions=_by_version(closed, metric),
            traffic=_traffic(found),
        )
    )


def summary(lifecycle: LifecycleDeclaration, found: Figures, problems: Sequence[Problem]) -> dict[str, Any]:
    """What the front page shows of the lifecycle."""
    metric = lifecycle.monitoring.retrain.metric
    reports = {day: found.closed_loop[day] for day in sorted(found.closed_loop)}
    promised = [(said["promised"] or {}).get(metric) for said in reports.values()]
    retrain = found.retrain.get(found.day)
    levels = {problem.level for problem in problems}
    return {
        "lifecycle": lifecycle.name,
        "description": lifecycle.description,
        "day": found.day.isoformat(),
        "level": "bad" if "bad" in levels else "warn" if levels else "good",
        "problems": [
            {"what": problem.what, "since": problem.since, "owner": problem.owner, "level": problem.level}
            for problem in problems
        ],
        "version": found.model["version"],
        "trained": str(found.model["trained"] or ""),
        "verdict": retrain["reasons"][0] if retrain else "",
        "metric": metric,
        "realised": {
            day.isoformat(): said["metrics"][metric]
            for day, said in reports.items()
            if said["metrics"].get(metric) is not None and not said.get("learnt")
        },
        "promised": promised[-1] if promised else None,
    }


def _plots(lifecycle: LifecycleDeclaration, found: Figures):  # type: ignore[no-untyped-def]
    metric = lifecycle.monitoring.retrain.metric
    realised = figures.realised_plot(lifecycle, found.closed_loop, found.open_loop)
    if realised.axes[0].has_data():
        yield f"{metric}: realised, promised, estimated", realised
    if found.open_loop:
        yield (
            "What moved most (at 1 it alarms; shaded: in alarm)",
            figures.distances_plot(found.open_loop, max(found.open_loop)),
        )
        yield "Share of decisions", figures.decisions_plot(lifecycle, found.open_loop)
    if found.quality:
        yield "Rows a day", figures.volume_plot(found.quality)
    if found.closed_loop:
        newest = found.closed_loop[max(found.closed_loop)]
        if newest["calibration_window"]["bins"]:
            yield "Does a score mean what it says?", figures.calibration_plot(newest)


def _links(lifecycle: LifecycleDeclaration, found: Figures, around: Surroundings) -> list[tuple[str, str]]:
    dagster, name = around.dagster_url, lifecycle.name
    links = [("Dagster run", f"{dagster}/runs/{found.run_id}")] if found.run_id else []
    for text, asset in (
        ("quality", "quality_report"),
        ("open loop", "open_loop_report"),
        ("closed loop", "closed_loop_report"),
        ("verdict", "retrain_decision"),
    ):
        day = found.day - timedelta(days=lifecycle.labels.delay_days if asset == "closed_loop_report" else 0)
        links.append((f"Asset: {text}", f"{dagster}/assets/{'/'.join(lifecycle.place(asset))}?partition={day}"))
    version = found.model["version"]
    if version:
        links.append((f"MLflow: version {version}", f"{around.mlflow_url}/#/models/{name}/versions/{version}"))
    return links


def _traffic(found: Figures) -> list[dict[str, Any]]:
    """The newest open and closed loop of the batch path and of online traffic, a row each; none without the latter."""
    day = found.newest_online
    if day is None and not found.online_closed:
        return []
    opened = {"batch": (found.open_loop, found.day), "online": (found.online_open, day)}
    closed = {"batch": found.closed_loop, "online": found.online_closed}
    rows = []
    for name, (documents, when) in opened.items():
        known = max(closed[name], default=None)
        rows.append(
            {
                "name": name,
                "day": when if when in documents else None,
                "open": documents.get(when) if when else None,
                "closed_day": known,
                "closed": closed[name][known] if known else None,
            }
        )
    return rows


def _by_version(closed: Sequence[dict[str, Any]], metric: str) -> list[tuple[int, float, int]]:
    """Version, mean of the metric over its days, and how many these are; only where there are two versions."""
    values: dict[int, list[float]] = {}
    for report in closed:
        if report["metrics"].get(metric) is not None and not report.get("learnt"):
            values.setdefault(report["model_version"], []).append(report["metrics"][metric])
    if len(values) < 2:
        return []
    return [(version, sum(some) / len(some), len(some)) for version, some in sorted(values.items())]
