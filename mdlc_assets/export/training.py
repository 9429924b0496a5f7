"""Training as a state machine: train, wait for a person's approval, create the model, make it the champion.

An execution's input: `as_of`, and the addresses of the channels `train` and (when the declaration refits) `refit`.
Whoever approves sends the task's token back with {"approved": true or false, "who": ..., "reason": ...}.
"""

from __future__ import annotations

from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.algorithms import BUILT_IN as BUILT_IN_NAMES
from mdlc_assets.export.language import Form, Machine, Reference, all_there, caught, named, with_references
from mdlc_assets.export.places import Places
from mdlc_assets.resources.sagemaker.requests import (
    Channel,
    TrainingPlan,
    model_request,
    training_request,
)
from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.candidate import model_features
from mdlc_assets.training.on_sagemaker import job_hyperparameters, machines_of

_DAY = 86_400
_HOUR = 3600


def training_machine(lifecycle: LifecycleDeclaration, places: Places, form: Form) -> dict[str, Any]:
    """The state machine as a document."""
    request, channels = _training(lifecycle, places)
    limits = request["StoppingCondition"]
    # Starting, downloading and uploading are not part of the runtime.
    seconds = limits.get("MaxWaitTimeInSeconds", limits["MaxRuntimeInSeconds"]) + _HOUR
    machine = Machine(
        f"{places.prefix}-{lifecycle.name}-training".replace("_", "-"),
        f"{lifecycle.name}: trains as of a day, waits for approval, creates the model.",
        places,
        form,
        seconds + places.approval_days * _DAY + _HOUR,
    )
    given = ["$.as_of", *(f"$.{channel}" for channel in channels)]
    machine.add(
        "Is the input there?",
        {"Type": "Choice", "Choices": [{**all_there(*given), "Next": "Train"}], "Default": "Input is missing"},
    )
    wanted = ", ".join(path.removeprefix("$.") for path in given)
    machine.fail("Input is missing", "InputMissing", f"the input lacks one of {wanted}. Mend: give all of them.")
    machine.job("Train", "Training", request, seconds=seconds, at="$.training", then="Wait for approval")
    _approval(machine, lifecycle, places)
    name = named(lifecycle.name, "model")
    machine.call(
        "Create the model", "sagemaker", "createModel", _model(lifecycle, places, name), then="Make it champion"
    )
    champion = {"Name": places.champion(lifecycle.name), "Value": name, "Type": "String", "Overwrite": True}
    machine.call("Make it champion", "ssm", "putParameter", champion, then="Approved and created")
    machine.add("Approved and created", {"Type": "Succeed"})
    return machine.document()


def image_of(lifecycle: LifecycleDeclaration, places: Places) -> str:
    """The image that trains and serves, or the ARN of a Marketplace algorithm."""
    model = lifecycle.model
    if model.algorithm in BUILT_IN_NAMES:
        return BUILT_IN[model.algorithm].image(model.sagemaker.image_region or places.region)
    return model.algorithm if model.algorithm.startswith("arn:") else model.sagemaker.image or places.image


def _training(lifecycle: LifecycleDeclaration, places: Places) -> tuple[dict[str, Any], list[str]]:
    """The request, and the channels whose addresses the input gives. Only our own image knows the second one."""
    model, asked = lifecycle.model, lifecycle.model.sagemaker
    bare = model.algorithm in BUILT_IN_NAMES or model.algorithm.startswith("arn:")
    channels = ["train", "refit"] if model.refit and not bare and not asked.image else ["train"]
    built_in = BUILT_IN.get(model.algorithm)
    csv = built_in.content_type("text/csv") if built_in else "text/csv"
    kind = csv if bare else "application/x-parquet"
    plan = TrainingPlan(
        named(lifecycle.name, "train"),
        image_of(lifecycle, places),
        places.role,
        [Channel(name, Reference(f"$.{name}"), kind) for name in channels],
        f"{places.bucket}/{lifecycle.name}/models",
        job_hyperparameters(model, lifecycle.labels.column, model_features(lifecycle)),
        machines_of(model),
        checkpoints=f"{places.bucket}/{lifecycle.name}/checkpoints/{lifecycle.fingerprint('model')}"
        if asked.spot
        else "",
        tags={"mdlc:lifecycle": lifecycle.name, "mdlc:as-of": Reference("$.as_of")},
    )
    return training_request(plan), channels


def _approval(machine: Machine, lifecycle: LifecycleDeclaration, places: Places) -> None:
    asked = {
        "lifecycle": lifecycle.name,
        "as_of": Reference("$.as_of"),
        "training_job": Reference("$.training.TrainingJobArn"),
        "model": Reference("$.training.ModelArtifacts.S3ModelArtifacts"),
        "task_token": Reference("$$.Task.Token"),
    }
    machine.add(
        "Wait for approval",
        {
            "Type": "Task",
            "Resource": f"arn:{places.partition}:states:::sqs:sendMessage.waitForTaskToken",
            "Parameters": with_references({"QueueUrl": places.approvals, "MessageBody": asked}),
            "TimeoutSeconds": places.approval_days * _DAY,
            "Catch": caught(),
            "ResultPath": "$.approval",
            "Next": "Is it approved?",
        },
    )
    machine.add(
        "Is it approved?",
        {
            "Type": "Choice",
            "Choices": [
                {"Not": all_there("$.approval.approved", "$.approval.who"), "Next": "The answer is not whole"},
                {"Variable": "$.approval.approved", "BooleanEquals": True, "Next": "Create the model"},
                {"Variable": "$.approval.reason", "IsPresent": True, "Next": "Rejected"},
            ],
            "Default": "The answer is not whole",
        },
    )
    text = "States.Format('{} rejected the model: {}', $.approval.who, $.approval.reason)"
    machine.fail("Rejected", "Rejected", Reference(text))
    mend = 'answer {"approved": true, "who": "...", "reason": "..."}'
    machine.fail("The answer is not whole", "Unanswered", f"who approved or rejected is not said. Mend: {mend}.")


def _model(lifecycle: LifecycleDeclaration, places: Places, name: Reference) -> dict[str, Any]:
    return model_request(
        name,
        image_of(lifecycle, places),
        Reference("$.training.ModelArtifacts.S3ModelArtifacts"),
        places.role,
        tagged={
            "mdlc:lifecycle": lifecycle.name,
            "mdlc:as-of": Reference("$.as_of"),
            "mdlc:approved-by": Reference("$.approval.who"),
        },
    )
