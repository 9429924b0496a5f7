"""The registry's versions in SageMaker's model package group: as MLflow and the audit trail have them, once each."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from pydantic import ValidationError

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.deployment.packages import Verdict, bring_up, verdicts
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import Jobs
from mdlc_assets.resources.sagemaker.local_state import LocalState
from mdlc_assets.training.approval import approve, rollback
from mdlc_assets.training.foreign import FOREIGN_FILE
from mdlc_assets_tests.realtime.parts import new_registry, register

GROUP = "payments-fraud"
ROLE = "arn:aws:iam::123456789012:role/mdlc-sagemaker"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration) -> Registry:
    """Three versions: the first was approved and serves again, the second was rolled back, the third waits."""
    registry = new_registry(tmp_path_factory.mktemp("registry"))
    for seed in (1, 2, 3):
        register(registry, payments_fraud, seed)
    for version in (1, 2):
        approve(registry, payments_fraud, version, "ann@example.com", f"reason {version}", override=True)
    rollback(registry, payments_fraud, "bob@example.com", "complaints")
    return registry


@pytest.fixture(params=["local", "aws"])
def sagemaker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SageMaker]:
    if request.param == "local":
        yield SageMaker(root=str(tmp_path / "sagemaker"))
        return
    bucket = request.getfixturevalue("s3_root")
    yield SageMaker(form="aws", region="us-east-1", role=ROLE, bucket=f"{bucket}/sagemaker", image="image:1")


def test_the_group_says_what_the_registry_says_and_nothing_twice(
    registry: Registry, sagemaker: SageMaker, payments_fraud: LifecycleDeclaration
) -> None:
    group, client = f"{GROUP}-{uuid4().hex[:8]}", sagemaker.client()
    found = bring_up(sagemaker, registry, payments_fraud.name, group)
    assert [(version, status) for version, status, _ in found] == [
        (1, "Approved"),
        (2, "Rejected"),
        (3, "PendingManualApproval"),
    ]
    told = [client.describe_model_package(ModelPackageName=arn) for _, _, arn in found]
    assert [one["ModelApprovalStatus"] for one in told] == [status for _, status, _ in found]
    assert told[0]["ApprovalDescription"] == "bob@example.com: complaints"
    assert told[1]["ApprovalDescription"] == "bob@example.com: rolled back: complaints"
    digests = [version.digest for version in registry.versions(payments_fraud.name)]
    # moto forgets them when a package is updated; AWS does not.
    seen = told if sagemaker.form == "local" else told[2:]
    assert [one["CustomerMetadataProperties"]["mdlc.digest"] for one in seen] == digests[-len(seen) :]
    archive = sagemaker.read(told[2]["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert {"model.json", "model.ubj"} <= set(opened.getnames())

    assert bring_up(sagemaker, registry, payments_fraud.name, group) == found
    listed = client.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert len(listed) == 3
    # Somebody there has decided otherwise: the trail holds.
    client.update_model_package(ModelPackageArn=found[1][2], ModelApprovalStatus="Approved")
    bring_up(sagemaker, registry, payments_fraud.name, group)
    assert client.describe_model_package(ModelPackageName=found[1][2])["ModelApprovalStatus"] == "Rejected"


def test_broken_off_after_any_call_the_next_time_makes_it_whole(
    registry: Registry, tmp_path: Path, payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, whole = Jobs.call, bring_up(SageMaker(root=str(tmp_path / "whole")), registry, payments_fraud.name, GROUP)
    calls = 0
    for last in range(1, 20):
        calls = 0

        def until(jobs: Jobs, method: str, request: dict[str, object], last: int = last) -> dict[str, object]:
            nonlocal calls
            calls += 1
            answer = plain(jobs, method, request)
            if calls == last:
                raise KeyboardInterrupt
            return answer

        service = SageMaker(root=str(tmp_path / str(last)))
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "call", until)
            try:
                bring_up(service, registry, payments_fraud.name, GROUP)
            except KeyboardInterrupt:
                pass
            else:
                break
        assert bring_up(service, registry, payments_fraud.name, GROUP) == whole
        listed = service.client().list_model_packages(ModelPackageGroupName=GROUP)["ModelPackageSummaryList"]
        assert len(listed) == 3, last
    assert calls == 8, "list groups, make one, list packages, make three, judge two"


def test_an_answer_that_was_lost_makes_no_second_package(tmp_path: Path) -> None:
    client = SageMaker(root=str(tmp_path)).client()
    client.create_model_package_group(ModelPackageGroupName="g")
    request = {"ModelPackageGroupName": "g", "ClientToken": "a" * 36}
    first, second = (client.create_model_package(**request)["ModelPackageArn"] for _ in range(2))
    assert first == second
    assert len(client.list_model_packages(ModelPackageGroupName="g")["ModelPackageSummaryList"]) == 1


def test_verdicts_follow_the_trail() -> None:
    def entry(action: str, version: int, **more: object) -> dict[str, object]:
        return {"action": action, "version": version, "who": "ann", "reason": "why", **more}

    trail = [entry("approve", 1), entry("deploy", 1), entry("approve", 2), entry("rollback", 1, after=2)]
    assert verdicts(trail) == {1: Verdict(True, "ann", "why"), 2: Verdict(False, "ann", "rolled back: why")}
    assert verdicts([*trail, entry("approve", 2)])[2].approved
    assert not verdicts([entry("reject", 3)])[3].approved


def test_jobs_keep_the_group_up_to_date(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    deployment = payments_fraud.deployment.model_copy(update={"package_group": GROUP})
    lifecycle = payments_fraud.model_copy(update={"deployment": deployment})
    home = Home(tmp_path)
    home.prepare()
    definitions = build_definitions([ModelLifecycle(lifecycle)], home=home)
    resources = embedded_resources(home)
    registry, service = resources["registry"], resources["sagemaker"]
    for seed in (1, 2, 3):
        register(registry, lifecycle, seed)
    instance = dg.DagsterInstance.ephemeral()

    def run(workflow: str, op: str, **config: object) -> None:
        job = definitions.resolve_job_def(f"{lifecycle.name}_{workflow}")
        settings = {"ops": {f"{lifecycle.name}__{op}": {"config": config}}}
        assert job.execute_in_process(instance=instance, run_config=settings).success

    def statuses() -> dict[int, str]:
        listed = service.client().list_model_packages(ModelPackageGroupName=GROUP)["ModelPackageSummaryList"]
        return {one["ModelPackageVersion"]: one["ModelApprovalStatus"] for one in listed}

    who = {"approver": "ann@example.com", "reason": "good"}
    run("approve", "champion", version=1, override=True, **who)
    assert statuses() == {1: "Approved", 2: "PendingManualApproval", 3: "PendingManualApproval"}
    run("approve", "champion", version=2, override=True, **who)
    run("reject", "reject", version=3, **who)
    assert statuses() == {1: "Approved", 2: "Approved", 3: "Rejected"}
    run("rollback", "rollback", **who)
    assert statuses() == {1: "Approved", 2: "Rejected", 3: "Rejected"}
    assert f"{lifecycle.name}/model_packages" in {event.asset_key.to_user_string() for event in _materialised(instance)}


@pytest.mark.parametrize("cause", ["refused", "damaged"])
def test_a_decision_holds_that_the_group_cannot_show_yet(
    cause: str, tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    deployment = payments_fraud.deployment.model_copy(update={"package_group": GROUP})
    lifecycle = payments_fraud.model_copy(update={"deployment": deployment})
    home = Home(tmp_path)
    home.prepare()
    definitions, resources = build_definitions([ModelLifecycle(lifecycle)], home=home), embedded_resources(home)
    registry, service = resources["registry"], resources["sagemaker"]
    for seed in (1, 2, 3):
        register(registry, lifecycle, seed)
    for version in (1, 2):
        approve(registry, lifecycle, version, "ann@example.com", "good", override=True)
    damaged = next(home.mlflow_artifacts.rglob("model.json")).with_name(FOREIGN_FILE)
    instance = dg.DagsterInstance.ephemeral()

    def told(workflow: str, **config: object) -> str:
        if cause == "refused":
            LocalState(service.root).expect_fault("ListModelPackages", "AccessDeniedException")
        else:
            damaged.write_text("{}")
        job = definitions.resolve_job_def(f"{lifecycle.name}_{workflow}")
        settings = {"ops": {f"{lifecycle.name}__{workflow}": {"config": config}}}
        ran = job.execute_in_process(instance=instance, run_config=settings, raise_on_error=False)
        (failed,) = (event.step_failure_data for event in ran.all_events if event.is_step_failure)
        assert failed.user_failure_data is not None
        return failed.user_failure_data.description or ""

    who = {"approver": "ann@example.com", "reason": "bad"}
    why = {"refused": "give the role of the run sagemaker:ListModelPackages", "damaged": "register it again"}[cause]
    for text in (told("reject", version=3, **who), told("rollback", **who)):
        assert "and the audit trail has it; but the model package group payments-fraud does not show it yet" in text
        assert why in text
        assert "materialise payments_fraud/model_packages; nothing is to be decided again." in text
    assert [entry["action"] for entry in registry.audit(lifecycle.name)][2:] == ["reject", "rollback"]
    seen = {event.asset_key.path[-1] for event in _materialised(instance)}
    assert seen == {"champion"}, "what was decided is on Dagster's record"

    damaged.unlink(missing_ok=True)
    again = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey([lifecycle.name, "model_packages"])]
    )
    assert again.success
    listed = service.client().list_model_packages(ModelPackageGroupName=GROUP)["ModelPackageSummaryList"]
    assert sorted(one["ModelApprovalStatus"] for one in listed) == ["Approved", "Rejected", "Rejected"]


def _materialised(instance: dg.DagsterInstance) -> list[dg.DagsterEvent]:
    runs = instance.get_runs()
    logs = [log for run in runs for log in instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)]
    return [log.get_dagster_event() for log in logs]


def test_a_marketplace_algorithm_has_no_group(payments_fraud: LifecycleDeclaration) -> None:
    content = payments_fraud.model_dump(mode="json")
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:algorithm/fraud-9"
    content["model"] |= {"algorithm": arn, "train_on": "sagemaker", "hyperparameters": {}, "calibrate": None}
    content["deployment"]["package_group"] = GROUP
    with pytest.raises(ValidationError, match="packages of their own already"):
        LifecycleDeclaration.model_validate(content)
