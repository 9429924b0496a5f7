"""Production's run launcher against moto's ECS: which task it starts, where, and that its role needs no other calls."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance import InstanceRef
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test

from mdlc_assets_tests.deploy.recording import IMPLIED, allowed, record_permissions
from mdlc_assets_tests.deploy.stacks import FOLDER

_SETTINGS = yaml.safe_load((FOLDER.parent / "dagster.yaml").read_text())


@pytest.fixture
def daemon(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The daemon's task on moto, and the address at which ECS tells a task who it is."""
    ec2, ecs = boto3.client("ec2"), boto3.client("ecs")
    vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.60.16.0/20")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="services", Description="x", VpcId=vpc)["GroupId"]
    ecs.create_cluster(clusterName="mdlc")
    for name in ("daemon", "run"):
        ecs.register_task_definition(
            family=f"mdlc-{name}",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="512",
            memory="1024",
            containerDefinitions=[{"name": name, "image": "mdlc-assets:1", "memory": 512}],
        )
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group], "assignPublicIp": "DISABLED"}}
    task = ecs.run_task(
        cluster="mdlc", taskDefinition="mdlc-daemon", launchType="FARGATE", networkConfiguration=network
    )["tasks"][0]

    class Tells(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = {"Cluster": task["clusterArn"], "TaskARN": task["taskArn"], "Name": "daemon"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Tells)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MDLC_RUN_TASK", "mdlc-run")
    yield {"subnet": subnet, "group": group}
    server.shutdown()
    server.server_close()


def test_a_run_is_a_task_beside_the_daemon(
    daemon: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": _SETTINGS["run_launcher"]}))
    origin = RepositoryPythonOrigin(sys.executable, ModuleCodePointer("mdlc_assets.production", "defs"))
    recorded = record_permissions(monkeypatch)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        run = create_run_for_test(
            instance,
            job_name="payments_fraud_train",
            job_code_origin=JobPythonOrigin("payments_fraud_train", origin),
            tags={"mdlc/lifecycle": "payments_fraud"},
        )
        instance.run_launcher.launch_run(LaunchRunContext(run, None))
        launched = instance.get_run_by_id(run.run_id)
        assert launched is not None
        ecs = boto3.client("ecs")
        (task,) = ecs.describe_tasks(cluster="mdlc", tasks=[launched.tags["ecs/task_arn"]], include=["TAGS"])["tasks"]
        assert task["taskDefinitionArn"].split("/")[-1].startswith("mdlc-run:")
        (container,) = task["overrides"]["containerOverrides"]
        assert (container["name"], container["command"][2:5]) == ("run", ["dagster", "api", "execute_run"])
        assert task["launchType"] == "FARGATE"
        assert {"key": "mdlc/lifecycle", "value": "payments_fraud"} in task["tags"]
        assert instance.run_launcher.check_run_worker_health(launched).status.value in ("RUNNING", "UNKNOWN")
        assert instance.run_launcher.terminate(run.run_id)
    of_the_role = {action for action in allowed("roles", "Control") if action.startswith(("ecs:", "ec2:"))}
    assert {one for one in recorded if one.startswith(("ecs:", "ec2:"))} == of_the_role - IMPLIED
