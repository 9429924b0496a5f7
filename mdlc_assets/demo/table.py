"""The Fraud Detection Handbook's baseline table, out of the platform's own training and evaluation assets."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from mdlc_assets.declaration.model import Gate, Model, Windows
from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.demo.feed import FolderFeed
from mdlc_assets.demo.loop import Loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle

AS_OF = date(2018, 8, 21)
"""Trains on 2018-07-25 to 07-31, leaves a week out, tests on 08-08 to 08-14: the handbook's chapter 3."""
METRICS = ("auc_roc", "average_precision", "card_precision_100")


@dataclass(frozen=True)
class Row:
    """A classifier of the table, with the published figures and those that current libraries give."""

    name: str
    algorithm: str
    hyperparameters: dict[str, Any]
    published: tuple[float, float, float]
    recomputed: tuple[float, float, float]


ROWS = (
    Row("logistic regression", "logistic_regression", {}, (0.871, 0.606, 0.291), (0.870, 0.605, 0.291)),
    Row("decision tree, depth 2", "decision_tree", {"max_depth": 2}, (0.763, 0.496, 0.241), (0.763, 0.496, 0.241)),
    Row("decision tree", "decision_tree", {}, (0.788, 0.309, 0.243), (0.788, 0.309, 0.241)),
    Row("random forest", "random_forest", {"n_jobs": -1}, (0.867, 0.658, 0.287), (0.867, 0.658, 0.287)),
    Row("XGBoost, today's defaults", "xgboost", {}, (0.862, 0.639, 0.273), (0.838, 0.564, 0.246)),
    Row(
        "XGBoost, defaults of that time",
        "xgboost",
        {"tree_method": "exact", "base_score": 0.5},
        (0.862, 0.639, 0.273),
        (0.862, 0.639, 0.273),
    ),
)


def handbook_table(lifecycle: ModelLifecycle, source: Path, home: Home) -> dict[str, dict[str, float]]:
    """The metrics of each classifier by name. Everything is made below `home`, from the files in `source`.

    Raw files to features are brought in once; then the declared model is exchanged for each classifier in turn,
    and `training_set`, `candidate_model` and `evaluation` are materialised as of `AS_OF`.
    """
    declaration = lifecycle.declaration
    found: dict[str, dict[str, float]] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        bring_in(lifecycle, source, home, instance, AS_OF)
        for row in ROWS:
            loop = loop_on(ModelLifecycle(declaration.model_copy(update={"model": _model(row)})), home, instance)
            run_well(loop, "train", AS_OF)
            document = loop.resources["lake"].documents(declaration.name, "evaluation").read_document(AS_OF)
            found[row.name] = document["metrics"]
    return found


def computed_table(lifecycle: ModelLifecycle, source: Path) -> dict[str, dict[str, float]]:
    """The table, made in a folder of its own."""
    status = Console(stderr=True).status("raw files to features, then six classifiers")
    with tempfile.TemporaryDirectory() as folder, status:
        return handbook_table(lifecycle, source, Home(folder))


def print_table(found: dict[str, dict[str, float]]) -> None:
    """Print the table beside the published one."""
    table = Table("classifier", "", *METRICS, title="Train 2018-07-25 to 07-31, test 2018-08-08 to 08-14")
    for row in ROWS:
        table.add_row(row.name, "platform", *(f"{found[row.name][metric]:.3f}" for metric in METRICS))
        table.add_row("", "recomputed", *(f"{value:.3f}" for value in row.recomputed), style="dim")
        table.add_row("", "published", *(f"{value:.3f}" for value in row.published), style="dim", end_section=True)
    Console().print(table)


def _model(row: Row) -> Model:
    return Model(
        algorithm=row.algorithm,
        hyperparameters=row.hyperparameters,
        standardise=True,
        windows=Windows(train_days=7, gap_days=7, test_days=7),
        refit=False,
        entity="customer_id",
        leave_out_known=True,
        # Nothing here shall become a champion to compare with.
        gate=Gate(floors={}, approval="person"),
    )


def bring_in(lifecycle: ModelLifecycle, source: Path, home: Home, instance: dg.DagsterInstance, through: date) -> None:
    """Raw files to labels, validated rows and features, for all days of the folder `source` up to `through`."""
    feed = FolderFeed(home.landing, lifecycle.declaration, source)
    days = [day for day in feed.days if day <= through]
    for day in days:
        feed.deliver(day)
    for workflow in ("labels", "history"):
        run_well(loop_on(lifecycle, home, instance), workflow, days[0], days[-1])


def loop_on(lifecycle: ModelLifecycle, home: Home, instance: dg.DagsterInstance) -> Loop:
    """The jobs of a lifecycle on state below `home`."""
    return Loop(lifecycle.declaration, build_definitions([lifecycle], home=home), embedded_resources(home), instance)


def run_well(loop: Loop, workflow: str, first: date, last: date | None = None) -> None:
    """Run a workflow. Raises `RuntimeError` when it fails."""
    ran = loop.run(workflow, first, last)
    if not ran.success:
        raise RuntimeError(ran.error)
