"""Where effects go, by the `to:` of the declaration: each kind sends one effect, and raises when it did not arrive.

A sender may be asked to send the same effect again, with the same key. What the far end must do for it to count once:

    dynamodb, file          nothing: the item or file is made only if it is not there
    sqs, sns  (.fifo)       nothing within five minutes: the key is the deduplication id
    sqs, sns, eventbridge   look at `idempotency_key`, which each message carries
    webhook                 look at the header Idempotency-Key
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mdlc_assets.resources.outbox import Effect


class Sender(Protocol):
    """Sends effects of one kind."""

    def send(self, effect: Effect) -> None:
        """Returns once the far end has it. Raises any exception when it may not have."""
        ...


class UndeliverableError(RuntimeError):
    """What no further attempt can change, such as a refusal of the far end."""


def sender_for(target: Mapping[str, Any]) -> Sender:
    """The sender of a declared target."""
    kind = target["to"]
    if kind == "webhook":
        from mdlc_assets.resources.actions.webhook import WebhookSender

        return WebhookSender()
    if kind == "file":
        from mdlc_assets.resources.actions.file import FileSender

        return FileSender()
    from mdlc_assets.resources.actions.aws import AwsSender

    return AwsSender(kind)
