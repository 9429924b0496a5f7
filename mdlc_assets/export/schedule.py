"""What starts the workflows: EventBridge Scheduler each day, and a new champion for the endpoint."""

from __future__ import annotations

import json
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.places import Places

Request = dict[str, Any]
# An hour after the landing day's schedule of the platform itself, which makes the features.
_DAILY = "cron(0 10 * * ? *)"


def daily_schedule(lifecycle: LifecycleDeclaration, places: Places, machine: str) -> Request:
    """`create_schedule` of EventBridge Scheduler: the newest day each morning, tried for an hour."""
    return {
        "Name": f"{machine}-daily",
        "Description": f"{lifecycle.name}: scores the newest day with features, unless it has scores already.",
        "ScheduleExpression": _DAILY,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        "State": "DISABLED",
        "Target": {
            "Arn": places.machine(machine),
            "RoleArn": places.role_named("scheduler"),
            "Input": json.dumps({"started_by": "schedule"}),
            "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 5},
        },
    }


def champion_rule(lifecycle: LifecycleDeclaration, places: Places, machine: str) -> list[tuple[str, Request]]:
    """`put_rule` and `put_targets` of EventBridge: a new champion is deployed."""
    name = f"{machine}-champion"
    pattern = {
        "source": ["aws.ssm"],
        "detail-type": ["Parameter Store Change"],
        "detail": {"name": [places.champion(lifecycle.name)], "operation": ["Create", "Update"]},
    }
    target = {
        "Id": "machine",
        "Arn": places.machine(machine),
        "RoleArn": places.role_named("scheduler"),
        "Input": json.dumps({"started_by": "champion"}),
    }
    rule = {
        "Name": name,
        "Description": f"{lifecycle.name}: a new champion goes behind the endpoint.",
        "EventPattern": json.dumps(pattern),
        "State": "DISABLED",
    }
    return [("put_rule", rule), ("put_targets", {"Rule": name, "Targets": [target]})]
