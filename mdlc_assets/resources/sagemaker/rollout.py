"""A version put behind an endpoint, from its requests to the verdict, on AWS or on this machine alike.

What is not used any more is deleted at the end: models and endpoint configurations, but for those that serve
and those that served before. An endpoint that failed at its first start is taken down: it would be billed.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import (
    PREVIOUS_TAG,
    EndpointPlan,
    unscaled_request,
)
from mdlc_assets.resources.sagemaker.faults import AnswerError, ServiceError, absent
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.marketplace import made_package
from mdlc_assets.resources.sagemaker.requests import Request

_MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_AWS_PERIODS = (10, 20, 30)
_SPARE_SECONDS = 1800.0
_ROLLED_BACK = "rolled back: "
ASKING = Pace(longest_seconds=5.0, throttled_seconds=30.0)

Verdict = Literal["unchanged", "deployed", "rolled back", "refused"]


class PeriodError(ValueError):
    """A period that CloudWatch does not take."""


class RivalError(ServiceError):
    """Somebody else changes the same endpoint."""


class MoveError(ServiceError):
    """An endpoint that cannot become what the declaration says."""


@dataclass(frozen=True)
class RolledOut:
    """How a rollout ended: which configuration serves now, which before, and why in words."""

    verdict: Verdict
    config: str
    before: str
    why: str


def served_version(sagemaker: SageMaker, lifecycle: str) -> int | None:
    """The registered version that an endpoint serves; None where nothing serves."""
    jobs = Jobs(sagemaker.client("sagemaker"), ASKING)
    try:
        found = jobs.call("describe_endpoint", {"EndpointName": lifecycle.replace("_", "-")})
        if found["EndpointStatus"] in ("Failed", "Creating", "Deleting", "OutOfService"):
            return None
        config = jobs.call("describe_endpoint_config", {"EndpointConfigName": found["EndpointConfigName"]})
        model = jobs.call("describe_model", {"ModelName": config["ProductionVariants"][0]["ModelName"]})
    except ClientError as error:
        if absent(error):
            return None
        raise
    version = model["PrimaryContainer"].get("Environment", {}).get("MDLC_MODEL_VERSION")
    return int(version) if version else None


def ask_endpoint(sagemaker: SageMaker, lifecycle: str, content: dict[str, Any], target: str = "") -> dict[str, Any]:
    """The endpoint's answer to a body in JSON; `target` names a model of a multi-model one. Raises `ServiceError`."""
    body = json.dumps(content).encode()
    return json.loads(ask_endpoint_raw(sagemaker, lifecycle, body, "application/json", "application/json", target))


def ask_endpoint_raw(
    sagemaker: SageMaker, lifecycle: str, body: bytes, content_type: str, accept: str, target: str = ""
) -> bytes:
    """The endpoint's answer to any body. Raises `ServiceError`."""
    request: dict[str, Any] = {"EndpointName": lifecycle.replace("_", "-"), "Body": body}
    request |= {"ContentType": content_type, "Accept": accept}
    if target:
        request["TargetModel"] = target
    try:
        answer = Jobs(sagemaker.client("sagemaker-runtime"), ASKING).call("invoke_endpoint", request)
    except ClientError as error:
        raise AnswerError(f"the endpoint gave no answer: {error}") from None
    return answer["Body"].read()


