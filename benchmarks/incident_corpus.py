"""Incidents of more than thirty kinds in three sizes, and the worlds they happen in: simulated days and real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

import mdlc_assets
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.simulator import incidents
from mdlc_assets.simulator.world import Simulator

SIZES = ("gross", "moderate", "slight")
START = date(2018, 4, 1)
_USUAL_HOURS = 20.0


def corpus_lifecycle() -> LifecycleDeclaration:
    """The shipped declaration with a text column, a reference, a second source, and no last day.

    So that each kind of rule has something to judge; whatever decides is as shipped.
    """
    shipped = Path(mdlc_assets.__file__).parent / "lifecycles" / "payments_fraud" / "defs.yaml"
    content = yaml.safe_load(shipped.read_text())["attributes"]
    content["dataset"].pop("end")
    content["dataset"]["columns"]["channel"] = {"type": "string"}
    content["quality"]["references"] = [
        {"name": "known_terminals", "column": "terminal_id", "dataset": "terminals", "mend": "Ask for the terminals."}
    ]
    content["quality"]["references"][0]["tolerated_share"] = 0.001
    ledger = {"name": "ledger_agrees", "dataset": "ledger", "id": "transaction_id", "columns": {"amount": "amount"}}
    content["quality"]["agreements"] = [{**ledger, "mend": "Ask the ledger's owner."}]
    return LifecycleDeclaration.model_validate(content)


@dataclass(frozen=True)
class Arrived:
    """What came for a day. `index` counts the days since the incident began; `labels` are those due on the day."""

    rows: pl.DataFrame
    yesterday: pl.DataFrame
    labels: pl.DataFrame
    index: int = 0
    seed: int = 1
    unreadable: pl.Series | None = None
    hours: float = _USUAL_HOURS
    ledger: pl.DataFrame | None = None


Change = Callable[[Arrived, float], Arrived]


@dataclass(frozen=True)
class Kind:
    """One way in which data breaks or drifts, and how large it is when gross, moderate and slight."""

    name: str
    change: Change
    sizes: tuple[float, float, float]


def _of_rows(change: Callable[[pl.DataFrame, float, int], pl.DataFrame]) -> Change:
    return lambda came, size: replace(came, rows=change(came.rows, size, came.seed))


def _of_share(change: Callable[..., pl.DataFrame], **more: Any) -> Change:
    return _of_rows(lambda rows, size, seed: change(rows, size, seed=seed, **more))


def _after_yesterday(change: Callable[..., pl.DataFrame]) -> Change:
    return lambda came, size: replace(came, rows=change(came.rows, came.yesterday, size, seed=came.seed))


def _unreadable(came: Arrived, size: float) -> Arrived:
    rows = incidents.nulls(came.rows, "amount", size, seed=came.seed)
    text = pl.when(pl.col("amount").is_null()).then(pl.lit('{"amount": "12,50 EUR"}'))
    return replace(came, rows=rows, unreadable=rows.select(text.alias("_unreadable")).to_series())


def _missing_hours(came: Arrived, size: float) -> Arrived:
    hours = {8: range(8, 16), 1: [13], 0: [2]}[int(size)]
    return replace(came, rows=incidents.missing_hours(came.rows, hours))


def _ledger_differs(came: Arrived, size: float) -> Arrived:
    ledger = came.rows.select("transaction_id", "amount")
    return replace(came, ledger=incidents.scaled(ledger, 1.5, size, seed=came.seed))


def _new_pattern(rows: pl.DataFrame, size: float, seed: int) -> pl.DataFrame:
    labels = rows.select("transaction_id", is_fraud=pl.lit(0, pl.Int8))
    return incidents.new_fraud_pattern(rows, labels, size, seed=seed)[0]


def _frozen(came: Arrived, size: float) -> Arrived:
    return replace(came, rows=incidents.sticking_age(came.rows, size, days=came.index + 1, seed=came.seed - came.index))


def _labels_late(came: Arrived, size: float) -> Arrived:
    return replace(came, labels=incidents.dropped_rows(came.labels, size, seed=came.seed))


def _swapped(rows: pl.DataFrame, size: float, *, seed: int) -> pl.DataFrame:
    return incidents.swapped(rows, size, "customer_id", "terminal_id", seed=seed)


def _lost(column: str) -> Change:
    return _of_rows(lambda rows, size, seed: incidents.nulls(rows, column, size, seed=seed))


def _one(column: str, value: object) -> Change:
    return _of_rows(lambda rows, size, seed: incidents.constant(rows, size, value, column=column, seed=seed))


def _times(factor: float) -> Change:
    return _of_rows(lambda rows, size, seed: incidents.scaled(rows, factor, size, seed=seed))


KINDS: Sequence[Kind] = (
    Kind("account age frozen", _frozen, (1.0, 0.02, 0.002)),
    Kind("account age reset to 54", _of_share(incidents.reset_age), (1.0, 0.02, 0.002)),
    Kind("account age jumps", _of_share(incidents.jumped_age), (0.5, 0.02, 0.002)),
    Kind("account age missing", _lost("account_age_days"), (0.3, 0.01, 0.001)),
    Kind("file cut off", _of_rows(lambda r, s, _: incidents.truncated(r, s)), (0.5, 0.08, 0.03)),
    Kind("rows lost", _of_share(incidents.dropped_rows), (0.6, 0.1, 0.04)),
    Kind("hours missing", _missing_hours, (8, 1, 0)),
    Kind("file twice, new ids", _of_share(incidents.again_with_new_ids), (1.0, 0.05, 0.002)),
    Kind("file twice, same ids", _of_share(incidents.again_with_same_ids), (1.0, 0.05, 0.002)),
    Kind("yesterday's rows again", _after_yesterday(incidents.replayed), (1.0, 0.05, 0.002)),
    Kind("yesterday's ids again", _after_yesterday(incidents.repeated_ids), (0.5, 0.02, 0.001)),
    Kind("amounts scaled", _of_rows(lambda r, s, _: incidents.drifted_amount(r, s)), (1.5, 1.1, 1.03)),
    Kind("amounts in cents", _times(100), (1.0, 0.05, 0.0005)),
    Kind("another currency", _times(0.1), (1.0, 0.06, 0.01)),
    Kind("amounts missing", _lost("amount"), (0.3, 0.01, 0.001)),
    Kind("amounts unreadable", _unreadable, (0.3, 0.01, 0.001)),
    Kind("amounts negative", _times(-1), (0.3, 0.01, 0.001)),
    Kind("amounts constant", _one("amount", 49.9), (1.0, 0.02, 0.004)),
    Kind("cents lost", _of_share(incidents.rounded), (1.0, 0.03, 0.01)),
    Kind("amounts out of range", _times(1_000), (0.05, 0.003, 0.0002)),
    Kind("time zone (minutes off)", _of_rows(lambda r, s, _: incidents.shifted_time(r, int(s))), (360, 60, 10)),
    Kind("rows of the day before", _of_share(incidents.other_day), (0.5, 0.01, 0.001)),
    Kind("burst at night", _of_share(incidents.burst), (0.5, 0.03, 0.005)),
    Kind("unknown terminals", _one("terminal_id", 9_999_999), (0.3, 0.02, 0.0005)),
    Kind("one terminal for all", _one("terminal_id", 7), (0.5, 0.02, 0.004)),
    Kind("test traffic of one card", _one("customer_id", 7), (0.3, 0.02, 0.002)),
    Kind("cards mixed up", _of_share(incidents.shuffled, column="customer_id"), (1.0, 0.05, 0.0005)),
    Kind("card and terminal swapped", _of_share(_swapped), (1.0, 0.05, 0.0005)),
    Kind("new channel", _one("channel", "app"), (0.3, 0.01, 0.0005)),
    Kind("shops move to the web", _one("channel", "web"), (0.5, 0.1, 0.02)),
    Kind("channel missing", _lost("channel"), (0.3, 0.01, 0.0005)),
    Kind("new fraud: payments of 1.00", _of_rows(_new_pattern), (0.1, 0.01, 0.003)),
    Kind("second source differs", _ledger_differs, (0.5, 0.01, 0.0005)),
    Kind("labels late", _labels_late, (1.0, 0.1, 0.01)),
    Kind("file late (hours)", lambda came, size: replace(came, hours=size), (72, 40, 30)),
)


@dataclass(frozen=True)
class Incident:
    """A kind in one size, from `first` on."""

    kind: Kind
    size: str
    amount: float
    first: date
    seed: int


@dataclass(frozen=True)
class World:
    """Clean days of one source: `days` in order, transactions and labels of each."""

    name: str
    days: Sequence[date]
    transactions: Callable[[date], pl.DataFrame]
    labels_of: Callable[[date], pl.DataFrame]
    seed: int

    @cached_property
    def rows(self) -> Mapping[date, pl.DataFrame]:
        """Transactions by day, with a channel for each."""
        return {day: self._with_channel(day, self.transactions(day)) for day in self.days}

    @cached_property
    def labels(self) -> Mapping[date, pl.DataFrame]:
        return {day: self.labels_of(day) for day in self.days}

    @cached_property
    def terminals(self) -> pl.DataFrame:
        """The reference dataset: every terminal there is."""
        return pl.concat([frame.select("terminal_id") for frame in self.rows.values()]).unique()

    def _with_channel(self, day: date, rows: pl.DataFrame) -> pl.DataFrame:
        rng = np.random.default_rng([self.seed, day.toordinal()])
        channel = rng.choice(["web", "shop", "phone"], rows.height, p=[0.6, 0.35, 0.05])
        return rows.with_columns(channel=pl.Series(channel, dtype=pl.String))

    def happenings(
        self, first: date, last: date, seed: int, *, other_sizes: bool = False, kinds: Sequence[Kind] = KINDS
    ) -> list[Incident]:
        """Each kind in each size, on days drawn from `first` to `last`; `other_sizes` draws the sizes too."""
        rng = np.random.default_rng(seed)
        found = []
        for kind in kinds:
            for size, amount in zip(SIZES, kind.sizes, strict=True):
                day = first + timedelta(days=int(rng.integers((last - first).days + 1)))
                factor = float(rng.uniform(0.8, 1.25)) if other_sizes else 1.0
                drawn = _another_size(amount, factor)
                found.append(Incident(kind, size, drawn, day, int(rng.integers(1, 1 << 20))))
        return found


def _another_size(amount: float, factor: float) -> float:
    """The amount somewhat more or less: of a share the share, of a factor its distance from one."""
    if amount in (0, 1, 8):
        return amount
    if amount < 1:
        return min(1.0, amount * factor)
    return 1 + (amount - 1) * factor if amount < 2 else round(amount * factor)


def simulated(seed: int, days: int) -> World:
    """Days of the simulator."""
    simulator = Simulator(start=START, seed=seed)
    every = [START + timedelta(days=i) for i in range(days)]
    return World(f"simulator, seed {seed}", every, simulator.transactions, simulator.labels, seed)


def handbook(folder: Path, days: int, seed: int) -> World:
    """Real days of the Fraud Detection Handbook under our names; they have no account ages, so each card gets one."""

    def read(day: date) -> pl.DataFrame:
        time = pl.col("TX_DATETIME").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        age = pl.col("CUSTOMER_ID").hash(seed=3) % 2_000 + (day - START).days
        return pl.read_parquet(folder / f"{day}.parquet").select(
            transaction_id="TRANSACTION_ID",
            event_time=time,
            customer_id="CUSTOMER_ID",
            terminal_id="TERMINAL_ID",
            amount="TX_AMOUNT",
            account_age_days=age.cast(pl.Int64),
            is_fraud=pl.col("TX_FRAUD").cast(pl.Int8),
        )

    def labels(day: date) -> pl.DataFrame:
        return read(day).select("transaction_id", "is_fraud", known_at=pl.col("event_time") + timedelta(days=7))

    every = [START + timedelta(days=i) for i in range(days)]
    return World("handbook", every, lambda day: read(day).drop("is_fraud"), labels, seed)
