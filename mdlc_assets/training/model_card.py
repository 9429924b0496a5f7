"""What is said about a version where people look it up: in MLflow, in Dagster, in a file beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training import figures, number_figures
from mdlc_assets.training.candidate import Judgement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def headline(document: Mapping[str, Any], as_of: object = "") -> str:
    """The verdict in a sentence, and what it means for what serves."""
    which = f"Version {document['version']}" + (f" as of {as_of}" if as_of else "")
    beside = document["champion"]
    stays = f" Champion version {beside['version']} stays in service." if beside else ""
    if document["passed"]:
        return f"{which} passed its gate and may be approved."
    return f"{which} is REFUSED by its gate and does not serve.{stays}"


def verdict_text(lifecycle: LifecycleDeclaration, document: Mapping[str, Any], as_of: object) -> str:
    """For the asset check: the verdict, its reasons, and when it refuses, what to do and whom to ask."""
    lines = [headline(document, as_of), *(f"- {reason}" for reason in document["reasons"])]
    if not document["passed"]:
        lines.append(
            f"Nothing has to be done tonight. By day {lifecycle.owners.training} looks at the evaluation; who must "
            f"have it serve all the same runs `mdlc approve {document['version']} --override --reason ...`."
        )
    return "\n".join(lines)


def model_card(lifecycle: LifecycleDeclaration, document: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """A page in Markdown."""
    lines = [
        f"**{headline(document, tags.get('mdlc.as_of', ''))}**",
        "",
        *(f"- {reason}" for reason in document["reasons"]),
        "",
        f"{lifecycle.description} Owner: {lifecycle.owners.model}.",
        "",
        "| | |",
        "|---|---|",
        f"| algorithm | {lifecycle.model.algorithm} |",
        f"| judged on | {document['test']}: {document['test_rows']:,} rows{_counted(document)} |",
        f"| the judged model learnt from | {document['train']}: {document['train_rows']:,} rows |",
        f"| the model that serves learnt from | {tags.get('mdlc.refit', document['train'])} |",
        "",
        "**Metrics**",
        "",
        metrics_table(document),
    ]
    if document["slices"]:
        lines += ["", "**Slices**", "", slices_table(document, lifecycle.model.gate.compare_by)]
    lines += _thresholds(document["thresholds"])
    return "\n".join(lines)


def metrics_table(document: Mapping[str, Any]) -> str:
    """Metrics with their intervals, beside the champion's on the same events."""
    declared = document["intervals_by"]
    champion = document["champion"]
    beside = f" champion {champion['version']} |" if champion else ""
    head = f"| metric | value | {declared['level']:.0%} interval by {declared['by']} |{beside}"
    lines = [head, "|---|---|---|" + ("---|" if champion else "")]
    for name, value in document["metrics"].items():
        theirs = f" {_number(champion['metrics'].get(name))} |" if champion else ""
        lines.append(f"| {name} | {_number(value)} | {_interval(document['intervals'].get(name))} |{theirs}")
    ratio = document["calibration"]["observed_to_expected"]
    said = "positives for each expected" if document["positives"] is not None else "came for each foretold"
    lines.append(f"| {said} | {_number(ratio)} | |" + (" |" if champion else ""))
    return "\n".join(lines)


def slices_table(document: Mapping[str, Any], metric: str) -> str:
    """The compared metric on each slice."""
    counted = ["positives"] if document["positives"] is not None else []
    head = ["slice", "rows", *counted, metric, "interval", "champion"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, part in {"all": {**document, "rows": document["test_rows"]}, **document["slices"]}.items():
        theirs = (part.get("champion") or {}).get("metrics", {}).get(metric)
        value, interval = _number(part["metrics"].get(metric)), _interval(part["intervals"].get(metric))
        rows, positives = f"{part['rows']:,}", [f"{part['positives']:,}"] if counted else []
        lines.append(f"| {' | '.join([name, rows, *positives, value, interval, _number(theirs)])} |")
    return "\n".join(lines)


def card_files(lifecycle: LifecycleDeclaration, found: Judgement, card: str) -> dict[str, bytes]:
    """The evaluation as files beside the model: the page, the document, the plots."""
    document = found.document
    files = {
        "evaluation/README.md": card.encode(),
        "evaluation/evaluation.json": json.dumps(document, indent=1, sort_keys=True).encode(),
        **{
            f"evaluation/{title.replace(' ', '_')}.png": figures.as_png(figure)
            for title, figure in evaluation_figures(found).items()
        },
    }
    by_slice = figures.slices(document, lifecycle.model.gate.compare_by)
    return files | ({"evaluation/slices.png": figures.as_png(by_slice)} if by_slice else {})


def evaluation_figures(found: Judgement) -> dict[str, Figure]:
    """The plots of an evaluation by title: of scores, or of foretold numbers."""
    document = found.document
    if document["positives"] is None:
        return {
            "foretold and actual": number_figures.foretold_and_actual(document["calibration"]),
            "by day": number_figures.by_day(found.test, found.rival),
        }
    return {
        "precision recall": figures.precision_recall(found.test, found.rival),
        "reliability": figures.reliability_curve(document["calibration"]),
    }


def _counted(document: Mapping[str, Any]) -> str:
    return "" if document["positives"] is None else f", {document['positives']:,} positives"


def _thresholds(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if found.get("cost"):
        by = found["cost"]
        honest = by["cost_a_day"] if by["cost_a_day"] is not None else by["cost_a_day_same_days"]
        lines.append(
            f"- least cost from a score of {by['threshold']:.4f}: {honest:,.0f} a day, against "
            f"{by['cost_a_day_without_model']:,.0f} without a model; {by['alarms_a_day']:.1f} alarms a day"
        )
    if found.get("capacity"):
        by = found["capacity"]
        lines.append(
            f"- {by['capacity']} entities a day are filled from a score of {by['threshold']:.4f}: "
            f"{_number(by['share_of_entities_right'])} of them are right; {by['entities_on_the_busiest_day']} on the "
            "busiest day"
        )
    return ["", "**Thresholds**", "", *lines] if lines else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def _interval(interval: Any) -> str:
    return "" if interval is None else f"{_number(interval[0])} to {_number(interval[1])}"
