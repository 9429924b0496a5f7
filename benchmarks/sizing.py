"""What given numbers of models and of events a day need and cost on AWS: arithmetic over the assumptions below.

    python -m benchmarks.sizing

Change an assumption and run it again; `docs/sizing.md` holds what it prints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_DAY = 86_400


@dataclass(frozen=True)
class Assumptions:
    """Figures with where they come from: M measured (benchmarks/README.md, 2 cores), P price, G guess."""

    # M: 1.2 s of two cores for 1.47 million payments, read, computed and written.
    events_per_core_second: float = 1_470_000 / (1.2 * 2)
    # M: quality 0.22 s and scores (read, predict, write) 3.2 s of two cores for 1.4 million rows.
    quality_core_seconds_per_event: float = 0.22 * 2 / 1_400_000
    score_core_seconds_per_event: float = 3.2 * 2 / 1_400_000
    # M: 49.7 s for 153 days of one lifecycle, nearly all of it writing Dagster's events, on one core.
    seconds_per_model_day: float = 49.7 / 153
    # M: start of a run's process. G: five runs a day for each model.
    start_seconds: float = 5.0
    runs_per_model_day: float = 5
    # M: 4.3 GB for 14.7 million rows in bulk; a task is to stay below 16 GB.
    bytes_per_row_in_memory: float = 4.3e9 / 14_700_000
    task_bytes: float = 16e9
    # M: Spark takes 3.7 times as long as bulk on one machine.
    spark_factor: float = 3.7
    # M: 2,468 decisions/s of one worker on one core. G: kept at half of it, and the peak is three times the mean.
    decisions_per_second: float = 2_468
    load: float = 0.5
    peak: float = 3.0
    # M: 1.36 s for 200,000 rows on two cores. G: trained weekly, on at most 10 million rows, over 28 days.
    train_core_seconds_per_row: float = 1.36 * 2 / 200_000
    train_rows: float = 10_000_000
    train_days: float = 28
    trainings_per_month: float = 4.3
    # G: bytes of an event in the lake over all its tables, and how long it stays.
    lake_bytes_per_event: float = 250
    lake_days: float = 365
    # G: bytes of an event on the stream; a write of 1 KB and reads of it for each event online.
    stream_bytes: float = 1_000
    online_writes: float = 2
    # P: us-east-1, list prices as noted in November 2025, dollars; look at your own.
    core_hour: float = 0.0405 + 4 * 0.00445
    emr_core_hour: float = 0.0526 + 4 * 0.0058
    lake_gb_month: float = 0.023
    shard_hour: float = 0.015
    puts_per_million: float = 0.014
    write_per_million: float = 0.625
    database_month: tuple[tuple[int, float], ...] = ((20, 40.0), (500, 190.0), (20_000, 1_500.0))
    services_month: tuple[tuple[int, float], ...] = ((20, 170.0), (500, 330.0), (20_000, 2_400.0))
    # M: 500 lifecycles load in one code location; G: more go into further ones.
    models_per_location: int = 500


@dataclass(frozen=True)
class Need:
    """What a case needs: cores, bytes, and dollars a month by part."""

    models: int
    events: float
    engine: str
    batch_core_hours: float
    decision_cores: int
    shards: int
    lake_tb: float
    locations: int
    dollars: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.dollars.values())


def need(models: int, events: float, given: Assumptions = Assumptions(), *, online: bool = True) -> Need:
    """What `models` with `events` a day over all of them need. Every event is scored by one model."""
    each = events / models
    # With feature state a run holds a day and what its windows let go of again, about as much.
    engine = "bulk" if 2 * each * given.bytes_per_row_in_memory <= given.task_bytes else "Spark"
    factor = given.spark_factor if engine == "Spark" else 1.0
    features = events / given.events_per_core_second * factor
    steady = models * (given.seconds_per_model_day + given.runs_per_model_day * given.start_seconds)
    rows = min(given.train_rows, each * given.train_days)
    training = models * rows * given.train_core_seconds_per_row * given.trainings_per_month / 30
    each_event = given.quality_core_seconds_per_event + given.score_core_seconds_per_event
    ours = steady + training + events * each_event
    batch = (features + ours) / 3600 * 30
    rate = events / _DAY * given.peak
    cores = max(2, math.ceil(rate / (given.decisions_per_second * given.load))) if online else 0
    # A shard takes 1,000 records or 1 MB a second.
    shards = max(1, math.ceil(rate / 1_000), math.ceil(rate * given.stream_bytes / 1e6)) if online else 0
    lake = events * given.lake_bytes_per_event * given.lake_days
    hours = 730
    price = given.emr_core_hour if engine == "Spark" else given.core_hour
    month = events * 30 / 1e6
    dollars = {
        "services": _step(given.services_month, models),
        "databases": _step(given.database_month, models),
        "batch": features / 3600 * 30 * price + ours / 3600 * 30 * given.core_hour,
        "lake": lake / 1e9 * given.lake_gb_month,
    }
    if online:
        dollars |= {
            "stream": shards * hours * given.shard_hour + month * given.puts_per_million,
            "online store": month * given.online_writes * given.write_per_million,
            "decisions": cores * hours * given.core_hour,
        }
    locations = math.ceil(models / given.models_per_location)
    return Need(models, events, engine, batch, cores, shards, lake / 1e12, locations, dollars)


def _step(prices: tuple[tuple[int, float], ...], models: int) -> float:
    return next(price for most, price in prices if models <= most)


def _rounded(value: float) -> str:
    """Two figures: more would be invented."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    found = round(value, digits)
    return f"{found:,.{max(0, digits)}f}"


def table(*, online: bool) -> str:
    """The nine cases as a table in Markdown."""
    parts = list(need(1, 1e6, online=online).dollars)
    lines = [
        "| models | events a day | features by | batch core-hours a month | decision cores | shards | lake, TB | "
        + " | ".join(parts)
        + " | **USD a month** |"
    ]
    lines.append("|" + "---|" * (8 + len(parts)))
    for models in (1, 100, 10_000):
        for power in (6, 9, 11):
            found = need(models, 10.0**power, online=online)
            cells = [f"{models:,}", f"10^{power}", found.engine, _rounded(found.batch_core_hours)]
            cells += [f"{found.decision_cores:,}", f"{found.shards:,}", _rounded(found.lake_tb)]
            cells += [*(_rounded(found.dollars[part]) for part in parts), f"**{_rounded(found.total)}**"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    for title, online in (("Each event decided at once", True), ("Daily files only", False)):
        print(f"### {title}\n\n{table(online=online)}\n")


if __name__ == "__main__":
    main()
