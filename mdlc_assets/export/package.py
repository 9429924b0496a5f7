"""All files of an export: the machines, what starts them, and one CloudFormation stack that has both."""

from __future__ import annotations

import json
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.batch import batch_machine
from mdlc_assets.export.language import Form
from mdlc_assets.export.places import PlaceError, Places
from mdlc_assets.export.real_time import real_time_machine
from mdlc_assets.export.schedule import champion_rule, daily_schedule
from mdlc_assets.export.training import training_machine
from mdlc_assets.training.wire import reads_records_only

Document = dict[str, Any]


def machines(lifecycle: LifecycleDeclaration, places: Places, form: Form) -> dict[str, Document]:
    """The state machines by name; the endpoint's only where one is declared. Raises `PlaceError`."""
    _refuse(lifecycle)
    made = {"training": training_machine(lifecycle, places, form), "batch": batch_machine(lifecycle, places, form)}
    if lifecycle.deployment.real_time is not None:
        made["real-time"] = real_time_machine(lifecycle, places, form)
    stem = f"{places.prefix}-{lifecycle.name}".replace("_", "-")
    return {f"{stem}-{what}": document for what, document in made.items()}


def _refuse(lifecycle: LifecycleDeclaration) -> None:
    """What runs make and a state machine does not. Raises `PlaceError`."""
    model, real_time = lifecycle.model, lifecycle.deployment.real_time
    if model.algorithm.startswith("arn:"):
        raise PlaceError(
            f"model.algorithm: {model.algorithm} makes model packages, no models of an image. "
            "Mend: deploy it from the Marketplace's own page."
        )
    if reads_records_only(model.algorithm):
        raise PlaceError(
            f"model.algorithm: {model.algorithm} is sent RecordIO, which runs write and a state machine does not. "
            "Mend: use linear-learner or xgboost, or stay on Dagster."
        )
    if model.search:
        raise PlaceError(
            f"model.search: a state machine trains once, not {model.search.trials} times. "
            "Mend: write what a search has found under hyperparameters."
        )
    if model.calibrate:
        raise PlaceError(
            f"model.calibrate: a state machine holds no days out (found {model.calibrate.days}). "
            "Mend: leave it out, or stay on Dagster."
        )
    if real_time and real_time.multi_model:
        raise PlaceError(
            "deployment.real_time.multi_model: a state machine rolls out endpoints of one model (found "
            f"{real_time.multi_model.endpoint!r}). Mend: leave it out, or stay on Dagster."
        )


def files(lifecycle: LifecycleDeclaration, places: Places, form: Form) -> dict[str, Document]:
    """Every file by its name."""
    made = machines(lifecycle, places, form)
    written = {f"{name}.asl.json": document for name, document in made.items()}
    batch = next(name for name in made if name.endswith("-batch"))
    schedule = daily_schedule(lifecycle, places, batch)
    written[f"{batch}.starts.json"] = {"create_schedule": schedule}
    rule: Document = {}
    endpoint = next((name for name in made if name.endswith("-real-time")), "")
    if endpoint:
        rule = dict(champion_rule(lifecycle, places, endpoint))
        written[f"{endpoint}.starts.json"] = rule
    written["template.json"] = _stack(lifecycle, places, made, schedule, rule)
    return written


def _stack(
    lifecycle: LifecycleDeclaration, places: Places, made: dict[str, Document], schedule: Document, rule: Document
) -> Document:
    resources: Document = {}
    logical = {name: "".join(part.capitalize() for part in name.split("-")) for name in made}
    for name, document in made.items():
        resources[f"{logical[name]}Log"] = {
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {"LogGroupName": f"/aws/vendedlogs/states/{name}", "RetentionInDays": 365},
        }
        group = {"Fn::GetAtt": [f"{logical[name]}Log", "Arn"]}
        resources[logical[name]] = {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "StateMachineName": name,
                "RoleArn": places.role_named("states"),
                "Definition": document,
                # Inputs and answers may name people: the log has what failed, not what was said.
                "LoggingConfiguration": {
                    "Level": "ERROR",
                    "IncludeExecutionData": False,
                    "Destinations": [{"CloudWatchLogsLogGroup": {"LogGroupArn": group}}],
                },
            },
        }
    resources["Daily"] = {"Type": "AWS::Scheduler::Schedule", "Properties": schedule}
    if rule:
        asked = rule["put_rule"]
        resources["Champion"] = {
            "Type": "AWS::Events::Rule",
            "Properties": {
                **asked,
                "EventPattern": json.loads(asked["EventPattern"]),
                "Targets": rule["put_targets"]["Targets"],
            },
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"The workflows of {lifecycle.name} as state machines. Written by `mdlc export step-functions`.",
        "Resources": resources,
    }
