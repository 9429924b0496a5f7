"""Which streams a deployment has: files below a folder, or Kinesis with its checkpoints in DynamoDB."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import dagster as dg

from mdlc_assets.resources.streams.checkpoints import Checkpoints, LocalCheckpoints
from mdlc_assets.resources.streams.embedded import EmbeddedStream
from mdlc_assets.resources.streams.records import Stream


class Streams(dg.ConfigurableResource):
    """One stream for each lifecycle. `kinesis` is the name of its stream on AWS with `{lifecycle}` in it, `checkpoints`
    the DynamoDB table; without them everything lies below `root`."""

    root: str
    kinesis: str = ""
    checkpoints_table: str = ""

    @classmethod
    def from_environment(cls, root: str) -> Streams:
        """MDLC_KINESIS_STREAM (such as `mdlc-{lifecycle}`) and MDLC_STREAM_CHECKPOINTS (a table)."""
        return cls(
            root=root,
            kinesis=os.environ.get("MDLC_KINESIS_STREAM", ""),
            checkpoints_table=os.environ.get("MDLC_STREAM_CHECKPOINTS", ""),
        )

    def stream(self, lifecycle: str, shards: int = 1, retention: timedelta = timedelta(days=7)) -> Stream:
        """The stream of a lifecycle; the embedded one is made where it is not there."""
        if self.kinesis:
            from mdlc_assets.resources.streams.kinesis import KinesisStream

            return KinesisStream(self.kinesis.format(lifecycle=lifecycle))
        return EmbeddedStream(Path(self.root) / f"{lifecycle}.db", shards=shards, retention=retention)

    def checkpoints(self, application: str) -> Checkpoints:
        """The checkpoints of an application; by default one for each lifecycle, of its name."""
        if self.checkpoints_table:
            from mdlc_assets.resources.streams.dynamodb_checkpoints import DynamoCheckpoints

            return DynamoCheckpoints(self.checkpoints_table, application)
        if self.kinesis:
            raise ValueError(
                f"MDLC_STREAM_CHECKPOINTS is not set, though MDLC_KINESIS_STREAM is {self.kinesis}. Mend: name a "
                "DynamoDB table, or let the Lambda read the stream."
            )
        return LocalCheckpoints(Path(self.root) / "checkpoints.db", application)

    @property
    def read_by_lambda(self) -> bool:
        """Whether AWS keeps the checkpoints: there is a Kinesis stream, and no table for ours."""
        return bool(self.kinesis) and not self.checkpoints_table

    def there(self, lifecycle: str) -> bool:
        """Whether the stream has been made."""
        return bool(self.kinesis) or (Path(self.root) / f"{lifecycle}.db").exists()