class Rollout:
    """Puts a version behind the endpoint of a lifecycle."""

    def __init__(self, sagemaker: SageMaker, pace: Pace | None = None, tell: Callable[[str], None] = print) -> None:
        self.form, self.tell, self.pace = sagemaker.form, tell, pace or Pace(longest_seconds=10.0)
        self.sagemaker = Jobs(sagemaker.client("sagemaker"), self.pace)
        self.cloudwatch = Jobs(sagemaker.client("cloudwatch"), self.pace)
        self.scaling = Jobs(sagemaker.client("application-autoscaling"), self.pace)

    def run(self, plan: EndpointPlan, watched: Callable[[], None] | None = None) -> RolledOut:
        """See the rollout through; `watched` is called again and again while it goes on.

        Raises `ServiceError` and boto3's ClientError when a request is refused.
        """
        self._refuse_period(plan)
        self._refuse_serverless(plan, self._settled(plan))
        for alarm in plan.alarm_requests():
            self.cloudwatch.call("put_metric_alarm", alarm)
        for name, algorithm, artifact in plan.packages():
            made_package(self.sagemaker, name, algorithm, artifact)
        for model in plan.models():
            self.sagemaker.ensure("create_model", model, taken="already exist")
        self.sagemaker.ensure("create_endpoint_config", plan.config_request(), taken="already exist")
        found = self._describe(plan)
        if found is not None and found["EndpointStatus"] == "Failed":
            self._delete_endpoint(plan)
            found = None
        before = found["EndpointConfigName"] if found else ""
        if before == plan.config:
            self._scale(plan)
            return RolledOut("unchanged", before, before, "this configuration serves already")
        try:
            if found is None:
                self._begin("create_endpoint", plan.create_request(), plan)
            else:
                self._begin("update_endpoint", plan.update_request(), plan)
            done = self._settled(plan, watched)
        except RivalError:
            raise
        except ServiceError as error:
            if found is None:
                self._abandon(plan, error)
            raise
        outcome = self._judge(plan, done, before)
        if outcome.verdict == "deployed":
            self._scale(plan)
            if before:
                tag = {"Key": PREVIOUS_TAG, "Value": before}
                self.sagemaker.call("add_tags", {"ResourceArn": done["EndpointArn"], "Tags": [tag]})
        self.clean_up(plan, {outcome.config, before if outcome.verdict == "deployed" else self._previous(done)})
        return outcome

    def _begin(self, method: str, request: Request, plan: EndpointPlan) -> None:
        """Where a first call was heard and never answered, the second one finds the endpoint under way."""
        if self.sagemaker.ensure(method, request, taken="Cannot ") is not None:
            return
        found = self._describe(plan) or {}
        under_way = found.get("PendingDeploymentSummary", found).get("EndpointConfigName", "")
        if under_way != plan.config:
            raise RivalError(
                f"somebody else is changing the endpoint {plan.endpoint} over to {under_way or 'something else'}. "
                "Mend: wait until it is done, then run this again."
            )

    def _abandon(self, plan: EndpointPlan, why: ServiceError) -> None:
        """Take an endpoint down whose first start nobody can follow; of one that serves, the version before goes on."""
        try:
            if self.sagemaker.gone("delete_endpoint", {"EndpointName": plan.endpoint}):
                self.tell(f"deleted the endpoint {plan.endpoint}: {why}")
        except (ClientError, ServiceError) as error:
            self.tell(f"the endpoint {plan.endpoint} may be billed. Mend: delete it at SageMaker. {error}")

    def retire(self, plan: EndpointPlan) -> bool:
        """Delete the lifecycle's endpoint, its configurations and its models; says whether there was one.

        One that is not tagged as the lifecycle's is somebody else's, and stays.
        """
        found = self._describe(plan)
        if found is None:
            return False
        tags = self.sagemaker.call("list_tags", {"ResourceArn": found["EndpointArn"]})["Tags"]
        if {"Key": "mdlc:lifecycle", "Value": plan.lifecycle} not in tags:
            return False
        self._settled(plan)
        self.scaling.gone("deregister_scalable_target", unscaled_request(plan.endpoint))
        self._delete_endpoint(plan)
        self.clean_up(plan, set())
        self.tell(f"deleted the endpoint {plan.endpoint}, its configurations and its models")
        return True

    def clean_up(self, plan: EndpointPlan, kept: set[str]) -> None:
        """Delete configurations of this endpoint that are not among `kept`, and models that none of those names."""
        configs = self._listed("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", plan)
        used = set()
        for name in configs:
            config = self.sagemaker.call("describe_endpoint_config", {"EndpointConfigName": name})
            variants = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
            if name in kept:
                used |= {variant["ModelName"] for variant in variants}
            else:
                self.sagemaker.gone("delete_endpoint_config", {"EndpointConfigName": name})
                self.tell(f"deleted the endpoint configuration {name}")
        for name in self._listed("list_models", "Models", "ModelName", plan):
            if name not in used:
                model = self.sagemaker.call("describe_model", {"ModelName": name})
                self.sagemaker.gone("delete_model", {"ModelName": name})
                # One of the Marketplace was made by way of a package, of the same name.
                package = model.get("PrimaryContainer", {}).get("ModelPackageName", "")
                if package.rpartition("/")[2] == name:
                    self.sagemaker.gone("delete_model_package", {"ModelPackageName": name})
                self.tell(f"deleted the model {name}")

    def _refuse_period(self, plan: EndpointPlan) -> None:
        period = int(plan.declared.alarms.period.total_seconds())
        if self.form == "aws" and period not in _AWS_PERIODS and period % 60:
            raise PeriodError(
                f"deployment.real_time.alarms.period: CloudWatch takes no period of {period} s. "
                "Mend: write 10s, 20s, 30s or whole minutes."
            )

    def _refuse_serverless(self, plan: EndpointPlan, found: dict[str, Any]) -> None:
        """SageMaker changes no endpoint with instances over to serverless; here it can be done."""
        if self.form != "aws" or not plan.declared.serverless or found.get("EndpointStatus", "Failed") == "Failed":
            return
        name = found["EndpointConfigName"]
        config = self.sagemaker.call("describe_endpoint_config", {"EndpointConfigName": name})
        if "ServerlessConfig" not in config["ProductionVariants"][0]:
            raise MoveError(
                f"deployment.real_time.serverless: the endpoint {plan.endpoint} runs on instances ({name}), and "
                "SageMaker updates none of those to serverless; it serves on as it was. Mend: leave serverless out, "
                f"or delete the endpoint {plan.endpoint} at SageMaker when calls may fail, then run this again."
            )

    def _judge(self, plan: EndpointPlan, done: dict[str, Any], before: str) -> RolledOut:
        config, reason = done["EndpointConfigName"], done.get("FailureReason", "")
        if done["EndpointStatus"] != "InService":
            if not before:
                # Nothing served before, so nothing shall be left that is billed.
                self._delete_endpoint(plan)
            why = reason or f"the endpoint is {done['EndpointStatus']}"
            return RolledOut("refused", before, before, f"version {plan.served.version} was refused: {why}")
        if config == plan.config:
            bake = plan.declared.bake
            quiet = f"its alarms stayed quiet for {bake} at each step" if bake else "it was healthy"
            return RolledOut("deployed", config, before, f"version {plan.served.version} serves: {quiet}")
        # AWS gives no reason after a rollback; an alarm that is still on tells.
        verdict: Verdict = "rolled back" if not reason or reason.startswith(_ROLLED_BACK) else "refused"
        why = reason.removeprefix(_ROLLED_BACK) or self._alarmed(plan) or "SageMaker took it back"
        return RolledOut(verdict, config, before, f"version {plan.served.version} was {verdict}: {why}")

    def _alarmed(self, plan: EndpointPlan) -> str:
        names = [alarm["AlarmName"] for alarm in plan.alarm_requests()] + plan.declared.alarms.named
        if not names:
            return ""
        found = self.cloudwatch.call("describe_alarms", {"AlarmNames": names, "StateValue": "ALARM"})
        said = [f"the alarm {a['AlarmName']} went off: {a.get('StateReason', '')}" for a in found["MetricAlarms"]]
        return "; ".join(said)

    def _settled(self, plan: EndpointPlan, watched: Callable[[], None] | None = None) -> dict[str, Any]:
        """The endpoint once nothing moves it; an empty one where there is none."""
        end = (
            time.monotonic()
            + plan.update_request()
            .get("DeploymentConfig", {})
            .get("BlueGreenUpdatePolicy", {})
            .get("MaximumExecutionTimeoutInSeconds", 0.0)
            + _SPARE_SECONDS
        )
        pause = self.pace.first_seconds
        while True:
            found = self._describe(plan)
            if found is None or found["EndpointStatus"] not in _MOVING:
                return found or {}
            if time.monotonic() > end:
                raise ServiceError(
                    f"the endpoint {plan.endpoint} is still {found['EndpointStatus']}. "
                    "Mend: look at it in SageMaker; run this again, which goes on where it stands."
                )
            if watched:
                watched()
            self.pace.sleep(pause)
            pause = min(pause * 1.5, self.pace.longest_seconds)

    def _describe(self, plan: EndpointPlan) -> dict[str, Any] | None:
        try:
            return self.sagemaker.call("describe_endpoint", {"EndpointName": plan.endpoint})
        except ClientError as error:
            if absent(error):
                return None
            raise

    def _delete_endpoint(self, plan: EndpointPlan) -> None:
        self.sagemaker.gone("delete_endpoint", {"EndpointName": plan.endpoint})
        self._settled(plan)

    def _scale(self, plan: EndpointPlan) -> None:
        requests = plan.scaling_requests()
        for method, request in requests:
            self.scaling.call(method, request)
        if not requests:
            # It may have been declared before.
            self.scaling.gone("deregister_scalable_target", unscaled_request(plan.endpoint))

    def _previous(self, endpoint: dict[str, Any]) -> str:
        if "EndpointArn" not in endpoint:
            return ""
        tags: list[dict[str, str]] = []
        with contextlib.suppress(ClientError):  # an endpoint that was taken down
            tags = self.sagemaker.call("list_tags", {"ResourceArn": endpoint["EndpointArn"]})["Tags"]
        return next((tag["Value"] for tag in tags if tag["Key"] == PREVIOUS_TAG), "")

    def _listed(self, method: str, part: str, key: str, plan: EndpointPlan) -> list[str]:
        found = self.sagemaker.listed(method, part, {"NameContains": f"{plan.endpoint}-v"})
        return [item[key] for item in found if item[key].startswith(f"{plan.endpoint}-v")]
