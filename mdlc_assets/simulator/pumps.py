"""Simulated pumps: hourly readings, and one pump that wears out now and then. Nobody says when.

A day follows from the day alone, so any day can be made by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

_HOURS, _IDS_A_DAY = 24, 10_000
_EVERY_DAYS = 9


@dataclass(frozen=True)
class Pumps:
    """So many pumps; number 7 runs hot and shakes in the second half of every ninth day."""

    pumps: int = 20
    worn: int = 7

    def transactions(self, day: date) -> pl.DataFrame:
        """The readings of a day, sorted by time, under the names of `pump_anomalies`."""
        draw, usual = np.random.default_rng([2, day.toordinal()]), np.random.default_rng(2)
        begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
        warm, loud = usual.uniform(45, 60, self.pumps), usual.uniform(1.0, 2.5, self.pumps)
        pump = np.tile(np.arange(self.pumps), _HOURS)
        rows = len(pump)
        worn = self.is_worn(day, pump)
        instants = [begins + timedelta(hours=i // self.pumps, seconds=i % self.pumps) for i in range(rows)]
        return pl.DataFrame(
            {
                "reading_id": day.toordinal() * _IDS_A_DAY + np.arange(rows),
                "read_at": pl.Series(instants, dtype=pl.Datetime("us", "UTC")),
                "pump": [f"pump-{i:02d}" for i in pump],
                "pressure": np.round(draw.normal(6, 0.15, rows) - 1.0 * worn, 3),
                "temperature": np.round(warm[pump] + draw.normal(0, 1, rows) + 14 * worn, 2),
                "vibration": np.round(loud[pump] * draw.lognormal(0, 0.06, rows) + 3 * worn, 3),
            }
        )

    def labels(self, day: date) -> None:
        """None: what is learnt here is what is usual."""
        return None

    def is_worn(self, day: date, pump: np.ndarray) -> np.ndarray:
        """Which of the day's readings come from the pump while it wears out; for tests only."""
        later = np.arange(len(pump)) > len(pump) // 2
        return (pump == self.worn) & later & (day.toordinal() % _EVERY_DAYS == 0)
