"""One endpoint for the models of many lifecycles: a new version is one archive more, and a tag says which is asked.

Nothing of the endpoint changes over when a model does, so nothing can be lost by it: the version before stays where it
is, and callers ask for the new one (TargetModel) once the tag names it. Only what was approved is laid where the
endpoint looks for its models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served, endpoint_of
from mdlc_assets.resources.sagemaker.faults import AnswerError, ServiceError, absent
from mdlc_assets.resources.sagemaker.jobs import Jobs
from mdlc_assets.resources.sagemaker.requests import Request, job_name, multi_model_request
from mdlc_assets.resources.sagemaker.rollout import ASKING, RivalError, RolledOut, Rollout

_TARGET_TAG = "mdlc:target:"
_VERSION = re.compile(r"/v(\d+)-")


@dataclass(frozen=True)
class MultiModelPlan(EndpointPlan):
    """As any plan; its models lie below `prefix`, an s3:// address."""

    prefix: str = ""

    @property
    def endpoint(self) -> str:
        assert self.declared.multi_model is not None
        return self.declared.multi_model.endpoint

    @property
    def config(self) -> str:
        return job_name(self.endpoint, "v0", sorted(self._config_content().items()))

    @property
    def target(self) -> str:
        """The name of the version's archive below the prefix."""
        return f"{self.lifecycle}/v{self.served.version}-{self.served.digest[:12]}.tar.gz"

    def model(self, served: Served) -> str:
        return job_name(self.endpoint, "v0", self.prefix, self.image, self._room())

    def packages(self) -> list[tuple[str, str, str]]:
        return []

    def models(self) -> list[Request]:
        """`create_model` of the place where all its models lie."""
        environment = {"MDLC_MOST_MODELS": str(self._room())}
        name = self.model(self.served)
        return [multi_model_request(name, self.image, self.prefix, self.role, environment, self.tagged)]

    def alarm_requests(self) -> list[Request]:
        """None: nothing is on trial."""
        return []

    def _room(self) -> int:
        return self.declared.multi_model.most_loaded if self.declared.multi_model else 0


def targets(sagemaker: SageMaker, endpoint: str) -> dict[str, str]:
    """Lifecycle: the archive that its callers ask for. Nothing where there is no such endpoint."""
    jobs = Jobs(sagemaker.client("sagemaker"), ASKING)
    try:
        arn = jobs.call("describe_endpoint", {"EndpointName": endpoint})["EndpointArn"]
        tags = jobs.call("list_tags", {"ResourceArn": arn})["Tags"]
    except ClientError as error:
        if not absent(error):
            raise
        return {}
    start = len(_TARGET_TAG)
    return {tag["Key"][start:]: tag["Value"] for tag in tags if tag["Key"].startswith(_TARGET_TAG)}


def version_of(target: str) -> int | None:
    """The registered version that an archive's name names."""
    found = _VERSION.search(target)
    return int(found[1]) if found else None


def roll_out_model(
    sagemaker: SageMaker, plan: MultiModelPlan, rollout: Rollout, probe: Callable[[str], None]
) -> RolledOut:
    """See that the endpoint is there, try the version's archive, and let callers ask for it.

    `probe` asks a model and raises `AnswerError` when it gives none: then the archive is taken away, what
    was asked before still is, and an endpoint that nobody else uses is taken down. So it is when the service fails,
    which is raised as `ServiceError`. Once the model is asked here, an endpoint of its own that it had before goes.
    """
    before = targets(sagemaker, plan.endpoint).get(plan.lifecycle, "")
    storage = sagemaker.storage(plan.prefix.removeprefix(sagemaker.bucket_address()).strip("/"))
    jobs = rollout.sagemaker
    try:
        outcome = rollout.run(plan)
        if outcome.verdict in ("refused", "rolled back"):
            return RolledOut(outcome.verdict, before, before, outcome.why)
        if before == plan.target:
            rollout.retire(endpoint_of(plan.lifecycle))
            return RolledOut("unchanged", before, before, "this version is asked already")
        probe(plan.target)
        arn = jobs.call("describe_endpoint", {"EndpointName": plan.endpoint})["EndpointArn"]
        tag = {"Key": f"{_TARGET_TAG}{plan.lifecycle}", "Value": plan.target}
        jobs.call("add_tags", {"ResourceArn": arn, "Tags": [tag]})
    except RivalError:
        raise
    except ServiceError as error:
        if before != plan.target:
            storage.delete(plan.target)
        _leave(sagemaker, plan, rollout)
        if isinstance(error, AnswerError):
            return RolledOut("refused", before, before, f"version {plan.served.version} was refused: {error}")
        raise
    for name in storage.names(plan.lifecycle):
        if name not in (plan.target, before):
            storage.delete(name)
    rollout.retire(endpoint_of(plan.lifecycle))
    return RolledOut("deployed", plan.target, before, f"version {plan.served.version} serves: it answered a probe row")


def _leave(sagemaker: SageMaker, plan: MultiModelPlan, rollout: Rollout) -> None:
    """Take the endpoint down when nobody uses it."""
    try:
        if not targets(sagemaker, plan.endpoint):
            rollout.sagemaker.gone("delete_endpoint", {"EndpointName": plan.endpoint})
    except (ClientError, ServiceError) as error:
        rollout.tell(f"the endpoint {plan.endpoint} may be billed and unused. Mend: look at it at SageMaker. {error}")
