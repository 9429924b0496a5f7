"""Where HTML reports lie: a page for each day of each lifecycle, `latest.html`, and the front page over all."""

from __future__ import annotations

import json
import os
from datetime import date
from typing import Any

import dagster as dg

from mdlc_assets.resources.storage import open_storage

_SUMMARY = "latest.json"


class Reports(dg.ConfigurableResource):
    """Pages below `root`, a folder or s3://bucket/prefix. The addresses are where links lead."""

    root: str
    dagster_url: str = "http://127.0.0.1:3000"
    mlflow_url: str = "http://127.0.0.1:3002"
    reports_url: str = "http://127.0.0.1:3001"

    @classmethod
    def from_environment(cls, root: str) -> Reports:
        """MDLC_DAGSTER_URL, MDLC_MLFLOW_URL and MDLC_REPORTS_URL, where they are set, say where links lead."""
        names = {name: os.environ.get(f"MDLC_{name.upper()}") for name in ("dagster_url", "mlflow_url", "reports_url")}
        return cls(root=root, **{name: address.rstrip("/") for name, address in names.items() if address})

    def link(self, name: str) -> str:
        """The address of a page, such as `bakery_demand/2024-06-01.html`, where somebody serves them."""
        return f"{self.reports_url}/{name}"

    def version_link(self, model: str, version: int) -> str:
        """The address of a model's version in MLflow."""
        return f"{self.mlflow_url}/#/models/{model}/versions/{version}"

    def put(self, lifecycle: str, day: date, page: str, summary: dict[str, Any]) -> str:
        """Keep a day's page; the newest day's is `latest.html` too, and its summary goes to the front page.

        Gives where the page lies.
        """
        storage = open_storage(self.root)
        name = f"{lifecycle}/{day}.html"
        storage.write(name, page.encode())
        if self.pages(lifecycle)[-1] == day:
            storage.write(f"{lifecycle}/latest.html", page.encode())
            storage.write(f"{lifecycle}/{_SUMMARY}", json.dumps(summary, sort_keys=True, allow_nan=False).encode())
        return storage.location(name)

    def pages(self, lifecycle: str) -> list[date]:
        """The days that have a page, sorted."""
        names = [name.rpartition("/")[2] for name in open_storage(self.root).names(lifecycle)]
        return [date.fromisoformat(name[:10]) for name in names if name.endswith(".html") and name != "latest.html"]

    def summaries(self) -> list[dict[str, Any]]:
        """The newest summary of each lifecycle, by name."""
        storage = open_storage(self.root)
        return [json.loads(storage.read(name)) for name in storage.names("") if name.endswith(f"/{_SUMMARY}")]

    def put_front(self, page: str) -> str:
        """Replace the front page; gives where it lies."""
        storage = open_storage(self.root)
        storage.write("index.html", page.encode())
        return storage.location("index.html")

    def put_page(self, name: str, page: str) -> str:
        """Keep a page that belongs to no day, such as `models/bakery_demand/backtest.html`. Gives where it lies."""
        storage = open_storage(self.root)
        storage.write(name, page.encode())
        return storage.location(name)
