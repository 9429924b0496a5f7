"""A signed POST, tried again while the far end is away.

Idempotency-Key:  the effect's key, the same at each attempt
X-MDLC-Timestamp: seconds since 1970, part of what is signed
X-MDLC-Signature: sha256=<HMAC-SHA256 in hex of "<timestamp>.<body>">, when a secret is set
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time

import httpx
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from mdlc_assets.resources.actions import UndeliverableError
from mdlc_assets.resources.outbox import Effect

_ATTEMPTS = 3
_WORTH_ANOTHER = {408, 409, 425, 429}


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What the header X-MDLC-Signature holds."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookSender:
    """Posts effects. Raises `UndeliverableError` when the far end refuses for good."""

    def send(self, effect: Effect) -> None:
        """A few attempts in a row; the outbox tries again later."""
        self._send(effect)

    @retry(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        retry=retry_if_exception(lambda error: not isinstance(error, UndeliverableError)),
        reraise=True,
    )
    def _send(self, effect: Effect) -> None:
        body = json.dumps({"idempotency_key": effect.key, **effect.payload}, sort_keys=True).encode()
        timestamp = str(int(time.time()))
        headers = {"content-type": "application/json", "idempotency-key": effect.key, "x-mdlc-timestamp": timestamp}
        if secret := os.environ.get(str(effect.target["secret"])):
            headers["x-mdlc-signature"] = signature(secret, timestamp, body)
        answer = httpx.post(
            str(effect.target["url"]),
            content=body,
            headers=headers,
            timeout=float(effect.target["timeout_seconds"]),
            follow_redirects=False,
        )
        if 300 <= answer.status_code < 500 and answer.status_code not in _WORTH_ANOTHER:
            raise UndeliverableError(f"the far end answers {answer.status_code}")
        answer.raise_for_status()
