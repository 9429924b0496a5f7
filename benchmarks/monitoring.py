"""A day of monitoring at ten times the shared volume, drift figures beside peers, and the estimate beside the truth."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from sklearn.metrics import average_precision_score, roc_auc_score

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.declaration.monitoring import OpenLoop
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.monitoring.assets import monitoring_definitions
from mdlc_assets.monitoring.estimate import Calibration, expected
from mdlc_assets.monitoring.open_loop import Watch
from mdlc_assets.monitoring.sketch import sketches
from mdlc_assets.resources.lake import Lake
from mdlc_assets.training.algorithms import fit
from mdlc_assets.training.sets import training_rows
from mdlc_assets.training.windows import protocol

_REFERENCE_DAYS = 28
_ROUNDS = 5
_TIMES = 10
_LAKE_DAYS, _SCORED_DAYS = 51, 30


def main(source: Path) -> None:
    """Print three tables: drift figures beside peers, estimated beside realised performance, speed of a day."""
    lifecycle = load_lifecycle(lifecycle_files()[0]).declaration
    rows = _features(lifecycle, source, date(2018, 6, 20), date(2018, 8, 31))
    _drift(lifecycle, rows)
    _estimated(lifecycle, rows)
    _reports(lifecycle, rows)


def _features(lifecycle: LifecycleDeclaration, source: Path, first: date, last: date) -> pl.DataFrame:
    """Features of the handbook's payments with label and the instant it became known."""
    mapping = next(iter(lifecycle.dataset.sources.values())).columns
    files = [source / f"{day}.parquet" for day in days_needed(lifecycle, first, last)]
    frame = pl.concat([pl.read_parquet(file) for file in files if file.exists()])
    events = frame.select(
        *(pl.col(theirs).alias(ours) for ours, theirs in mapping.items() if ours not in {"event_time", "is_fraud"}),
        pl.col(mapping["event_time"]).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("event_time"),
    )
    labels = events.select("transaction_id", (pl.col("event_time") + lifecycle.labels.delay).alias("known_at"))
    labels = labels.with_columns(frame[mapping["is_fraud"]].cast(pl.Int8).alias("is_fraud"))
    return feature_table(lifecycle, events, labels, first, last).join(
        labels, on="transaction_id", maintain_order="left"
    )


