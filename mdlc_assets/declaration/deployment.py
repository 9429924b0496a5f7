"""How the champion is used: for a whole day at once, and one event at a time."""

from __future__ import annotations

from pydantic import Field

from mdlc_assets.declaration.base import Declared


class RealTime(Declared):
    """The endpoint. Locally a server process on loopback; on AWS a SageMaker endpoint."""

    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port.")
    health_seconds: float = Field(
        default=30, gt=0, description="A new version must answer /ping within this time, or the old stays."
    )
    workers: int = Field(default=1, ge=1, le=64)


class Deployment(Declared):
    """Batch predictions are always made; the endpoint only when declared."""

    real_time: RealTime | None = RealTime()
