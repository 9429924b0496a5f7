"""Runs state machines: moto's interpreter over HTTP, with SageMaker's local form behind it, which really does the work.

moto knows no `.sync` for SageMaker. What it lacks is the waiting, and that is added here as AWS documents it: the
task ends with the job's description, or with States.TaskFailed and the description as its cause.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import httpx
import moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk as by_sdk
import moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_unsupported as optimised
import moto.stepfunctions.parser.backend.execution_worker as worker
import pytest
from botocore.exceptions import ClientError
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import ResourceCondition
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.utils.encoding import to_json_str

from mdlc_assets.resources.sagemaker.client import SageMaker

ACCOUNT = "123456789012"
REGION = "us-east-1"
PROCESSING = {"create_processing_job", "describe_processing_job"}
_LOCAL = {"sagemaker": "sagemaker", "cloudwatch": "cloudwatch", "applicationautoscaling": "application-autoscaling"}
_PATIENCE = 120


class Interpreter:
    """One account on moto's server, SageMaker's part of it done by `sagemaker`."""

    def __init__(self, address: str, sagemaker: SageMaker, patch: pytest.MonkeyPatch) -> None:
        self.address, self.sagemaker = address, sagemaker
        self.fault: Callable[[str, str], None] = lambda service, method: None
        """Called before each call of a machine by the AWS SDK; what it raises is the call's answer."""
        for name, value in {
            "MOTO_PORT": address.rsplit(":", 1)[1],
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }.items():
            patch.setenv(name, value)
        httpx.post(f"{address}/moto-api/config", json={"stepfunctions": {"execute_state_machine": True}})
        # AWS names a service's general error so, where moto keeps the name in lower case.
        for name in ("SageMaker", "CloudWatch", "ApplicationAutoScaling", "Ssm", "S3", "Sns"):
            patch.setitem(by_sdk._SERVICE_ERROR_NAMES, name.lower(), name)
        for module in (by_sdk, optimised):
            patch.setattr(module, "boto_client_for", self._client(module.boto_client_for))
        # AWS gives the start as text (ISO 8601); moto, against its own declaration, as a datetime.
        usual = worker.ExecutionData
        patch.setattr(worker, "ExecutionData", lambda **more: usual(**more | {"StartTime": str(more["StartTime"])}))
        both = {ResourceCondition.WaitForTaskToken, ResourceCondition.Sync}
        patch.setattr(optimised, "_SUPPORTED_INTEGRATION_PATTERNS", both)
        patch.setattr(optimised.StateTaskServiceUnsupported, "_build_sync_resolver", self._resolver())
        self.states = boto3.client("stepfunctions")

    def start(self, document: dict[str, Any], given: dict[str, Any]) -> str:
        """Begin an execution: its ARN."""
        made = self.states.create_state_machine(
            name=f"m-{uuid.uuid4().hex}",
            definition=json.dumps(document),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/mdlc-states",
        )
        return self.states.start_execution(stateMachineArn=made["stateMachineArn"], input=json.dumps(given))[
            "executionArn"
        ]

    def ended(self, execution: str) -> dict[str, Any]:
        """The execution once it has ended."""
        return self.until(execution, lambda found: found["status"] != "RUNNING")

    def until(self, execution: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The execution once a condition holds."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            found = self.states.describe_execution(executionArn=execution)
            if holds(found):
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {_PATIENCE} s: {found}")

    def visited(self, execution: str) -> list[str]:
        """The names of the states that were entered, in order."""
        pages = self.states.get_paginator("get_execution_history").paginate(executionArn=execution)
        entered = (event.get("stateEnteredEventDetails") for page in pages for event in page["events"])
        return [event["name"] for event in entered if event]

    def asked(self, execution: str, action: str) -> dict[str, Any]:
        """The last request for an action that the execution made."""
        pages = self.states.get_paginator("get_execution_history").paginate(executionArn=execution)
        scheduled = (event.get("taskScheduledEventDetails") for page in pages for event in page["events"])
        found = [one for one in scheduled if one and one["resource"].startswith(action)]
        return json.loads(found[-1]["parameters"])

    def _client(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        def client_for(*, service: str, **more: Any) -> Any:
            service = "application-autoscaling" if service == "applicationautoscaling" else service
            there = usual(service=service, **more)
            local = self.sagemaker.client(service) if service in _LOCAL.values() else there  # type: ignore[arg-type]
            return _Split(service, local, there, self.fault)

        return client_for

    def _resolver(self) -> Callable[..., Callable[[], Any]]:
        def build(task: Any, env: Any, **more: Any) -> Callable[[], Any]:
            noun = task.resource.api_action.removeprefix("create").removesuffix("Job")
            name = more["normalised_parameters"][f"{noun}JobName"]
            client = optimised.boto_client_for(service="sagemaker", region=REGION, state_credentials=None)
            env.stack.pop()

            def look() -> Any:
                found = getattr(client, f"describe_{noun.lower()}_job")(**{f"{noun}JobName": name})
                found.pop("ResponseMetadata", None)
                status = found[f"{noun}JobStatus"]
                if status in ("Failed", "Stopped"):
                    said = TaskFailedEventDetails(
                        resource=task._get_sfn_resource(),
                        resourceType=task._get_sfn_resource_type(),
                        error="States.TaskFailed",
                        cause=to_json_str(found),
                    )
                    raise FailureEventException(
                        FailureEvent(
                            env=env,
                            error_name=StatesErrorName(typ=StatesErrorNameType.StatesTaskFailed),
                            event_type=HistoryEventType.TaskFailed,
                            event_details=EventDetails(taskFailedEventDetails=said),
                        )
                    )
                return found if status == "Completed" else None

            return look

        return build


class _Split:
    """SageMaker's local form, but for processing jobs, which only moto has. Answers are JSON."""

    def __init__(self, service: str, local: Any, there: Any, fault: Callable[[str, str], None]) -> None:
        self.service, self.local, self.there, self.fault = service, local, there, fault

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.there if name in PROCESSING else self.local, name)

        def call(**request: Any) -> Any:
            try:
                self.fault(self.service, name)
                return json.loads(to_json_str(method(**request) or {}))
            except ClientError as error:
                said = error.response.setdefault("ResponseMetadata", {})  # type: ignore[typeddict-item]
                said.setdefault("RequestId", "local")
                said.setdefault("HTTPStatusCode", 400)
                raise

        return call
