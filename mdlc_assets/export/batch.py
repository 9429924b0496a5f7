"""Batch inference as a state machine: which day, predict with the champion, monitor the scores.

An execution's input may name the `day`; without one it is the newest day with features. A day that has scores is
left as it is, unless the input names it.
"""

from __future__ import annotations

from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.language import Form, Machine, Reference, all_there, named
from mdlc_assets.export.places import Places
from mdlc_assets.resources.sagemaker.requests import Request, TransformPlan, tags, transform_request

_HOUR = 3600
_PROGRAM = "mdlc_assets.export.watch_scores"
# What the program's message begins with when the scores are not what they use to be.
ALARM = "alarm"


def batch_machine(lifecycle: LifecycleDeclaration, places: Places, form: Form) -> dict[str, Any]:
    """The state machine as a document."""
    machine = Machine(
        f"{places.prefix}-{lifecycle.name}-batch".replace("_", "-"),
        f"{lifecycle.name}: scores a day with the champion, and compares the scores with those of earlier days.",
        places,
        form,
        12 * _HOUR,
    )
    named_day = {**all_there("$.day"), "Next": "Which model?"}
    machine.add("Is a day named?", {"Type": "Choice", "Choices": [named_day], "Default": "This year's start"})
    _newest_day(machine, lifecycle, places)
    champion = {"Name": places.champion(lifecycle.name)}
    selected = {"model.$": "$.Parameter.Value"}
    machine.call(
        "Which model?",
        "ssm",
        "getParameter",
        champion,
        then="Predict",
        ResultSelector=selected,
        ResultPath="$.champion",
    )
    machine.job(
        "Predict", "Transform", _transform(lifecycle, places), seconds=6 * _HOUR, at="$.predicted", then="Monitor"
    )
    request = _monitoring(lifecycle, places)
    machine.job(
        "Monitor", "Processing", request, seconds=2 * _HOUR, at="$.monitored", then="What does the monitor say?"
    )
    said = {"Variable": "$.monitored.ExitMessage", "StringMatches": f"{ALARM}*"}
    alarmed = {"And": [all_there("$.monitored.ExitMessage"), said], "Next": "Tell of the alarm"}
    machine.add("What does the monitor say?", {"Type": "Choice", "Choices": [alarmed], "Default": "Done"})
    text = f"States.Format('{lifecycle.name}, {{}}: {{}}', $.day, $.monitored.ExitMessage)"
    told = {"TopicArn": places.alerts, "Message": Reference(text)}
    machine.call("Tell of the alarm", "sns", "publish", told, then="Done")
    machine.add("Done", {"Type": "Succeed"})
    return machine.document()


def _newest_day(machine: Machine, lifecycle: LifecycleDeclaration, places: Places) -> None:
    """Days are folders. Listing from last year's start on keeps within one answer of a thousand."""
    year = "States.StringToJson(States.ArrayGetItem(States.StringSplit($$.Execution.StartTime, '-'), 0))"
    year_before = {"year.$": f"States.MathAdd({year}, -1)"}
    listing = "List the days with features"
    machine.add(
        "This year's start", {"Type": "Pass", "Parameters": year_before, "ResultPath": "$.from", "Next": listing}
    )
    bucket, prefix = places.in_bucket(places.lake)
    days = f"{prefix}{'/'.join(lifecycle.place('features'))}/date="
    after = Reference(f"States.Format('{days}{{}}', $.from.year)")
    machine.call(
        listing,
        "s3",
        "listObjectsV2",
        {"Bucket": bucket, "Prefix": days, "Delimiter": "/", "StartAfter": after},
        then="Are there days?",
        ResultPath="$.listed",
    )
    some = {**all_there("$.listed.CommonPrefixes[0]"), "Next": "The newest day"}
    machine.add("Are there days?", {"Type": "Choice", "Choices": [some], "Default": "No day has features"})
    where = f"s3://{bucket}/{days}"
    machine.fail("No day has features", "NoDay", f"nothing lies below {where}. Mend: run the features first.")
    last = "States.ArrayGetItem($.listed.CommonPrefixes[-1:].Prefix, 0)"
    text = f"States.ArrayGetItem(States.StringSplit({last}, '=/'), {days.count('/') + days.count('=')})"
    kept, prefix = places.in_bucket(places.bucket)
    machine.add(
        "The newest day",
        {"Type": "Pass", "Parameters": {"day.$": text}, "ResultPath": "$.newest", "Next": "Has it scores?"},
    )
    machine.call(
        "Has it scores?",
        "s3",
        "listObjectsV2",
        {
            "Bucket": kept,
            "Prefix": Reference(f"States.Format('{prefix}{lifecycle.name}/scores/date={{}}/', $.newest.day)"),
            "MaxKeys": 1,
        },
        then="Were there any?",
        ResultSelector={"count.$": "$.KeyCount"},
        ResultPath="$.scores",
    )
    done = {"Variable": "$.scores.count", "NumericGreaterThan": 0, "Next": "Done"}
    machine.add("Were there any?", {"Type": "Choice", "Choices": [done], "Default": "Take the newest day"})
    machine.add(
        "Take the newest day",
        {"Type": "Pass", "Parameters": {"day.$": "$.newest.day"}, "Next": "Which model?"},
    )


def _transform(lifecycle: LifecycleDeclaration, places: Places) -> Request:
    features = "/".join(lifecycle.place("features"))
    source = f"States.Format('{places.lake}/{features}/date={{}}/', $.day)"
    return transform_request(
        TransformPlan(
            named(lifecycle.name, "predict"),
            Reference("$.champion.model"),
            Reference(source),
            Reference(f"States.Format('{places.bucket}/{lifecycle.name}/scores/date={{}}', $.day)"),
            tags={"mdlc:lifecycle": lifecycle.name, "mdlc:day": Reference("$.day")},
        )
    )


def _monitoring(lifecycle: LifecycleDeclaration, places: Places) -> Request:
    """`create_processing_job` of the program that compares a day's scores with those before."""
    inputs, folder = "/opt/ml/processing/input", "/opt/ml/processing/output"
    open_loop = lifecycle.monitoring.open_loop
    return {
        "ProcessingJobName": named(lifecycle.name, "monitor"),
        "RoleArn": places.role,
        "AppSpecification": {
            "ImageUri": places.image,
            "ContainerEntrypoint": ["python", "-m", _PROGRAM],
            "ContainerArguments": [f"--scores={inputs}", f"--report={folder}"],
        },
        "Environment": {
            "MDLC_DAY": Reference("$.day"),
            "MDLC_REFERENCE_DAYS": str(open_loop.reference_days),
            "MDLC_ALARM_DISTANCE": str(open_loop.alarm_distance),
        },
        "ProcessingInputs": [
            {
                "InputName": "scores",
                "S3Input": {
                    "S3Uri": f"{places.bucket}/{lifecycle.name}/scores/",
                    "LocalPath": inputs,
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "report",
                    "S3Output": {
                        "S3Uri": Reference(
                            f"States.Format('{places.bucket}/{lifecycle.name}/score_reports/date={{}}', $.day)"
                        ),
                        "LocalPath": folder,
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": _HOUR},
        "Tags": tags({"mdlc:lifecycle": lifecycle.name}),
    }
