"""boto3's clients with AWS's answers laid out beforehand, and faults put before any of the calls."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import boto3
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.local_state import LocalBuckets, LocalState
from mdlc_assets.resources.storage import Storage

Fault = Literal["throttled", "denied", "limit", "unanswered", "heard"]
_CODES = {"throttled": "ThrottlingException", "denied": "AccessDeniedException", "limit": "ResourceLimitExceeded"}
_IN_USE = ("ResourceInUse", "names must be unique")
# What AWS says to a call that it has carried out already.
_AGAIN = {
    "CreateTrainingJob": _IN_USE,
    "CreateTransformJob": _IN_USE,
    "CreateModel": ("ValidationException", "Cannot create already existing model"),
    "CreateModelPackageGroup": ("ValidationException", "Model Package Group already exists"),
    "CreateModelPackage": ("ConflictException", "Model Package already exists"),
    "CreateEndpointConfig": ("ValidationException", "Cannot create already existing endpoint configuration"),
    "CreateEndpoint": ("ValidationException", "Cannot create already existing endpoint"),
    "UpdateEndpoint": ("ValidationException", "Cannot update in-progress endpoint"),
    "DeleteModel": ("ValidationException", "Could not find model"),
    "DeleteModelPackage": ("ValidationException", "ModelPackage does not exist"),
    "DeleteEndpoint": ("ValidationException", "Could not find endpoint"),
    "DeleteEndpointConfig": ("ValidationException", "Could not find endpoint configuration"),
    "DeregisterScalableTarget": ("ObjectNotFoundException", "No scalable target registered"),
}


@dataclass
class Answering:
    """Answers by operation: one for all calls, or a list, of which the last one is given again and again.

    `fault` comes before the call number `at`; when it `lasts`, before each later call of that operation too.
    An answer (code, text) is a refusal; a function makes its own.
    """

    answers: dict[str, Any]
    fault: Fault | None = None
    at: int = -1
    lasts: bool = False
    calls: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """Those of the calls that the service has carried out."""
    _heard: set[str] = field(default_factory=set)
    _struck: str = ""

    def client(self, service: str) -> Any:
        _NOW[:] = [self._answer]
        return _client(service)

    def _answer(self, model: Any, **rest: Any) -> Any:
        name = model.name
        number = len(self.calls)
        self.calls.append(name)
        strikes = self.fault and (number == self.at or (self.lasts and name == self._struck))
        if strikes:
            self._struck = name
            if self.fault in _CODES:
                return _refused(_CODES[self.fault], "User: me is not authorized" if self.fault == "denied" else "no")
            if self.fault == "heard":
                self._carry_out(name)
                self._heard.add(name)
            raise ReadTimeoutError(endpoint_url="https://aws.invalid")
        # A call that names itself by a token is answered as before.
        if name in self._heard and name in _AGAIN and b'"ClientToken"' not in rest["params"]["body"]:
            self._heard.discard(name)
            return _refused(*_AGAIN[name])
        return self._carry_out(name)

    def _carry_out(self, name: str) -> Any:
        answer = self.answers.get(name, {})
        if isinstance(answer, list):
            answer = answer[min(self.done.count(name), len(answer) - 1)]
        if callable(answer):
            answer = answer()
        self.done.append(name)
        if isinstance(answer, tuple):
            return _refused(*answer)
        if isinstance(answer.get("Body"), bytes):
            answer = {**answer, "Body": StreamingBody(io.BytesIO(answer["Body"]), len(answer["Body"]))}
        return SimpleNamespace(status_code=200), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200}}


_NOW: list[Callable[..., Any]] = []


@functools.cache
def _client(service: str) -> Any:
    """One for all tests: to make one takes longer than what is tried with it."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client(service, region_name="eu-west-1", **keys)
    client.meta.events.register("before-call", lambda **call: _NOW[-1](**call))
    return client


def _refused(code: str, text: str) -> Any:
    error = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return SimpleNamespace(status_code=400), error


class AnsweredSageMaker(SageMaker):
    """The resource on AWS, with its clients in the hands of `Answering` and its bucket in a folder."""

    folder: str

    def client(self, service: str = "sagemaker") -> Any:  # type: ignore[override]
        return _ANSWERING[self.folder].client(service)

    def read(self, address: str) -> bytes:
        return LocalState(self.folder, "eu-west-1", {}).s3_path(address).read_bytes()

    def storage(self, prefix: str = "") -> Storage:
        return LocalBuckets(LocalState(self.folder, "eu-west-1", {}), f"s3://bucket/{prefix}".rstrip("/"))


_ANSWERING: dict[str, Answering] = {}
Workflow = Callable[[SageMaker], Any]


def answered(folder: Path, answering: Answering) -> AnsweredSageMaker:
    """The resource, whose calls are answered so."""
    _ANSWERING[str(folder)] = answering
    role = "arn:aws:iam::123456789012:role/mdlc-training"
    return AnsweredSageMaker(
        form="aws", region="eu-west-1", role=role, bucket="s3://bucket", image="image:1", folder=str(folder)
    )
