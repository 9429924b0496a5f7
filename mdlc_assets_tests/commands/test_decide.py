"""What a person reads of a rollback that was decided and could not be shown everywhere."""

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home
from mdlc_assets.resources.sagemaker.local_state import LocalState
from mdlc_assets.training.approval import approve
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.realtime.parts import register


@pytest.mark.slow
def test_a_rollback_reaches_the_endpoint_where_the_package_group_refuses(tmp_path: Path) -> None:
    declared = yaml.safe_load((SHIPPED / "payments_fraud" / "defs.yaml").read_text())
    declared["attributes"]["name"] = "card_fraud"
    declared["attributes"]["deployment"]["package_group"] = "card-fraud"
    place = tmp_path / "lifecycles" / "card_fraud" / "defs.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(yaml.safe_dump(declared, sort_keys=False))
    home = Home(tmp_path / "home")
    home.prepare()
    resources, lifecycle = embedded_resources(home), read_declaration(place)
    for seed in (1, 2):
        version = register(resources["registry"], lifecycle, seed)
        approve(resources["registry"], lifecycle, version.version, "ann@example.com", "good", override=True)
    service = LocalState(resources["sagemaker"].root)
    service.expect_fault("ListModelPackages", "AccessDeniedException")
    service.expect_fault("DescribeEndpoint", "AccessDeniedException")

    arguments = ["rollback", "--reason", "complaints", "--approver", "ann@example.com", "--lifecycle", "card_fraud"]
    ran = CliRunner().invoke(
        main, ["--home", str(home.root), *arguments, "--json"], env={"MDLC_LIFECYCLES": str(place.parents[1])}
    )
    assert ran.exit_code == 1, ran.output
    said = json.loads(ran.stdout)
    assert (said["version"], said["done"], said["deployed"]) == (1, False, False)
    assert "Version 1 is the champion again, and the audit trail has it" in said["error"]
    assert "give the role of the run sagemaker:ListModelPackages" in said["error"]
    assert "give the role of the run sagemaker:DescribeEndpoint" in said["error"], "the endpoint was asked all the same"
    assert "but the endpoint has not changed over." in ran.stderr
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        jobs = [run.job_name for run in instance.get_runs()]
    assert jobs == ["card_fraud_real_time_inference", "card_fraud_rollback"]
