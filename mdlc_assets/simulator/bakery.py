"""Simulated sales of bakeries: shelves with weekly seasons, prices, promotions. A day follows from the seed and the
day alone, so any day can be made by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl

_PRODUCTS = {"bread": 3.9, "roll": 0.6, "croissant": 1.8, "cake": 4.5}
_PROMOTED, _DISCOUNT, _LIFT = 0.08, 0.8, 1.7
_OPENS = 6


@dataclass(frozen=True)
class Bakeries:
    """The feeds of `bakery_demand`."""

    shops: int = 10
    seed: int = 11

    def transactions(self, day: date) -> pl.DataFrame:
        """What the shops offer on a day."""
        return self._day(day).drop("sold")

    def labels(self, day: date) -> pl.DataFrame:
        """What they sold of it, known a day later."""
        known = (pl.col("opens_at") + timedelta(days=1)).alias("known_at")
        return self._day(day).select("offer_id", "sold", known)

    @cached_property
    def _shelves(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, 0])
        count = self.shops * len(_PRODUCTS)
        # Some shops live off offices, some off families at weekends.
        weekend = np.repeat(rng.uniform(0.4, 2.0, self.shops), len(_PRODUCTS))
        return {"usual": rng.gamma(4, 9, count), "weekend": weekend}

    def _day(self, day: date) -> pl.DataFrame:
        rng = np.random.default_rng([self.seed, day.toordinal()])
        shelves = [f"shop{shop:02d}/{product}" for shop in range(self.shops) for product in _PRODUCTS]
        promoted = rng.random(len(shelves)) < _PROMOTED
        price = np.tile(list(_PRODUCTS.values()), self.shops) * np.where(promoted, _DISCOUNT, 1)
        season = 1 + 0.15 * np.sin(2 * np.pi * day.timetuple().tm_yday / 365)
        wanted = self._shelves["usual"] * season * np.where(promoted, _LIFT, 1)
        if day.weekday() >= 5:
            wanted = wanted * self._shelves["weekend"]
        return pl.DataFrame(
            {
                "offer_id": [f"{day}/{shelf}" for shelf in shelves],
                "opens_at": [datetime(day.year, day.month, day.day, _OPENS, tzinfo=UTC)] * len(shelves),
                "shelf": shelves,
                "product": list(_PRODUCTS) * self.shops,
                "price": price.round(2),
                "promoted": promoted,
                "sold": rng.poisson(wanted).astype(np.float64),
            }
        )
