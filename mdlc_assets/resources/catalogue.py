"""The catalogue of datasets: what exists, its schema, owner, freshness, days and volume.

One JSON document for each dataset, `<root>/<lifecycle>/<dataset>.json`. It holds no clock time, so that
recording the same thing again leaves the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import dagster as dg

from mdlc_assets.resources.storage import Storage, open_storage


@dataclass(frozen=True)
class CatalogueColumn:
    """One column of a dataset."""

    name: str
    type: str
    description: str = ""
    unit: str | None = None


@dataclass(frozen=True)
class CatalogueEntry:
    """What the catalogue says about one dataset. `rows` counts the rows of each day that was landed."""

    lifecycle: str
    dataset: str
    description: str
    owner: str
    location: str
    fresh_within: str
    columns: tuple[CatalogueColumn, ...] = ()
    rows: Mapping[date, int] = field(default_factory=dict)

    @property
    def days(self) -> list[date]:
        """The days that are there, sorted."""
        return sorted(self.rows)

    @property
    def missing_days(self) -> list[date]:
        """Days between the first and the last that are not there."""
        days = self.days
        if not days:
            return []
        span = (days[-1] - days[0]).days + 1
        return [day for day in (days[0] + timedelta(days=i) for i in range(span)) if day not in self.rows]

    def as_document(self) -> dict[str, Any]:
        """The JSON form."""
        days = self.days
        return {
            **{k: v for k, v in asdict(self).items() if k not in {"columns", "rows"}},
            "columns": [asdict(column) for column in self.columns],
            "first_day": days[0].isoformat() if days else None,
            "last_day": days[-1].isoformat() if days else None,
            "day_count": len(days),
            "missing_days": [day.isoformat() for day in self.missing_days],
            "row_count": sum(self.rows.values()),
            "rows": {day.isoformat(): self.rows[day] for day in days},
        }


class Catalogue(dg.ConfigurableResource):
    """The catalogue at `root`: a folder, or `s3://bucket/prefix`. One run at a time may record a dataset."""

    root: str

    def record(self, entry: CatalogueEntry) -> CatalogueEntry:
        """Put `entry` into the catalogue, its days added to those recorded before. Returns the whole."""
        before = self.find(entry.lifecycle, entry.dataset)
        rows = {**(before.rows if before else {}), **entry.rows}
        whole = CatalogueEntry(**{**vars(entry), "rows": rows})
        text = json.dumps(whole.as_document(), indent=1).encode()
        self._storage().write(self._name(entry.lifecycle, entry.dataset), text)
        return whole

    def find(self, lifecycle: str, dataset: str) -> CatalogueEntry | None:
        """What is recorded about a dataset; None when nothing is."""
        try:
            content = json.loads(self._storage().read(self._name(lifecycle, dataset)))
        except FileNotFoundError:
            return None
        return _from_document(content)

    def entries(self, lifecycles: Iterable[str]) -> list[CatalogueEntry]:
        """All entries of the given lifecycles, by lifecycle and name."""
        storage = self._storage()
        names = [name for lifecycle in lifecycles for name in storage.names(lifecycle)]
        return [_from_document(json.loads(storage.read(name))) for name in names if name.endswith(".json")]

    def _storage(self) -> Storage:
        return open_storage(self.root)

    @staticmethod
    def _name(lifecycle: str, dataset: str) -> str:
        return f"{lifecycle}/{dataset}.json"


def _from_document(content: Mapping[str, Any]) -> CatalogueEntry:
    plain = ("lifecycle", "dataset", "description", "owner", "location", "fresh_within")
    return CatalogueEntry(
        **{name: content[name] for name in plain},
        columns=tuple(CatalogueColumn(**column) for column in content["columns"]),
        rows={date.fromisoformat(day): count for day, count in content["rows"].items()},
    )
