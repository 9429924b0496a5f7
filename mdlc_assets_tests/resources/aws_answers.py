"""Answers in the place of AWS's: throttled, denied, or none, below boto3's own retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.handlers
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.retries.standard import ExponentialBackoff

_CODES = {"s3": "SlowDown", "dynamodb": "ProvisionedThroughputExceededException"}


class Faults:
    """What was asked of AWS, and the answer that is put in the place of one, or of all later ones of its operation.

    `struck` names the operation, or several with spaces between them.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fault, self.struck, self.lasts = "", "", False

    def begin(self, fault: str = "", struck: str = "", *, lasts: bool = False) -> None:
        self.calls, self.fault, self.struck, self.lasts = [], fault, struck, lasts

    def __call__(self, event_name: str, request: Any, **rest: Any) -> AWSResponse | None:
        _, service, operation = event_name.split(".")
        name = f"{service}.{operation}"
        self.calls.append(name)
        if name not in self.struck.split() or not (self.lasts or self.calls.count(name) == 1):
            return None
        if self.fault == "silent":
            raise ReadTimeoutError(endpoint_url=request.url)
        code = _CODES.get(service, "ThrottlingException") if self.fault == "throttled" else "AccessDeniedException"
        return _refusal(service, request, code, 400 if self.fault == "throttled" else 403)


def _refusal(service: str, request: Any, code: str, status: int) -> AWSResponse:
    """As the service would say it: JSON where it was asked in JSON, CBOR in CBOR, else XML."""
    kind, headers = str(request.headers.get("Content-Type", b"")), {}
    content = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>".encode()
    if service == "s3":
        # Where the content that is put says JSON, the answer does not.
        content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    # EMR Serverless is asked by the address alone, without content.
    elif "json" in kind or service == "emr-serverless":
        return answer(request, {"__type": code, "message": "no"}, status)
    elif "cbor" in kind:
        texts = [b"__type", code.encode(), b"message", b"no"]
        content = b"\xa2" + b"".join(b"\x78" + bytes([len(text)]) + text for text in texts)
        headers = {"smithy-protocol": "rpc-v2-cbor"}
    return AWSResponse(request.url, status, headers, _Raw(content))


def answer(request: Any, content: dict[str, Any], status: int = 200) -> AWSResponse:
    """An answer of a service that speaks JSON."""
    return AWSResponse(request.url, status, {}, _Raw(json.dumps(content).encode()))


class _Raw:
    """A body as urllib3 gives it."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, *given: Any, **named: Any) -> Iterator[bytes]:
        yield self.content

    def read(self, *given: Any, **named: Any) -> bytes:
        return self.content


def answer_first(patch: pytest.MonkeyPatch, *answers: Callable[..., AWSResponse | None]) -> None:
    """Every client that is made from now on asks for its answers here first; nobody sleeps between attempts."""
    handlers = [*botocore.handlers.BUILTIN_HANDLERS, *(("before-send", answer) for answer in answers)]
    patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
    patch.setattr(boto3, "DEFAULT_SESSION", None)
    patch.setattr(ExponentialBackoff, "delay_amount", lambda *given: 0)
