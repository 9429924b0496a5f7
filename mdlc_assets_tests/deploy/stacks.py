"""What the tests of CloudFormation share: the linter, templates as documents, an account on moto's server."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import boto3
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.decode import cfn_yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "cloudformation"
REGION, ACCOUNT, PREFIX = "eu-west-1", "123456789012", "prod"
ORDER = ("network", "data", "roles", "cluster", "alarms", "step-functions")


# Where the services that the stacks name all exist.
_REGIONS = ["us-east-1", "eu-west-1", "eu-central-1", "ap-southeast-2"]


def lint_problems(template: str) -> list[str]:
    """Errors and warnings of cfn-lint over its rules."""
    found = lint(template, regions=_REGIONS, config=ManualArgs(regions=_REGIONS))
    return [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in found]


@functools.cache
def template(concern: str) -> dict[str, Any]:
    """A template as a document, its short forms (!Ref) written out."""
    return json.loads(json.dumps(cfn_yaml.load(str(FOLDER / f"{concern}.yaml")), default=str))


class Account:
    """An account at an address, and the stacks that are deployed into it."""

    def __init__(self, address: str) -> None:
        self.keys = {"region_name": REGION, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.address = address

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.address, **self.keys)

    def deploy(self, concern: str, **parameters: str) -> dict[str, str]:
        given = {"Prefix": PREFIX} | parameters
        self.client("cloudformation").create_stack(
            StackName=f"{PREFIX}-{concern}",
            TemplateBody=(FOLDER / f"{concern}.yaml").read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        (stack,) = self.client("cloudformation").describe_stacks(StackName=f"{PREFIX}-{concern}")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE", concern
        return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}

    def deploy_all(self) -> dict[str, dict[str, str]]:
        """What the stacks say they made, in the order that the page on production names."""
        more = {"data": {"StreamName": "events", "StreamMode": "PROVISIONED", "OnlineTable": "online"}}
        return {concern: self.deploy(concern, **more.get(concern, {})) for concern in ORDER}

    def exports(self) -> dict[str, str]:
        """The names by which stacks find each other."""
        pages = self.client("cloudformation").get_paginator("list_exports").paginate()
        # moto names some whose resource it does not make.
        return {one["Name"]: one["Value"] for page in pages for one in page["Exports"] if "Value" in one}
