"""Which permissions a piece of work needs: the calls that boto3 sends, under the names that policies use."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from botocore.client import BaseClient

from mdlc_assets.resources.aws import permission_of
from mdlc_assets_tests.deploy.stacks import template

# Needed by AWS itself on behalf of a call: no client ever sends it.
IMPLIED = {
    *("iam:PassRole", "kms:Decrypt", "kms:GenerateDataKey", "s3:AbortMultipartUpload"),
    *("cloudwatch:TagResource", "ecs:TagResource"),
}


def record_permissions(patch: pytest.MonkeyPatch) -> set[str]:
    """The permissions of the calls that are sent from now on, as they come."""
    found: set[str] = set()
    usual = BaseClient._make_api_call

    @functools.wraps(usual)
    def recording(client: Any, operation: str, request: dict[str, Any]) -> Any:
        found.add(permission_of(client.meta.service_model.signing_name, operation))
        return usual(client, operation, request)

    patch.setattr(BaseClient, "_make_api_call", recording)
    return found


def allowed(concern: str, role: str) -> set[str]:
    """The actions that a role of a template allows."""
    found: set[str] = set()
    for policy in template(concern)["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            if statement["Effect"] == "Allow":
                found |= {actions} if isinstance(actions, str) else set(actions)
    return found
