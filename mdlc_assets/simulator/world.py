"""Simulated card payments: customers, terminals near them, three kinds of fraud.

The kinds of fraud follow the public description of the Fraud Detection Handbook (Le Borgne et al., 2022,
chapter 3): every amount above 220; terminals compromised for 28 days; cards of which a third of the payments,
at five times the amount, are a thief's for 14 days. Everything else is of our own design. A day follows from
the seed and the day alone, so any day can be made by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import polars as pl

_CERTAIN_FRAUD_ABOVE = 220.0
_TERMINAL_DAYS, _CARD_DAYS = 28, 14
_CARD_SHARE, _CARD_FACTOR = 3, 5
_IDS_A_DAY = 1_000_000
_PEOPLE, _FALLS, _PAYMENTS = range(3)


@dataclass(frozen=True)
class Simulator:
    """A world that begins on `start`; a customer pays about twice a day on average."""

    start: date
    seed: int = 7
    customers: int = 1_500
    terminals: int = 3_000
    label_delay: timedelta = timedelta(days=7)

    def transactions(self, day: date) -> pl.DataFrame:
        """The payments of a day, sorted by time, under the canonical names of `payments_fraud`."""
        return self._day(day).drop("is_fraud")

    def labels(self, day: date) -> pl.DataFrame:
        """Which payments of the day were fraud, and the instant from which that is known."""
        known = (pl.col("event_time") + self.label_delay).alias("known_at")
        return self._day(day).select("transaction_id", "is_fraud", known)

    @cached_property
    def _world(self) -> dict[str, np.ndarray]:
        rng = self._generator(_PEOPLE, 0)
        homes = rng.uniform(0, 100, (self.customers, 2))
        shops = rng.uniform(0, 100, (self.terminals, 2))
        # The sixteen nearest terminals are the ones a customer goes to.
        distance = ((homes[:, None, :] - shops[None, :, :]) ** 2).sum(axis=2)
        near = np.argpartition(distance, 16, axis=1)[:, :16]
        return {
            "near": near,
            "mean_amount": rng.uniform(5, 100, self.customers),
            "payments_a_day": rng.uniform(0, 4, self.customers),
            "age": rng.integers(1, 2_000, self.customers),
        }

    def _day(self, day: date) -> pl.DataFrame:
        index = (day - self.start).days
        world, rng = self._world, self._generator(_PAYMENTS, index)
        count = rng.poisson(world["payments_a_day"])
        customer = np.repeat(np.arange(self.customers), count)
        size = len(customer)
        second = np.clip(rng.normal(43_200, 20_000, size), 0, 86_399).astype(np.int64)
        # Who would pay before midnight or after pays at some other time of the day instead.
        edge = (second == 0) | (second == 86_399)
        second[edge] = rng.integers(0, 86_400, edge.sum())
        mean = world["mean_amount"][customer]
        amount = rng.normal(mean, mean / 2)
        amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
        terminal = world["near"][customer, rng.integers(0, 16, size)]

        fraud = amount > _CERTAIN_FRAUD_ABOVE
        fraud |= np.isin(terminal, self._compromised(index, _TERMINAL_DAYS, self.terminals, 2.0 / 10_000))
        stolen = np.isin(customer, self._compromised(index, _CARD_DAYS, self.customers, 3.0 / 5_000))
        stolen &= rng.integers(0, _CARD_SHARE, size) == 0
        amount = np.where(stolen, amount * _CARD_FACTOR, amount)
        fraud |= stolen

        order = np.lexsort((customer, second))
        midnight = np.datetime64(day, "us")
        return pl.DataFrame(
            {
                "transaction_id": index * _IDS_A_DAY + np.arange(size, dtype=np.int64),
                "event_time": midnight + second[order].astype("timedelta64[s]"),
                "customer_id": customer[order].astype(np.int64),
                "terminal_id": terminal[order].astype(np.int64),
                "amount": np.round(amount[order], 2),
                "account_age_days": (world["age"][customer[order]] + index).astype(np.int64),
                "is_fraud": fraud[order].astype(np.int8),
            }
        ).with_columns(pl.col("event_time").dt.replace_time_zone("UTC"))

    def _compromised(self, index: int, days: int, population: int, share_a_day: float) -> np.ndarray:
        """Who fell in the last `days` days; the share that falls each day is the handbook's."""
        fallen = []
        for day in range(index - days + 1, index + 1):
            rng = self._generator(_FALLS, day + 10_000 * days)
            fallen.append(rng.choice(population, rng.poisson(population * share_a_day), replace=False))
        return np.concatenate(fallen)

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        # Days before the start are part of the world's past, and seeds are not negative.
        return np.random.default_rng([self.seed, purpose, number + 1_000_000])
