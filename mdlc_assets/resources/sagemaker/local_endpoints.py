"""Endpoints on this machine: SageMaker's requests, carried out by the supervisor of a local endpoint.

An update returns at once, as on AWS; the supervisor shifts the traffic, watches the alarms and takes the new
version back by itself. `describe_endpoint` says how far it is.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import httpx

from mdlc_assets.resources.endpoint_plan import Plan, Strategy, steps_of
from mdlc_assets.resources.endpoint_status import Shadow
from mdlc_assets.resources.endpoints import EndpointError, Endpoints
from mdlc_assets.resources.sagemaker import local_models
from mdlc_assets.resources.sagemaker.archives import ArchiveError, unpack
from mdlc_assets.resources.sagemaker.local_alarms import KIND as ALARM
from mdlc_assets.resources.sagemaker.local_alarms import alarm_folder
from mdlc_assets.resources.sagemaker.local_images import NoCommandError, command_for, is_own
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, now, page, refusal

KIND, CONFIG = "endpoint", "endpoint-config"
_ROLLED_BACK = "rolled back: "
_IDLE_SECONDS = 300
_STRATEGIES: dict[str, Strategy] = {"ALL_AT_ONCE": "all_at_once", "CANARY": "canary", "LINEAR": "linear"}


class LocalEndpoints:
    """Endpoint configurations and endpoints."""

    service = "sagemaker"

    def __init__(self, state: LocalState) -> None:
        self.state = state
        self.endpoints = Endpoints(root=str(state.root / "endpoints"))

    def create_endpoint_config(self, request: Document) -> Document:
        """Write a configuration down; its models must be there."""
        name = request["EndpointConfigName"]
        for variant in [*request["ProductionVariants"], *request.get("ShadowProductionVariants", [])]:
            self._model(variant["ModelName"])
        arn = self.state.arn(CONFIG, name)
        taken = refusal("ValidationException", f'Cannot create already existing endpoint configuration "{arn}".')
        document = {**request, "EndpointConfigArn": arn, "CreationTime": now()}
        self.state.add(CONFIG, name, document, taken)
        return {"EndpointConfigArn": arn}

    def describe_endpoint_config(self, request: Document) -> Document:
        """The configuration as it was created."""
        return self._config(request["EndpointConfigName"])

    def list_endpoint_configs(self, request: Document) -> Document:
        """A page of configurations, the newest first."""
        found, token = page(self.state.documents(CONFIG), request, "EndpointConfigName")
        return {"EndpointConfigs": found, "NextToken": token}

    def delete_endpoint_config(self, request: Document) -> Document:
        """Forget a configuration."""
        self._config(request["EndpointConfigName"])
        self.state.delete(CONFIG, request["EndpointConfigName"])
        return {}

    def create_endpoint(self, request: Document) -> Document:
        """Start an endpoint."""
        name, arn = request["EndpointName"], self.state.arn(KIND, request["EndpointName"])
        self._config(request["EndpointConfigName"])
        document = {**request, "EndpointArn": arn, "CreationTime": now(), "before": None}
        taken = refusal("ValidationException", f'Cannot create already existing endpoint "{arn}".')
        self.state.add(KIND, name, document, taken)
        self._begin(name, request["EndpointConfigName"], {})
        return {"EndpointArn": arn}

    def update_endpoint(self, request: Document) -> Document:
        """Begin to change an endpoint over to another configuration."""
        name = request["EndpointName"]
        found = self.describe_endpoint({"EndpointName": name})
        if found["EndpointStatus"] != "InService":
            raise refusal("ValidationException", f"Cannot update endpoint {name}: it is {found['EndpointStatus']}.")
        self._config(request["EndpointConfigName"])
        self.state.change(KIND, name, lambda known: known.update(before=found["EndpointConfigName"]))
        self._begin(name, request["EndpointConfigName"], request.get("DeploymentConfig", {}))
        return {"EndpointArn": found["EndpointArn"]}

    def describe_endpoint(self, request: Document) -> Document:
        """What an endpoint is and does. After a rollback it is in service again, with the configuration before."""
        name = request["EndpointName"]
        known = self._endpoint(name)
        lifecycle = _lifecycle(name)
        # As on AWS, what has died comes back by itself; what was stopped on this machine is gone.
        self.endpoints.revive(lifecycle)
        outcome = self.endpoints.outcome(lifecycle, known.get("request", ""))
        stopped = self.endpoints.status(lifecycle).condition in ("stopped", "absent")
        if stopped and outcome and not outcome.refused and not known.get("failed"):
            self.state.delete(KIND, name)
            self._endpoint(name)
        failed = known.get("failed") or ""
        if outcome and outcome.refused:
            failed = f"{_ROLLED_BACK if outcome.rolled_back else ''}{outcome.refused}"
        config, status = known["wanted"], "InService"
        if outcome is None and not known.get("failed"):
            status = "Updating" if known["before"] else "Creating"
            config = known["before"] or known["wanted"]
        elif failed:
            config, status = known["before"] or known["wanted"], "InService" if known["before"] else "Failed"
        moving = status in ("Creating", "Updating")
        pending = {"EndpointConfigName": known["wanted"]} if moving else None
        now_serving = self.endpoints.status(lifecycle)
        if status == "InService" and now_serving.version is not None:
            # Somebody may have put another model there without SageMaker's requests.
            config = now_serving.config or "unknown"
        return {
            **known,
            "EndpointConfigName": config,
            "EndpointStatus": status,
            "FailureReason": failed or None,
            "PendingDeploymentSummary": pending,
            "LastModifiedTime": known["changed"],
            "ProductionVariants": [{"VariantName": "live", "CurrentInstanceCount": now_serving.workers}],
        }

    def list_endpoints(self, request: Document) -> Document:
        """A page of endpoints, the newest first."""
        names = [known["EndpointName"] for known in self.state.documents(KIND)]
        documents = [self.describe_endpoint({"EndpointName": name}) for name in names]
        found, token = page(documents, request, "EndpointName", "Endpoint")
        return {"Endpoints": found, "NextToken": token}

    def delete_endpoint(self, request: Document) -> Document:
        """End an endpoint's processes and forget it."""
        name = request["EndpointName"]
        self._endpoint(name)
        self.endpoints.stop(_lifecycle(name))
        self.state.delete(KIND, name)
        return {}

    def _begin(self, name: str, config_name: str, deployment: Document) -> None:
        config = self._config(config_name)
        live = config["ProductionVariants"][0]
        settings = self._container(live).get("Environment", {})
        change: Document = {"wanted": config_name, "changed": now(), "failed": None, "request": ""}
        with tempfile.TemporaryDirectory() as text:
            try:
                version, folder = self._unpacked(live, Path(text) / "live")
                shadow = None
                for variant in config.get("ShadowProductionVariants", []):
                    shadow = Shadow(*self._unpacked(variant, Path(text) / "shadow"))
                change["request"] = self.endpoints.begin(
                    _lifecycle(name),
                    folder,
                    version,
                    live.get("ContainerStartupHealthCheckTimeoutInSeconds", 60),
                    live.get("InitialInstanceCount", 1),
                    port=int(settings.get("MDLC_ENDPOINT_PORT", 0)),
                    plan=self._plan(deployment),
                    shadow=shadow,
                    config=config_name,
                    capture=config.get("DataCaptureConfig", {}).get("InitialSamplingPercentage", 0) / 100,
                    container=self._front(live),
                )
            except (ArchiveError, EndpointError, NoCommandError) as error:
                change["failed"] = str(error)
        self.state.change(KIND, name, lambda known: known.update(change))

    def _plan(self, deployment: Document) -> Plan:
        policy = deployment.get("BlueGreenUpdatePolicy")
        if not policy:
            return Plan()
        routing = policy["TrafficRoutingConfiguration"]
        size = routing.get("CanarySize") or routing.get("LinearStepSize") or {"Value": 100}
        last = policy.get("TerminationWaitInSeconds", 0)
        bake = routing["WaitIntervalInSeconds"] or last
        steps = list(steps_of(_STRATEGIES[routing["Type"]], size["Value"] / 100, bake))
        if steps:
            steps[-1] = type(steps[-1])(steps[-1].share, last)
        names = [alarm["AlarmName"] for alarm in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
        alarms = [(name, self.state.read(ALARM, name)) for name in names]
        missing = [name for name, alarm in alarms if alarm is None]
        if missing:
            raise refusal("ValidationException", f"The alarms {', '.join(missing)} do not exist.")
        return Plan(tuple(steps), tuple(alarm for _, alarm in alarms if alarm), str(alarm_folder(self.state)))

    def _unpacked(self, variant: Document, folder: Path) -> tuple[int, Path]:
        container = self._container(variant)
        if container.get("Mode") == "MultiModel":
            # Its models are fetched one by one, as they are asked for.
            folder.mkdir(parents=True)
            return 0, folder
        archive = self.state.s3_path(container["ModelDataUrl"])
        if not archive.is_file():
            raise ArchiveError(f"there is no archive {container['ModelDataUrl']}")
        unpack(archive, folder)
        return int(container.get("Environment", {}).get("MDLC_MODEL_VERSION", 0)), folder

    def _front(self, variant: Document) -> Document | None:
        """How the image's own server is run, in front of which a worker stands; None where our server does."""
        container = self._container(variant)
        image, serverless = container.get("Image", ""), variant.get("ServerlessConfig")
        several = container.get("Mode") == "MultiModel"
        if is_own(self.state, image) and not serverless and not several:
            return None
        command = command_for(self.state, image, "serve")
        environment = {**command.environment, **container.get("Environment", {})}
        how: Document = {"words": list(command.words), "environment": environment}
        if serverless:
            idle = float(environment.get("MDLC_IDLE_SECONDS", _IDLE_SECONDS))
            how |= {"idle_seconds": idle, "most_at_once": serverless["MaxConcurrency"]}
        if several:
            how["models"] = str(self.state.s3_path(container["ModelDataUrl"]))
            environment["SAGEMAKER_MULTI_MODEL"] = "true"
        return how

    def _container(self, variant: Document) -> Document:
        return local_models.container_of(self.state, self._model(variant["ModelName"]))

    def _model(self, name: str) -> Document:
        return self._found(local_models.KIND, name)

    def _config(self, name: str) -> Document:
        return self._found(CONFIG, name)

    def _endpoint(self, name: str) -> Document:
        return self._found(KIND, name)

    def _found(self, kind: str, name: str) -> Document:
        document = self.state.read(kind, name)
        if document is None:
            raise refusal("ValidationException", f'Could not find {kind} "{self.state.arn(kind, name)}".')
        return document


class LocalInvocations:
    """Requests to endpoints."""

    service = "sagemaker-runtime"

    def __init__(self, state: LocalState) -> None:
        self.state = state
        self.endpoints = Endpoints(root=str(state.root / "endpoints"))

    def invoke_endpoint(self, request: Document) -> Document:
        """Ask an endpoint; headers other than the types are not passed on, as on AWS."""
        status = self.endpoints.status(_lifecycle(request["EndpointName"]))
        if status.url is None or status.version is None:
            raise refusal("ValidationError", f"Endpoint {request['EndpointName']} not found.")
        headers = {**self.endpoints.headers(), "content-type": request.get("ContentType", "application/json")}
        if "Accept" in request:
            headers["accept"] = request["Accept"]
        if "TargetModel" in request:
            headers["x-amzn-sagemaker-target-model"] = request["TargetModel"]
        try:
            answer = httpx.post(f"{status.url}/invocations", content=request["Body"], headers=headers, timeout=90)
        except httpx.HTTPError as error:
            raise refusal("ServiceUnavailable", f"no answer ({type(error).__name__})", status=503) from None
        code = answer.status_code
        if code == 429:
            # A serverless endpoint with as many calls under way as it takes.
            raise refusal("ThrottlingException", "Rate exceeded", status=429)
        if code == 404:
            raise refusal("ValidationError", answer.json().get("error", "there is no such model"))
        if code != 200:
            word = "client" if code < 500 else "server"
            raise refusal("ModelError", f"Received {word} error ({code}) from the model: {answer.text}", status=424)
        media = answer.headers["content-type"]
        return {"Body": answer.content, "ContentType": media, "InvokedProductionVariant": "live"}


class LocalScaling:
    """How many workers an endpoint may have; its supervisor lets them follow the load."""

    service = "application-autoscaling"

    def __init__(self, state: LocalState) -> None:
        self.state = state
        self.endpoints = Endpoints(root=str(state.root / "endpoints"))

    def register_scalable_target(self, request: Document) -> Document:
        """The least and the most workers."""
        self._change(request, {"least": request["MinCapacity"], "most": request["MaxCapacity"]})
        return {"ScalableTargetARN": f"arn:aws:application-autoscaling:{self.state.region}:local:scalable-target/1"}

    def put_scaling_policy(self, request: Document) -> Document:
        """What one worker is to carry."""
        tracked = request["TargetTrackingScalingPolicyConfiguration"]
        calls, seconds = tracked["TargetValue"], tracked.get("ScaleInCooldown", 300)
        self._change(request, {"calls_per_minute": calls, "scale_in_seconds": seconds})
        return {"PolicyARN": f"arn:aws:autoscaling:{self.state.region}:local:scalingPolicy:1", "Alarms": []}

    def deregister_scalable_target(self, request: Document) -> Document:
        """Back to the number that the configuration says."""
        folder = self.endpoints.folder(_lifecycle(request["ResourceId"].split("/")[1]))
        if not (folder / "scaling.json").exists():
            raise refusal("ObjectNotFoundException", f"No scalable target found for {request['ResourceId']}.")
        (folder / "scaling.json").unlink()
        return {}

    def _change(self, request: Document, values: dict[str, Any]) -> None:
        name = request["ResourceId"].split("/")[1]
        if self.state.read(KIND, name) is None:
            raise refusal("ValidationException", f"there is no endpoint {name}")
        path = self.endpoints.folder(_lifecycle(name)) / "scaling.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({**known, **values}))
        shutil.move(temporary, path)


def _lifecycle(endpoint: str) -> str:
    return endpoint.replace("-", "_")


HANDLERS = (LocalEndpoints, LocalInvocations, LocalScaling)
