"""The jobs of a lifecycle. Each is named `<lifecycle>_<workflow>` and says for whom and when it runs."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.uses import TABLES, WORKFLOWS
from mdlc_assets.workflows.narrow_jobs import NarrowJob

# What each workflow materialises. The partition is the day of the events, but for training, where it
# is the day as of which the model is made.
_DATA = (
    "raw",
    "validated",
    "quarantine",
    "daily_metrics",
    "quality_report",
    "feature_state",
    "features",
    "drift_profile",
)
_WORKFLOWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "labels": ("Brings in labels alone, as for days before the first model.", ("labels",)),
    "history": (
        "Brings days of data in, from raw files to validated rows and features. Takes any range.",
        _DATA,
    ),
    "rebuild": (
        "A file came late or was replaced: makes the features again of later days whose windows reach it.",
        ("feature_state", "features", "drift_profile"),
    ),
    "train": (
        "Trains as of a day, evaluates, and compares with the champion.",
        ("training_set", "candidate_model", "evaluation"),
    ),
    "backtest": (
        "Trains and judges as of each day of a range, as it would have been then, and lays the figures side by side. "
        "Approves nothing.",
        ("training_set", "candidate_model", "evaluation", "backtest"),
    ),
    "retrain": (
        "Trains as of a day because a monitor asked for it; approval by policy follows where declared.",
        ("training_set", "candidate_model", "evaluation"),
    ),
    "approve": (
        "Makes a version the champion: by policy the newest that passed its gate, or the one a person "
        "names in the launchpad: approver, reason, and version (0: the newest candidate).",
        ("champion",),
    ),
    "batch_inference": (
        "A new day: quality, features, scores, decisions, and what the monitors that need no labels say.",
        (*_DATA, "batch_predictions", "decisions", "open_loop_report", "retrain_decision", "daily_report"),
    ),
    "report": (
        "A day that quality stopped: makes its page and tells its owner; nothing else of it runs.",
        ("daily_report",),
    ),
    "monitor": (
        "Labels of a day have arrived: was the model right?",
        ("labels", "closed_loop_report", "online_closed_loop_report"),
    ),
    "real_time_inference": (
        "Changes the endpoint over to the champion, and fills the online store.",
        ("endpoint", "online_features"),
    ),
    "online_fill": ("Brings the online store up to the lake: new and changed days, labels.", ("online_features",)),
    "online_day": (
        "A day in real time, looked at afterwards: online against offline features, what the service decided, and "
        "whether its traffic is as on healthy days.",
        ("online_consistency", "online_decisions", "online_open_loop_report", "online_closed_loop_report"),
    ),
    "stream_lag": ("How far the reading of the stream is behind, and what could not be read.", ("stream_lag",)),
}


def job_name(lifecycle: LifecycleDeclaration, workflow: str) -> str:
    """The name of a lifecycle's workflow as a job."""
    return f"{lifecycle.name}_{workflow}"


def lifecycle_jobs(lifecycle: LifecycleDeclaration) -> dict[str, UnresolvedAssetJobDefinition]:
    """The jobs by workflow name."""
    jobs: dict[str, UnresolvedAssetJobDefinition] = {}
    for workflow, (description, names) in _WORKFLOWS.items():
        if workflow in ("labels", "monitor") and not lifecycle.labels.column:
            continue
        if workflow == "stream_lag" and lifecycle.stream is None:
            continue
        selected = [*(lifecycle.dataset.attributes if "raw" in names else ()), *names]
        if lifecycle.uses:
            not_its_own = {*TABLES, *lifecycle.dataset.attributes, "online_features", "online_closed_loop_report"}
            selected = [name for name in selected if name not in not_its_own]
            if workflow in WORKFLOWS or not (lifecycle.deployment.real_time or selected != ["endpoint"]):
                continue
        if lifecycle.model.gate.approval == "policy" and workflow in {"train", "retrain"}:
            selected.append("champion")
        if lifecycle.deployment.package_group and workflow in {"train", "retrain", "approve"}:
            selected.append("model_packages")
        if not lifecycle.labels.column and workflow == "online_day":
            selected.remove("online_closed_loop_report")
        if lifecycle.deployment.real_time is None and workflow == "real_time_inference":
            selected.remove("endpoint")
        selection: dg.AssetSelection = dg.AssetSelection.assets(*(asset_key(lifecycle, name) for name in selected))
        jobs[workflow] = NarrowJob(
            job_name(lifecycle, workflow),
            selection,
            description=description,
            # What the launchpad shows to begin with, so that a person fills in rather than writes.
            config=_approval(lifecycle) if workflow == "approve" else None,
            tags={"mdlc/lifecycle": lifecycle.name, "mdlc/workflow": workflow},
        )
    return jobs


def _approval(lifecycle: LifecycleDeclaration) -> dict[str, Any]:
    nothing = {"version": 0, "approver": "", "reason": "", "override": False}
    return {"ops": {f"{lifecycle.name}__champion": {"config": nothing}}}
