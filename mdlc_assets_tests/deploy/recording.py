"""Which permissions a piece of work needs: the calls that boto3 sends, under the names that policies use."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from botocore.client import BaseClient

from mdlc_assets_tests.deploy.stacks import template

# How AWS calls the permission of an operation, where it is not the operation's own name.
PERMISSION = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "dynamodb:TransactWriteItems": "dynamodb:PutItem",
}
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
        service = client.meta.service_model.signing_name
        service = {"monitoring": "cloudwatch"}.get(service, service)
        found.add(PERMISSION.get(f"{service}:{operation}", f"{service}:{operation}"))
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