def _drift(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> None:
    names = lifecycle.features.names()
    days = dict(_by_day(rows))
    past, day = sorted(days)[:_REFERENCE_DAYS], sorted(days)[_REFERENCE_DAYS]
    kept = {when: sketches(days[when], names) for when in past}

    def ours() -> float:
        watch = Watch(OpenLoop(), kept)
        return watch.day(day, sketches(days[day], names))["columns"]["amount"]["carried"]

    reference = pl.concat([days[when] for when in past]).select(names)
    arrays = {name: (reference[name].to_numpy(), days[day][name].to_numpy()) for name in names}

    def scipy() -> float:
        found = {}
        for name, (before, now) in arrays.items():
            edges = np.quantile(before, np.linspace(0, 1, 11))
            jensenshannon(*(np.histogram(x, np.unique(edges))[0] for x in (before, now)), base=2)
            found[name] = wasserstein_distance(before, now) / before.std()
        return found["amount"]

    count = days[day].height
    print(
        f"Drift of {len(names)} features, a day of {count:,} rows against {len(past)} days of "
        f"{reference.height:,} rows together\n"
    )
    print("| tool | CPU | amount carried (Wasserstein / deviation) |\n|---|---|---|")
    mine = _median(ours)
    print(f"| ours, from stored sketches, with usual distances and false discoveries | {mine:,.0f} ms | {ours():.4f} |")
    theirs = _median(scipy, rounds=1)
    ratio = theirs / mine
    print(f"| SciPy on all rows, the two distances only | {theirs:,.0f} ms ({ratio:.0f}x) | {scipy():.4f} |")
    print(f"| Evidently | {_evidently(reference, days[day].select(names))} | |")


def _evidently(reference: pl.DataFrame, today: pl.DataFrame) -> str:
    """Evidently does not run beside pandas 3: it is asked in an environment of its own, where there is one."""
    python = Path(tempfile.gettempdir()) / "mdlc_peers" / "bin" / "python"
    if not python.exists():
        return f"not measured: no environment with it at {python.parent.parent}"
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in (("reference", reference), ("today", today)):
            frame.write_parquet(Path(folder) / f"{name}.parquet")
        ran = subprocess.run([str(python), "-c", _EVIDENTLY, folder], capture_output=True, text=True, check=False)
    if ran.returncode:
        return f"failed: {ran.stderr.strip().splitlines()[-1]}"
    return f"{json.loads(ran.stdout.splitlines()[-1]):,.0f} ms"


_EVIDENTLY = """
import json, sys, time
import pandas as pd
from evidently import Dataset, Report
from evidently.presets import DataDriftPreset
reference, today = (pd.read_parquet(f"{sys.argv[1]}/{name}.parquet") for name in ("reference", "today"))
began = time.process_time()
Report([DataDriftPreset(num_method="wasserstein")]).run(Dataset.from_pandas(today), Dataset.from_pandas(reference))
print(json.dumps(1000 * (time.process_time() - began)))
"""


def _estimated(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> None:
    """A model trained as of the end of July lives through August: what is expected of each day without its labels,
    beside what its labels say, and beside the figure with which it passed its gate."""
    as_of = date(2018, 7, 31)
    plan = protocol(lifecycle, as_of)
    known = pl.col("known_at").dt.date() <= as_of
    labels = rows.filter(known).select("transaction_id", "is_fraud", "known_at")
    end = pl.datetime(as_of.year, as_of.month, as_of.day, time_zone="UTC") + timedelta(days=1)
    table = training_rows(lifecycle, rows.drop("is_fraud", "known_at"), labels, plan, pl.select(end).item())
    names = lifecycle.features.names()
    judged = fit(lifecycle.model, table.filter(pl.col("part") == "train"), names, "is_fraud")
    newest = table.filter(pl.col("event_time").dt.date().is_between(plan.refit.first, plan.refit.last))
    model = fit(lifecycle.model, newest, names, "is_fraud")
    test = table.filter(pl.col("part") == "test")
    measures: dict[str, Callable[..., float]] = {"auc_roc": roc_auc_score, "average_precision": average_precision_score}
    tested = judged.score(test)
    promised = {name: measure(test["is_fraud"], tested) for name, measure in measures.items()}
    days = {
        day: (model.score(frame), frame["is_fraud"].to_numpy()) for day, frame in _by_day(rows) if day > plan.refit.last
    }
    errors: dict[tuple[str, str, int], list[float]] = {}
    live = [day for day in sorted(days) if day > as_of]
    for i, day in enumerate(live):
        first = plan.refit.last + timedelta(days=1)
        past = [first + timedelta(days=k) for k in range((day - first).days - lifecycle.labels.delay_days + 1)][-14:]
        pairs = [days[when] for when in past] + ([(tested, test["is_fraud"].to_numpy())] if len(past) < 7 else [])
        calibration = Calibration(*(np.concatenate(x) for x in zip(*pairs, strict=True)), len(past))
        for count in (1, 7):
            some = live[max(0, i - count + 1) : i + 1]
            if len(some) < count:
                continue
            score, label = (np.concatenate(x) for x in zip(*(days[when] for when in some), strict=True))
            found = expected(calibration, score, score, count)
            assert found is not None
            for name, measure in measures.items():
                truth = measure(label, score)
                errors.setdefault((name, "estimated", count), []).append(abs(found["metrics"][name] - truth))
                errors.setdefault((name, "promised", count), []).append(abs(promised[name] - truth))
    print(
        f"\nAugust 2018, {len(live)} days, a model as of {as_of}: mean absolute error of what is expected without "
        "labels\n"
    )
    print("| metric | over | estimated | as promised by the gate |\n|---|---|---|---|")
    for name in measures:
        for count in (1, 7):
            guess, constant = (np.mean(errors[name, kind, count]) for kind in ("estimated", "promised"))
            print(f"| {name} | {count} days | {guess:.4f} | {constant:.4f} |")


def _reports(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> None:
    """A day of monitoring through Dagster on a lake of ten times the volume: every asset of the room, timed alone."""
    days = [day for day, _ in _by_day(rows)][-_LAKE_DAYS:]
    fresh, labelled = days[-1], days[-1 - lifecycle.labels.delay_days]
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        resources = embedded_resources(Home(folder))
        _fill(lifecycle, resources["lake"], dict(_by_day(rows)), days)
        assets = monitoring_definitions(lifecycle).assets

        def run(names: list[str], first: date, last: date) -> tuple[float, float]:
            began, worked = time.perf_counter(), time.process_time()
            done = dg.materialize(
                assets,
                selection=dg.AssetSelection.assets(*(asset_key(lifecycle, name) for name in names)),
                instance=instance,
                resources=resources,
                tags={
                    "dagster/asset_partition_range_start": first.isoformat(),
                    "dagster/asset_partition_range_end": last.isoformat(),
                },
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            )
            assert done.success
            return time.perf_counter() - began, time.process_time() - worked

        run(["drift_profile"], days[0], days[-2])
        run(["open_loop_report"], days[-_SCORED_DAYS], days[-2])
        run(["closed_loop_report"], labelled - timedelta(days=9), labelled - timedelta(days=1))
        count = resources["lake"].table(lifecycle.name, "features").read_day(fresh).height
        print(f"\nA day of {count:,} rows through Dagster, 28 days to compare with, {_SCORED_DAYS} days scored\n")
        print("| asset | time | CPU |\n|---|---|---|")
        total = np.zeros(2)
        for name, day in (
            ("drift_profile", fresh),
            ("open_loop_report", fresh),
            ("closed_loop_report", labelled),
            ("retrain_decision", fresh),
            ("daily_report", fresh),
        ):
            took = run([name], day, day)
            total += took
            print(f"| {name} | {took[0]:.2f} s | {took[1]:.2f} s |")
        print(f"| all | {total[0]:.2f} s | {total[1]:.2f} s |")


def _fill(lifecycle: LifecycleDeclaration, lake: Lake, frames: dict[date, pl.DataFrame], days: list[date]) -> None:
    """What the other rooms would have written: features, labels, scores of a model of the first 21 days, decisions."""
    name, names = lifecycle.name, lifecycle.features.names()
    learnt = pl.concat([frames[day] for day in days[:21]])
    model = fit(lifecycle.model, learnt, names, "is_fraud")
    refit = f"{days[0]} to {days[20]}"
    about = {"version": 1, "mdlc.refit": refit, "run_id": ""}
    lake.documents(name, "candidate_model").write_document(days[21], about)
    evaluation = {"version": 1, "passed": True, "metrics": {"average_precision": 0.6}, "intervals": {}}
    lake.documents(name, "evaluation").write_document(days[21], evaluation)
    for day in days:
        frame = pl.concat(
            [
                frames[day].with_columns(pl.col("transaction_id") + 10_000_000 * i, pl.col("customer_id") + 100_000 * i)
                for i in range(_TIMES)
            ]
        )
        lake.table(name, "features").write_day(day, frame.drop("is_fraud", "known_at"))
        lake.table(name, "validated").write_day(day, frame.select("transaction_id"))
        lake.table(name, "labels").write_day(day, frame.select("transaction_id", "is_fraud", "known_at"))
        rule = {"rule": "volume", "severity": "stop", "passed": True, "observed": 1.0, "text": "as usual"}
        quality = {"passed": True, "rows": frame.height, "quarantined": 0, "rules": [rule]}
        lake.documents(name, "quality_report").write_document(day, quality)
        if day in days[-_SCORED_DAYS:]:
            score = pl.Series("score", model.score(frame))
            scored = frame.select("transaction_id", "event_time", "customer_id").with_columns(score, model_version=1)
            lake.table(name, "batch_predictions").write_day(day, scored)
            decided = pl.when(score > 0.3).then(pl.lit("block")).otherwise(pl.lit("allow")).alias("decision")
            lake.table(name, "decisions").write_day(day, scored.with_columns(decided))


def _by_day(rows: pl.DataFrame) -> list[tuple[date, pl.DataFrame]]:
    return [(day, frame) for (day,), frame in rows.group_by(pl.col("event_time").dt.date(), maintain_order=True)]


def _median(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    took = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        took.append(1000 * (time.process_time() - began))
    return float(np.median(took))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
