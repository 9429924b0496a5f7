"""The templates: right by cfn-lint, no wildcard in a policy, everything kept is encrypted and survives its stack."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from policy_sentry.querying.actions import get_actions_for_service, get_actions_that_support_wildcard_arns_only

from mdlc_assets_tests.deploy.stacks import FOLDER, lint_problems, template

TEMPLATES = sorted(FOLDER.glob("*.yaml"))
DEPLOY = FOLDER.parent
_CONCERNS = (
    *("network", "data", "roles", "cluster", "mlflow", "dagster", "stream", "decisions", "alarms", "cicd"),
    "step-functions",
)
each = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)


def _resources(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in TEMPLATES:
        for name, resource in template(path.stem)["Resources"].items():
            if resource["Type"] == kind:
                yield f"{path.stem}.{name}", resource


def _statements(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if value.get("Effect") in ("Allow", "Deny"):
            yield f"{place}.{value.get('Sid', '')}", value
        for key, part in value.items():
            yield from _statements(part, f"{place}.{key}")
    elif isinstance(value, list):
        for part in value:
            yield from _statements(part, place)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(resource: Any) -> str:
    """The text of an ARN, with what CloudFormation puts in left as it is; `(reference)` where it is all a reference."""
    if isinstance(resource, str):
        return resource
    found = resource.get("Fn::Sub", "(reference)")
    return found[0] if isinstance(found, list) else found


def test_there_is_a_template_for_each_concern() -> None:
    assert {path.stem for path in TEMPLATES} == set(_CONCERNS)
    contents = (DEPLOY / "README.md").read_text()
    for path in TEMPLATES:
        assert f"cloudformation/{path.name}" in contents, path.name


@each
def test_cfn_lint_has_nothing_to_say(path: Path) -> None:
    text = path.read_text()
    assert "cfn-lint:" not in text, "an ignored rule"
    assert lint_problems(text) == []


@each
def test_every_parameter_says_what_it_is(path: Path) -> None:
    for name, parameter in template(path.stem)["Parameters"].items():
        assert parameter.get("Description"), name
        assert parameter["Type"] == "Number" or "Allowed" in " ".join(parameter) or parameter.get("Description"), name


@each
def test_no_policy_allows_more_than_it_names(path: Path) -> None:
    found = list(_statements(template(path.stem)["Resources"], path.stem))
    for place, statement in found:
        if statement["Effect"] == "Deny":
            continue
        key_policy = "KeyPolicy" in place
        for action in _listed(statement["Action"]):
            assert "*" not in action, (place, action)
            assert _known(action), f"{place}: AWS has no action {action}"
        assert "NotAction" not in statement and "NotResource" not in statement, place
        assert statement.get("Principal") not in ("*", {"AWS": "*"}), place
        for resource in map(_text, _listed(statement.get("Resource", []))):
            if resource == "*" and not key_policy:
                for action in _listed(statement["Action"]):
                    assert action in _without_arns(action.split(":")[0]) or _bound(statement), (place, action)
            elif resource not in ("*", "(reference)"):
                assert not resource.split(":", 5)[-1].startswith("*"), (place, resource)


def test_the_policy_checker_sees_what_it_should() -> None:
    assert "s3:GetObject" not in _without_arns("s3")
    assert "ecr:GetAuthorizationToken" in _without_arns("ecr")
    assert not _known("s3:GetObjects")
    wide = {"Resources": {"R": {"Policy": {"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}}}}
    assert [place for place, _ in _statements(wide, "t")] == ["t.Resources.R.Policy.Statement."]


@functools.cache
def _without_arns(service: str) -> frozenset[str]:
    """The actions of a service that AWS takes on the resource * only."""
    found = get_actions_that_support_wildcard_arns_only(service)
    return frozenset(_spelled(action) for action in found)


@functools.cache
def _actions(service: str) -> frozenset[str]:
    return frozenset(action.lower() for action in get_actions_for_service(service))


def _known(action: str) -> bool:
    return action.lower() in _actions(action.split(":")[0])


def _spelled(action: str) -> str:
    service, name = action.split(":")
    return f"{service}:{name[0].upper()}{name[1:]}"


def _bound(statement: dict[str, Any]) -> bool:
    """Whether a condition does what an ARN cannot."""
    return any("cloudwatch:namespace" in condition for condition in statement.get("Condition", {}).values())


def test_passing_a_role_names_the_role_and_the_service() -> None:
    found = [
        (place, statement)
        for path in TEMPLATES
        for place, statement in _statements(template(path.stem)["Resources"], path.stem)
        if "iam:PassRole" in _listed(statement["Action"])
    ]
    assert len(found) >= 4
    for place, statement in found:
        assert "iam:PassedToService" in statement["Condition"]["StringEquals"], place
        assert "*" not in map(_text, _listed(statement["Resource"])), place


def test_buckets_are_private_encrypted_versioned_and_kept() -> None:
    buckets = dict(_resources("AWS::S3::Bucket"))
    assert len(buckets) == 5
    policies = dict(_resources("AWS::S3::BucketPolicy"))
    for name, bucket in buckets.items():
        given = bucket["Properties"]
        assert set(given["PublicAccessBlockConfiguration"].values()) == {True} or set(
            given["PublicAccessBlockConfiguration"].values()
        ) == {"true"}, name
        rule = given["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
        assert rule["SSEAlgorithm"] == ("AES256" if name == "data.AccessLogs" else "aws:kms"), name
        assert given["VersioningConfiguration"]["Status"] == "Enabled", name
        assert "NoncurrentVersionExpiration" in json.dumps(given["LifecycleConfiguration"]), name
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain"), name
        denied = policies[f"{name}Policy"]["Properties"]["PolicyDocument"]["Statement"][-1]
        assert denied["Effect"] == "Deny", name
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name


def test_what_keeps_data_is_encrypted() -> None:
    for name, database in _resources("AWS::RDS::DBInstance"):
        given = database["Properties"]
        assert given["StorageEncrypted"] and given["KmsKeyId"] and given["DeletionProtection"], name
        assert not given["PubliclyAccessible"] and given["ManageMasterUserPassword"], name
        assert "MasterUserPassword" not in given, name
        assert database["DeletionPolicy"] == "Snapshot", name
    for name, group in _resources("AWS::RDS::DBParameterGroup"):
        assert group["Properties"]["Parameters"]["rds.force_ssl"] == "1", name
    for name, table in _resources("AWS::DynamoDB::Table"):
        assert table["Properties"]["SSESpecification"]["SSEType"] == "KMS", name
        assert table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], name
    for name, stream in _resources("AWS::Kinesis::Stream"):
        assert stream["Properties"]["StreamEncryption"]["EncryptionType"] == "KMS", name
    for kind in ("AWS::SQS::Queue", "AWS::SNS::Topic"):
        for name, one in _resources(kind):
            assert one["Properties"]["KmsMasterKeyId"], name
    for name, listener in _resources("AWS::ElasticLoadBalancingV2::Listener"):
        assert listener["Properties"]["Protocol"] == "HTTPS", name
        first, stack = listener["Properties"]["DefaultActions"][0]["Type"], name.split(".")[0]
        balancer = template(stack)["Resources"]["Balancer"]["Properties"]
        (task, *_) = [task for task in template(stack)["Resources"].values() if "TaskDefinition" in task["Type"]]
        asks_itself = "MDLC_TOKEN" in str(task["Properties"]["ContainerDefinitions"][0]["Secrets"])
        assert first == "authenticate-oidc" or (balancer["Scheme"] == "internal" and asks_itself), name


def test_nothing_but_the_balancer_has_a_public_address() -> None:
    for name, service in _resources("AWS::ECS::Service"):
        network = service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED", name
        assert "private-subnets" in json.dumps(network["Subnets"]), name
    open_to_all = [
        (name, rule)
        for name, group in _resources("AWS::EC2::SecurityGroup")
        for rule in group["Properties"].get("SecurityGroupIngress", [])
        if rule.get("CidrIp") == "0.0.0.0/0"
    ]
    assert open_to_all == []


def test_no_secret_stands_in_a_file() -> None:
    for path in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("Dockerfile*"), *DEPLOY.rglob("*.py")]:
        for line in path.read_text().splitlines():
            found = re.search(r"(?i)(password|secret|token)['\"]?\s*[:=]\s*['\"]?([A-Za-z0-9+/]{12,})", line)
            assert not found, (path.name, line)


def test_the_containers_of_the_stack_run_what_the_image_has() -> None:
    tasks = {name: task["Properties"] for name, task in _resources("AWS::ECS::TaskDefinition")}
    of_dagster = {f"dagster.{what}Task" for what in ("Run", "Code", "Daemon", "Web")}
    assert set(tasks) == {*of_dagster, "mlflow.Task", "decisions.Task"}
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    asked = set(re.findall(r"'env': '(\w+)'", str(settings)))
    (daemon,) = tasks["dagster.DaemonTask"]["ContainerDefinitions"]
    given = {one["Name"] for one in [*daemon["Environment"], *daemon["Secrets"]]}
    assert asked <= given, asked - given
    (run,) = tasks["dagster.RunTask"]["ContainerDefinitions"]
    assert run["Name"] == settings["run_launcher"]["config"]["container_name"]
