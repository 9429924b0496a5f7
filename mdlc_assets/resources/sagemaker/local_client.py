"""A client with boto3's method names for a machine without AWS.

A request is first checked as boto3 checks it (`ParamValidationError`), then as the service does
(`constraints`: `ClientError` with ValidationException), then handed to the handler that has a method of the
same name. The answer is cut to the shape the service model gives it and checked by it as well.

A handler is a class that names its `service`, takes a `LocalState`, and has methods called as boto3's, each
taking the request as a dictionary and returning the answer; it refuses with `refusal(code, message)`. A module
of this package called `local_...` lists its handlers in `HANDLERS`.
"""

from __future__ import annotations

import functools
import importlib
import io
import pkgutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Protocol

import botocore.session
from botocore.errorfactory import ClientExceptionsFactory
from botocore.exceptions import ClientError, OperationNotPageableError, ParamValidationError
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.paginate import Paginator
from botocore.response import StreamingBody
from botocore.validate import ParamValidator
from botocore.waiter import Waiter, WaiterModel, create_waiter_with_client

from mdlc_assets.resources.sagemaker.constraints import broken_constraints
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, refusal


class NotSimulatedError(NotImplementedError):
    """An operation of the service that the local form does not do."""


class Handler(Protocol):
    """Does the work of some operations of one service."""

    service: str

    def __init__(self, state: LocalState) -> None: ...


class LocalClient:
    """The client of one service ("sagemaker", "sagemaker-runtime", "cloudwatch") over a state folder."""

    def __init__(self, service: str, state: LocalState) -> None:
        session = _session()
        model = session.get_service_model(service)
        self.state = state
        self.exceptions = _exceptions().create_client_exceptions(model)
        self.meta = SimpleNamespace(
            service_model=model,
            region_name=state.region,
            endpoint_url=state.root.as_uri(),
            events=session.get_component("event_emitter"),
            method_to_api_mapping={_method_name(name): name for name in model.operation_names},
        )
        self._handlers = [kind(state) for kind in _handler_kinds() if kind.service == service]
        self._validator = ParamValidator()

    def __getattr__(self, name: str) -> Callable[..., Document]:
        operation = self.__dict__.get("meta", SimpleNamespace(method_to_api_mapping={})).method_to_api_mapping.get(name)
        if operation is None:
            raise AttributeError(f"{self.meta.service_model.service_name} has no operation {name!r}")

        def call(**request: Any) -> Document:
            return self._call(name, self.meta.service_model.operation_model(operation), request)

        call.__name__ = name
        return call

    def can_paginate(self, name: str) -> bool:
        """Whether boto3 would page through the answers of a method."""
        return self.meta.method_to_api_mapping.get(name) in self._settings("paginators-1", "pagination")

    def get_paginator(self, name: str) -> Paginator:
        """botocore's own paginator over a method."""
        if not self.can_paginate(name):
            raise OperationNotPageableError(operation_name=name)
        operation = self.meta.method_to_api_mapping[name]
        settings = self._settings("paginators-1", "pagination")[operation]
        return Paginator(getattr(self, name), settings, self.meta.service_model.operation_model(operation))

    def get_waiter(self, name: str) -> Waiter:
        """botocore's own waiter, by its name in lower case with underscores."""
        model = WaiterModel({"version": 2, "waiters": self._settings("waiters-2", "waiters")})
        known = {_method_name(waiter): waiter for waiter in model.waiter_names}
        if name not in known:
            raise ValueError(f"Waiter does not exist: {name}")
        return create_waiter_with_client(known[name], model, self)

    def _call(self, name: str, operation: OperationModel, request: Document) -> Document:
        if operation.input_shape is not None:
            report = self._validator.validate(request, operation.input_shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
            broken = list(broken_constraints(request, operation.input_shape))
            if broken:
                count = f"{len(broken)} validation error{'s' if len(broken) > 1 else ''} detected"
                raise self._raised(refusal("ValidationException", f"{count}: {'; '.join(broken)}"), operation)
        work = next((getattr(handler, name) for handler in self._handlers if hasattr(handler, name)), None)
        if work is None:
            raise NotSimulatedError(
                f"the local form of {self.meta.service_model.service_name} does not do {operation.name}. "
                "Mend: use AWS for it, or one of "
                f"{', '.join(sorted(m for h in self._handlers for m in dir(h) if not m.startswith('_')))}."
            )
        fault = self.state.take_fault(operation.name)
        if fault:
            raise self._raised(refusal(fault, "Rate exceeded" if "hrottl" in fault else "asked for"), operation)
        try:
            answer = work(request) or {}
        except ClientError as error:
            raise self._raised(error, operation) from None
        return self._answer(answer, operation)

    def _raised(self, error: ClientError, operation: OperationModel) -> ClientError:
        """The error of the class that boto3 gives this code, naming the operation."""
        kind = self.exceptions.from_code(error.response["Error"]["Code"])
        return kind(error.response, operation.name)

    def _answer(self, answer: Document, operation: OperationModel) -> Document:
        shape = operation.output_shape
        metadata = {"RequestId": str(uuid.uuid4()), "HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0}
        if shape is None:
            return {"ResponseMetadata": metadata}
        found = shaped(answer, shape)
        report = self._validator.validate(found, shape)
        if report.has_errors():
            raise AssertionError(f"the local {operation.name} answers what AWS never does: {report.generate_report()}")
        payload = shape.serialization.get("payload")
        if payload and shape.members[payload].type_name == "blob":
            content = found.get(payload, b"")
            found[payload] = StreamingBody(io.BytesIO(content), len(content))
        return {**found, "ResponseMetadata": metadata}

    def _settings(self, kind: str, part: str) -> dict[str, Any]:
        loader = _session().get_component("data_loader")
        return loader.load_service_model(self.meta.service_model.service_name, kind)[part]


def shaped(value: Any, shape: Shape) -> Any:
    """`value` with only what the shape knows, seconds turned into datetimes; None is left out."""
    if isinstance(shape, StructureShape):
        known = ((name, value[name]) for name in shape.members if value.get(name) is not None)
        return {name: shaped(part, shape.members[name]) for name, part in known}
    if isinstance(shape, ListShape):
        return [shaped(part, shape.member) for part in value]
    if isinstance(shape, MapShape):
        return {key: shaped(part, shape.value) for key, part in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return value


def _method_name(operation: str) -> str:
    from botocore import xform_name

    return xform_name(operation)


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()


@functools.cache
def _exceptions() -> ClientExceptionsFactory:
    # It keeps the classes it made, so that they are the same for all clients of a service.
    return ClientExceptionsFactory()


@functools.cache
def _handler_kinds() -> tuple[type[Handler], ...]:
    package = importlib.import_module(__package__ or "mdlc_assets.resources.sagemaker")
    modules = (
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
        if found.name.startswith("local_")
    )
    return tuple(kind for module in modules for kind in getattr(module, "HANDLERS", ()))
