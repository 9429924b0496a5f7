"""A batch transform from its files to its answers: the model, the input and the output are there while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.marketplace import made_model, unmade_model
from mdlc_assets.resources.sagemaker.requests import TransformPlan, job_name, transform_request

_LOG = logging.getLogger("mdlc.sagemaker")


@dataclass(frozen=True)
class ServedBy:
    """An image, the archive it reads its model from, and its environment. `image` may be a Marketplace ARN."""

    image: str
    archive: bytes
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Transformed:
    """A transform that has completed; without files none was made. `read` gives the answer to a file, by its name."""

    arn: str
    read: Callable[[str], bytes]


@contextlib.contextmanager
def transformed(
    service: SageMaker,
    stem: str,
    model: ServedBy,
    how: TransformPlan,
    files: Iterable[tuple[str, bytes]],
    *,
    patience_seconds: float = 86_400,
    pace: Pace | None = None,
) -> Iterator[Transformed]:
    """Send `files` through a model and let the answers be read; afterwards nothing of it is left.

    `how` says how, its names and addresses are filled in here. Raises `JobFailedError` with the reason, or
    `ServiceError`.
    """
    name = job_name(stem, "batch", uuid.uuid4())
    storage, jobs = service.storage(f"transforms/{name}"), Jobs(service.client(), pace)
    plan = dataclasses.replace(
        how, name=name, model=name, source=storage.location("input"), output=storage.location("output")
    )
    made, count = None, 0
    try:
        for file, content in files:
            storage.write(f"input/{file}", content)
            count += 1
        if not count:
            yield Transformed("", storage.read)
            return
        storage.write("model.tar.gz", model.archive)
        made = made_model(jobs, service, name, model.image, storage.location("model.tar.gz"), model.environment)
        done = jobs.transform(transform_request(plan), patience_seconds=patience_seconds)
        yield Transformed(done["TransformJobArn"], lambda file: storage.read(f"output/{file}.out"))
    finally:
        if made is not None:
            # What went wrong before must be what is said.
            try:
                unmade_model(jobs, made)
            except (ClientError, ServiceError) as error:
                _LOG.error("the model %s stays, which costs nothing. Mend: delete it at SageMaker. %s", name, error)
        for file in storage.names(""):
            storage.delete(file)
