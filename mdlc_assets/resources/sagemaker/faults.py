"""What the service's refusals mean: which are waited out, and in which words the others are told.

A refusal that says something of the thing asked for (it exists already, it is not there) stays boto3's ClientError, for
the caller to judge.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from mdlc_assets.resources.aws import DENIED, EXPIRED, PASSING, THROTTLED

_LIMITS = frozenset({"ResourceLimitExceeded", "LimitExceeded", "LimitExceededException", "LimitExceededFault"})
_ABSENT = frozenset({"ValidationException", "ValidationError", "ResourceNotFound", "ObjectNotFoundException"})
_NOT_THERE = ("could not find", "does not exist", "not found", "no scalable target")
_UNREACHED = (ConnectionError, HTTPClientError)


class ServiceError(RuntimeError):
    """SageMaker refused, or was not to be reached; the text says what to do."""


class UnansweredError(ServiceError):
    """A call that was never answered, and may have been heard."""


class AnswerError(ServiceError):
    """An endpoint that does not answer rows with scores."""


def code_of(error: BaseException) -> str:
    """The service's code of an error of boto3; empty for any other."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def absent(error: ClientError) -> bool:
    """Whether it says that the thing asked for is not there, and nothing else."""
    said = str(error).lower()
    return code_of(error) in _ABSENT and any(words in said for words in _NOT_THERE)


def passes(error: BaseException) -> bool:
    """Whether the same call may succeed later: throttled, busy, or not to be reached."""
    return code_of(error) in PASSING or isinstance(error, _UNREACHED)


def told(error: Exception, client: Any, method: str, seconds: float) -> ServiceError | None:
    """The error in words with what to do about it; None where it is the caller's to judge."""
    service = client.meta.service_model.service_name
    # The runtime's calls are named after the service itself in policies.
    permission = f"{service.removesuffix('-runtime')}:{client.meta.method_to_api_mapping[method]}"
    code = code_of(error)
    if code in THROTTLED:
        return ServiceError(
            f"{service} throttled {permission} for {seconds:g} s ({code}). "
            "Mend: run fewer jobs at once, or ask AWS for a higher rate."
        )
    if code in PASSING:
        return ServiceError(f"{service} failed at {permission} for {seconds:g} s ({code}). Mend: run it again later.")
    if isinstance(error, _UNREACHED):
        return UnansweredError(
            f"{permission} was not answered for {seconds:g} s ({type(error).__name__}). "
            f"Mend: see that this machine reaches {client.meta.endpoint_url}, then start a new run."
        )
    if code in DENIED:
        return ServiceError(
            f"{permission} is not allowed ({code}: {_said(error)}). "
            f"Mend: give the role of the run {permission}; deploy/cloudformation/roles.yaml has all it needs."
        )
    if code in EXPIRED or isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ServiceError(
            f"{permission} was sent without valid credentials ({code or type(error).__name__}). "
            "Mend: give the process a role, or log in again."
        )
    if code in _LIMITS:
        return ServiceError(
            f"{permission} would exceed a limit of the account ({code}: {_said(error)}). "
            "Mend: ask for more at Service Quotas, take another instance type, or end what is not used."
        )
    return None


def _said(error: Exception) -> str:
    found = error.response["Error"].get("Message", "") if isinstance(error, ClientError) else ""
    return found.strip().rstrip(".") or "no reason was given"
