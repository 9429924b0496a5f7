"""Where HTML reports lie: a page for each day, and `latest.html`."""

from __future__ import annotations

from datetime import date

import dagster as dg

from mdlc_assets.resources.storage import open_storage


class Reports(dg.ConfigurableResource):
    """Pages below `root`, a folder or s3://bucket/prefix."""

    root: str

    def put(self, lifecycle: str, day: date, page: str) -> str:
        """Keep a day's page; the newest day's is `latest.html` too. Gives where it lies."""
        storage = open_storage(self.root)
        name = f"{lifecycle}/{day}.html"
        storage.write(name, page.encode())
        newest = max(file for file in storage.names(lifecycle) if not file.endswith("latest.html"))
        if newest == name:
            storage.write(f"{lifecycle}/latest.html", page.encode())
        return storage.location(name)

    def put_page(self, name: str, page: str) -> str:
        """Keep a page that belongs to no day, such as `models/payments_fraud/backtest.html`. Gives where it lies."""
        storage = open_storage(self.root)
        storage.write(name, page.encode())
        return storage.location(name)
