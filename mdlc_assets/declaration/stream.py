"""The stream: how wide it is, how it is read, when somebody must look at it."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from mdlc_assets.declaration.base import Declared, Duration


class Stream(Declared):
    """Events that arrive one by one; `mdlc stream` and the Lambda read them."""

    shards: int = Field(default=1, ge=1, le=1_000, description="Most readers at once; the embedded form is made so.")
    key: str | None = Field(default=None, description="The column whose value chooses the shard; the id when absent.")
    retention: Duration = Field(
        default=timedelta(days=7), description="How long the embedded form keeps records for who reads them late."
    )
    batch: int = Field(default=1_000, ge=1, le=10_000, description="The most records that are handled together.")
    alarm_lag: Duration = Field(
        default=timedelta(minutes=5),
        description="So old an unread record may become before `stream_lag` fails.",
    )
    settle: Duration = Field(
        default=timedelta(minutes=15),
        description="So long nothing more must have arrived of a day before the batch path takes it, once it is over.",
    )
