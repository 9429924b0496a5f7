"""Alerts: a file for each, and a webhook where one is set. The same alert of the same day is sent once."""

from __future__ import annotations

import json
from datetime import date

import dagster as dg
import httpx
from tenacity import retry, stop_after_attempt, wait_exponential

from mdlc_assets.resources.storage import open_storage

_WEBHOOK_SECONDS = 5


class Alerts(dg.ConfigurableResource):
    """Alerts as JSON below `root` (a folder or s3://...), and posted to `webhook` when there is one."""

    root: str
    webhook: str = ""

    def send(self, lifecycle: str, day: date, kind: str, text: str, owner: str) -> bool:
        """Tell the owner, unless this kind was told for this day already. True when something was sent.

        The alert is put on file before the webhook is called, so a webhook that is down loses nothing; raises
        httpx.HTTPError after three attempts.
        """
        storage = open_storage(self.root)
        name = f"{lifecycle}/{day}-{kind}.json"
        alert = {"lifecycle": lifecycle, "day": day.isoformat(), "kind": kind, "text": text, "owner": owner}
        if name in storage.names(lifecycle):
            return False
        storage.write(name, json.dumps(alert, indent=1).encode())
        if self.webhook:
            _post(self.webhook, alert)
        return True


@retry(stop=stop_after_attempt(3), wait=wait_exponential(multiplier=0.5), reraise=True)
def _post(address: str, alert: dict[str, str]) -> None:
    httpx.post(address, json=alert, timeout=_WEBHOOK_SECONDS).raise_for_status()
