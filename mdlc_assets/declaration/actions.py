"""What a decision sets in motion: in words for people, and for programs where an effect goes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mdlc_assets.declaration.base import Declared, refuse


class Webhook(Declared):
    """A POST of the decision as JSON, signed with a secret."""

    to: Literal["webhook"]
    url: str
    secret: str = Field(
        default="MDLC_WEBHOOK_SECRET", description="The environment variable that holds the secret, never the secret."
    )
    timeout_seconds: float = Field(default=10, gt=0, le=30)

    @field_validator("url")
    @classmethod
    def _encrypted(cls, url: str) -> str:
        here = ("http://127.0.0.1", "http://localhost", "http://[::1]")
        if not url.startswith(("https://", *here)):
            raise refuse(f"{url!r} would carry decisions in the clear", "write https://, or http:// on this machine")
        return url


class DynamoTable(Declared):
    """An item in a table whose partition key is `idempotency_key`."""

    to: Literal["dynamodb"]
    table: str


class Topic(Declared):
    """A message on an SNS topic, by its ARN; a FIFO topic (`.fifo`) drops repeats itself."""

    to: Literal["sns"]
    topic: str


class Queue(Declared):
    """A message in an SQS queue, by its URL; a FIFO queue (`.fifo`) drops repeats itself."""

    to: Literal["sqs"]
    queue: str


class EventBus(Declared):
    """An event on an EventBridge bus."""

    to: Literal["eventbridge"]
    bus: str = "default"
    source: str = "mdlc.decisions"


class Folder(Declared):
    """A file for each decision in a folder of this machine: for laptops and tests."""

    to: Literal["file"]
    folder: str


Target = Annotated[Webhook | DynamoTable | Topic | Queue | EventBus | Folder, Field(discriminator="to")]


class Action(Declared):
    """An action that is more than words."""

    words: str = Field(description="What it means, for people.")
    do: list[Target] = Field(min_length=1, max_length=20)
