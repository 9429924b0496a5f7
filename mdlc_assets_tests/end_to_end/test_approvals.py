"""Backtest, approve, reject, roll back, audit: `mdlc` on a real platform, each decision a Dagster run on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.demo.feed import SimulatedFeed
from mdlc_assets.demo.loop import Loop, open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets_tests.conftest import SHIPPED

pytestmark = pytest.mark.slow
_NAME = "cards"
_DAYS = 40


class Said(NamedTuple):
    """What a command answered."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Platform:
    """A lifecycle of its own with people who approve, trained as of three days."""

    loop: Loop
    home: Home
    folder: Path
    days: list[date]

    def mdlc(self, *arguments: str) -> Said:
        """`mdlc` in this process: to start one costs more than most commands do."""
        env = {"MDLC_HOME": str(self.home.root), "MDLC_LIFECYCLES": str(self.folder)}
        ran = CliRunner().invoke(main, [*arguments, "--lifecycle", _NAME], env=env)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return Said(ran.exit_code, ran.stdout, ran.stderr)

    @property
    def registry(self):  # type: ignore[no-untyped-def]
        return self.loop.resources["registry"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("lifecycles")
    declared = yaml.safe_load((SHIPPED / "payments_fraud" / "defs.yaml").read_text())
    attributes = declared["attributes"]
    attributes["name"] = _NAME
    attributes["deployment"] = {"real_time": None}
    model = attributes["model"]
    model["hyperparameters"] = {"n_estimators": 30, "max_depth": 3}
    model["windows"] = {"train_days": 14, "gap_days": 0, "test_days": 4}
    model["evaluation"] = {
        "intervals": {"by": "entity", "resamples": 200},
        "slices": {"night": "is_night = 1", "large": "amount > 100"},
        "costs": {"miss": "amount", "false_alarm": 2},
    }
    model["gate"] = {
        "floors": {"auc_roc": 0.6, "average_precision": 0.1},
        "ceilings": {"brier": 0.05},
        "calibration": [0.3, 3],
        "may_lose": 0.3,
        "slices": {"night": {"floors": {"auc_roc": 0.3}, "may_lose": 0.9, "least_positives": 1}},
        "approval": "person",
    }
    (folder / _NAME).mkdir()
    (folder / _NAME / "defs.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    home = Home(tmp_path_factory.mktemp("home"))
    lifecycle = load_lifecycle(folder / _NAME / "defs.yaml")
    feed = SimulatedFeed(home.landing, lifecycle.declaration, _DAYS)
    for day in feed.days:
        feed.deliver(day)
        feed.deliver_labels(day)
    loop = open_loop(lifecycle, home)
    first, last = feed.days[0], feed.days[-1]
    days = [last - timedelta(days=back) for back in (2, 1, 0)]
    for workflow, begin, end in (
        ("labels", first, last - timedelta(days=7)),
        ("history", first, last),
        ("backtest", days[0], days[-1]),
    ):
        ran = loop.run(workflow, begin, end)
        assert ran.success, ran.error
    yield Platform(loop, home, folder, days)


def test_a_backtest_lays_days_side_by_side_and_approves_nothing(platform: Platform) -> None:
    lake = platform.loop.resources["lake"]
    table = lake.table(_NAME, "backtest").read_day(platform.days[-1])
    assert table["as_of"].unique().sort().to_list() == platform.days
    found = table.filter(pl.col("metric") == "average_precision")
    assert found.filter((pl.col("low") < pl.col("value")) & (pl.col("value") < pl.col("high"))).height == 3
    page = (platform.home.reports / "models" / _NAME / "backtest.html").read_text()
    assert "average_precision" in page and str(platform.days[0]) in page and "<svg" in page
    assert platform.registry.champion(_NAME) is None
    assert platform.registry.audit(_NAME) == []


def test_the_evaluation_says_what_was_declared(platform: Platform) -> None:
    document = platform.loop.resources["lake"].documents(_NAME, "evaluation").read_document(platform.days[-1])
    assert set(document["slices"]) == {"night", "large"}
    assert document["slices"]["night"]["rows"] + document["slices"]["large"]["rows"] < 2 * document["test_rows"]
    cost = document["thresholds"]["cost"]
    assert 0 < cost["cost_a_day_same_days"] <= cost["cost_a_day_without_model"]
    said = "\n".join(document["reasons"])
    assert "brier" in said and "positives for each that the scores expect" in said and "slice night" in said


def test_decisions_of_people_are_runs_on_record(platform: Platform) -> None:
    who = ("--approver", "ann@example.com")
    before = {run.run_id for run in platform.loop.instance.get_runs()}
    ran = platform.mdlc("approve", "1", "--reason", "the first", *who)
    assert ran.returncode == 0, ran.stderr
    assert platform.mdlc("reject", "1", "--reason", "bad", *who).returncode == 1
    ran = platform.mdlc("reject", "2", "--reason", "its night slice", "--approver", "bob@example.com")
    assert ran.returncode == 0, ran.stderr
    ran = platform.mdlc("approve", "2", "--reason", "all the same", *who)
    assert (ran.returncode, "--override" in ran.stderr) == (1, True)
    # Version 3 was judged when nothing served: beside version 1 it has not been looked at.
    ran = platform.mdlc("approve", "3", "--reason", "newer", *who)
    assert (ran.returncode, "was judged beside no champion, and version 1 serves now" in ran.stderr) == (1, True)
    assert platform.loop.run("train", platform.days[-1]).success
    ran = platform.mdlc("approve", "3", "--reason", "newer", *who)
    assert ran.returncode == 0, ran.stderr
    ran = platform.mdlc("rollback", "--reason", "complaints from the shops", *who)
    assert (ran.returncode, ran.stdout.strip()) == (0, "Version 1 of cards is the champion again."), ran.stderr
    ran = platform.mdlc("rollback", "--reason", "again", *who)
    assert (ran.returncode, "no earlier champion" in ran.stderr) == (1, True)

    trail = platform.registry.audit(_NAME)
    assert [(entry["action"], entry["version"]) for entry in trail] == [
        ("approve", 1),
        ("reject", 2),
        ("approve", 3),
        ("rollback", 1),
    ]
    runs = {run.run_id: run.job_name for run in platform.loop.instance.get_runs() if run.run_id not in before}
    assert [runs[entry["dagster_run"]] for entry in trail] == [
        f"{_NAME}_{workflow}" for workflow in ("approve", "reject", "approve", "rollback")
    ]
    champion = platform.loop.instance.get_latest_materialization_event(dg.AssetKey([_NAME, "champion"]))
    assert champion is not None and champion.asset_materialization is not None
    metadata = champion.asset_materialization.metadata
    assert (metadata["version"].value, metadata["reason"].value) == (1, "rollback: complaints from the shops")
    said = platform.mdlc("history").stdout
    assert "taken out of service by ann@example.com: complaints from the shops" in said


def test_which_model_scored_this_transaction(platform: Platform) -> None:
    day = platform.days[-1]
    ran = platform.loop.run("batch_inference", day)
    assert ran.success, ran.error
    row = platform.loop.resources["lake"].table(_NAME, "batch_predictions").read_day(day).row(0, named=True)
    said = platform.mdlc("audit", "--event", str(row["transaction_id"])).stdout
    assert f"batch of {day}: version {row['model_version']} of {_NAME}" in said
    assert "approve version 1 by ann@example.com: the first" in said
    assert "digest_features" in said and "decision" in said
    ran = platform.mdlc("audit", "--event", "no-such")
    assert (ran.returncode, "no online answers were captured" in ran.stderr) == (1, True)

    captured = platform.home.endpoints / _NAME / "notes" / "capture" / "1" / "2026" / "worker.jsonl"
    captured.parent.mkdir(parents=True)
    answer = json.dumps({"scores": [0.5], "model_version": 1, "request_id": "req-7"})
    line = {
        "captureData": {"endpointOutput": {"data": answer}},
        "eventMetadata": {"inferenceId": "req-7", "inferenceTime": "2026-01-01T00:00:00Z"},
    }
    captured.write_text("{half a line\n" + json.dumps(line) + "\n")
    assert "endpoint: version 1 of cards" in platform.mdlc("audit", "--event", "req-7").stdout


def test_a_changed_record_is_noticed(platform: Platform) -> None:
    ran = platform.mdlc("audit", "--verify")
    assert (ran.returncode, "The trail holds: 4 entries" in ran.stdout) == (0, True), ran.stderr
    head = ran.stdout.split()[-1]
    assert platform.mdlc("audit", "--expect", head).returncode == 0

    registry = platform.registry
    version = registry.version(_NAME, 3)
    kept = dict(version.tags)
    registry.tag(_NAME, version, {"mdlc.refit": "2018-01-01 to 2018-01-02"})
    assert "version 3: refit was" in platform.mdlc("audit", "--verify").stderr
    registry.tag(_NAME, version, {"mdlc.refit": kept["mdlc.refit"]})

    (model,) = (platform.home.mlflow_artifacts / _NAME / version.run_id / "artifacts" / "model").glob("model.ubj")
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"?")
    assert "version 3: its files are not those that were registered" in platform.mdlc("audit", "--verify").stderr
    model.write_bytes(content)

    entry = platform.home.mlflow_artifacts / "audit" / _NAME / "00000004.json"
    whole = entry.read_bytes()
    entry.unlink()
    assert "the trail ends at entry 3" in platform.mdlc("audit", "--verify").stderr
    entry.write_bytes(whole.replace(b"complaints", b"compliment"))
    assert platform.mdlc("audit", "--verify").returncode == 1
    entry.write_bytes(whole)
    assert platform.mdlc("audit", "--verify").returncode == 0


def test_mlflow_has_what_a_person_looks_for(platform: Platform) -> None:
    client = platform.registry._client()
    version = platform.registry.version(_NAME, 3)
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert [item.dataset.name.split(",")[0] for item in run.inputs.dataset_inputs] == ["features", "labels"]
    files = {
        item.path
        for folder in ("evaluation", "environment", "declaration")
        for item in client.list_artifacts(run.info.run_id, folder)
    }
    assert files >= {
        "evaluation/README.md",
        "evaluation/reliability.png",
        "declaration/defs.yaml",
        "environment/requirements.txt",
    }
    card = client.get_model_version(_NAME, "3").description
    assert "passed its gate" in card and "| average_precision |" in card and "| night |" in card
    assert client.get_registered_model(_NAME).description.startswith("Scores each card payment")
    lock = platform.registry.files(version, "environment")["requirements.txt"].decode()
    assert "xgboost" in lock and lock.startswith("# Python 3.")
