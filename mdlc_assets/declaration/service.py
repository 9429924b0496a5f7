"""The decision service: how long it waits, what it decides without score, when it gives reasons."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mdlc_assets.declaration.base import Declared, Duration


class Fallback(Declared):
    """What happens when the store or the model is away: rules that need neither decide, then `decide`."""

    store_ms: float = Field(default=50, gt=0, le=10_000, description="So long an answer of the store is waited for.")
    model_ms: float = Field(
        default=500, gt=0, le=10_000, description="So long an answer of the endpoint is waited for (`model: endpoint`)."
    )
    decide: str | None = Field(
        default=None, description="The decision when no rule that needs neither holds; `otherwise` when absent."
    )
    after_failures: int = Field(default=5, ge=1, le=1000, description="So many in a row, and it is not asked any more.")
    rest: Duration = Field(default=timedelta(seconds=5), description="How long it is then left alone.")


class Service(Declared):
    """`mdlc serve`."""

    model: Literal["process", "endpoint"] = Field(
        default="process",
        description="Where scores come from: the champion in the service's own process, or the endpoint of "
        "`real_time`, which gives no reasons.",
    )
    reasons: Literal["always", "acted", "never"] = Field(
        default="acted",
        description="Which features moved the score: for each event, for decisions other than `otherwise`, never.",
    )
    most_reasons: int = Field(default=3, ge=1, le=100)
    look_for_model: Duration = Field(default=timedelta(seconds=5), description="How often the registry is asked.")
    capture: bool = Field(default=True, description="Keep each decision with its inputs for the lake.")
    fallback: Fallback = Fallback()
