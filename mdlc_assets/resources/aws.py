"""boto3's clients for all but SageMaker: retried, never waited for without end, with errors that say the mend.

What AWS refuses stays boto3's ClientError, so that who asked can judge it; its message then names the permission to
give, or the limit. SageMaker's own calls are seen through by `resources/sagemaker/jobs.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_MAKING = threading.Lock()
_ATTEMPTS = 5
_CONNECT_SECONDS, _READ_SECONDS = 5, 30
# How AWS calls the permission of an operation, where it is not the operation's own name.
PERMISSIONS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "dynamodb:TransactWriteItems": "dynamodb:PutItem",
    "sns:PublishBatch": "sns:Publish",
    "kinesis:PutRecord": "kinesis:PutRecords",
}
_SERVICES = {"monitoring": "cloudwatch"}
DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "NotAuthorized", "403"}
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"})
# More was asked than is allowed at a time.
THROTTLED = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("SlowDown", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "TooManyRequestsException"),
        *("KMSThrottlingException", "ServiceUnavailable", "ServiceUnavailableException", "503"),
    }
)
# The service itself is not well.
_UNWELL = frozenset(
    {
        *("InternalError", "InternalFailure", "InternalServerError", "InternalServerException"),
        *("InternalServiceException", "RequestTimeout", "RequestTimeoutException", "OperationTimeoutException"),
    }
)
PASSING = THROTTLED | _UNWELL
# The stacks bring no cluster for Spark, and so no right to use one.
_SPARK = ("glue:", "emr-serverless:", "logs:")
_LIMITS = frozenset({"LimitExceeded", "LimitExceededException", "TooManyBuckets", "ItemCollectionSizeLimitExceeded"})
_ABSENT = frozenset({"NoSuchBucket", "ResourceNotFoundException", "NotFound", "NotFoundException", "NonExistentQueue"})


def aws_client(service: str, *, attempts: int = _ATTEMPTS, seconds: float = _READ_SECONDS, **named: Any) -> Any:
    """A client of boto3 that asks up to `attempts` times and waits `seconds` for an answer. `named` is boto3's own."""
    import boto3

    settings, given = limits(attempts, seconds), named.pop("config", None)
    # One session, which keeps what it has read of the services; it is not safe to make clients from in several threads.
    with _MAKING:
        client = boto3.client(service, config=settings.merge(given) if given else settings, **named)
    return explained(client)


def limits(attempts: int = _ATTEMPTS, seconds: float = _READ_SECONDS) -> Any:
    """How often a call is tried, and how long an answer is waited for: botocore's Config."""
    from botocore.config import Config

    return Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=min(_CONNECT_SECONDS, seconds),
        read_timeout=seconds,
    )


def whole_body(ask: Callable[[], Any]) -> bytes:
    """The body of an answer of `ask`, asked again when it breaks off: boto3 tries again only until an answer begins."""
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    for left in reversed(range(_ATTEMPTS)):
        body = ask()["Body"]
        try:
            return bytes(body.read())
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            if not left:
                raise
    raise AssertionError("there is at least one attempt")


def explained(client: Any) -> Any:
    """The client, whose errors from now on say what to do about them."""
    client.meta.events.register("after-call", _explain_refusal)
    client.meta.events.register("after-call-error", _explain_silence)
    return client


def permission_of(service: str, operation: str) -> str:
    """The permission that an operation needs, as policies write it."""
    named = f"{_SERVICES.get(service, service)}:{operation}"
    return PERMISSIONS.get(named, named)


def mend_of(code: str, permission: str) -> str:
    """What to do about a refusal; empty where that is for the caller to know."""
    if code in DENIED:
        place = "docs/spark.md" if permission.startswith(_SPARK) else "deploy/cloudformation/roles.yaml"
        return f"give the role {permission}; {place} has all that is needed"
    if code in EXPIRED:
        return f"give the process a role, or log in again; {permission} was sent without valid credentials"
    if code in THROTTLED:
        return f"do less at once, or ask AWS for a higher rate of {permission}"
    if code in _UNWELL:
        return f"run it again later; AWS itself failed at {permission}"
    if code in _LIMITS:
        return f"ask for more at Service Quotas; {permission} is at a limit of the account"
    if code in _ABSENT:
        return f"deploy the stack that makes it, or correct its name ({permission})"
    return ""


def _explain_refusal(parsed: dict[str, Any], model: Any, **rest: Any) -> None:
    error = parsed.get("Error")
    if not error:
        return
    mend = mend_of(error.get("Code", ""), permission_of(model.service_model.signing_name, model.name))
    if mend:
        said = str(error.get("Message") or "no reason was given").rstrip(".")
        error["Message"] = f"{said}. Mend: {mend}."


def _explain_silence(event_name: str, exception: Exception, **rest: Any) -> None:
    from botocore.exceptions import HTTPClientError

    if isinstance(exception, HTTPClientError) and "Mend:" not in str(exception):
        _, service, operation = event_name.split(".")
        named = permission_of(_SIGNED.get(service, service), operation)
        exception.args = (f"{exception}. {named} was not answered. Mend: see that this machine reaches AWS.",)


# Events name services by their id, policies by what they sign with.
_SIGNED = {"eventbridge": "events", "cloudwatch": "cloudwatch"}
