"""The counterpart of the demo: what is learnt from what follows the drop is worse still, and the champion stays."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.demo.feed import SimulatedFeed
from mdlc_assets.demo.loop import Loop, Ran, open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle

pytestmark = pytest.mark.slow
_HISTORY, _LIVE = 28, 11


@pytest.fixture(scope="module")
def lifecycle(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    """Payments without an endpoint, a policy that acts within days, a gate that wants what the first model reaches."""
    monitoring, model = payments_fraud.monitoring, payments_fraud.model
    retrain = monitoring.retrain.model_copy(update={"for_days": 3, "fresh_labelled_days": 3})
    return payments_fraud.model_copy(
        update={
            "deployment": payments_fraud.deployment.model_copy(update={"real_time": None}),
            "monitoring": monitoring.model_copy(update={"retrain": retrain}),
            "model": model.model_copy(
                update={
                    "windows": model.windows.model_copy(update={"train_days": 14}),
                    "gate": model.gate.model_copy(update={"floors": {"average_precision": 0.3}, "least_positives": 3}),
                }
            ),
        }
    )


class Told:
    """A loop that was lived through, and the runs of each live day."""

    def __init__(self, loop: Loop, live: list[date]) -> None:
        self.loop, self.live = loop, live
        self.runs: dict[date, list[Ran]] = {}
        self.lake, self.name = loop.resources["lake"], loop.lifecycle.name

    def verdicts(self) -> dict[date, str]:
        documents = self.lake.documents(self.name, "retrain_decision")
        return {day: documents.read_document(day)["verdict"] for day in self.live if day in documents.days()}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, lifecycle: LifecycleDeclaration) -> Told:
    """From the first live day on labels have nothing to do with the events: nobody can learn them."""
    home = Home(tmp_path_factory.mktemp("refused"))
    feed = SimulatedFeed(home.landing, lifecycle, _HISTORY + _LIVE)
    history, live = feed.days[:_HISTORY], feed.days[_HISTORY:]
    delay = lifecycle.labels.delay
    loop = open_loop(ModelLifecycle(lifecycle), home)
    found = Told(loop, live)
    for day in history:
        feed.deliver(day)
    labelled = [day for day in history if day + delay <= history[-1]]
    for day in labelled:
        feed.deliver_labels(day)
    for workflow, first, last in (
        ("labels", labelled[0], labelled[-1]),
        ("history", history[0], history[-1]),
        ("train", history[-1], None),
        ("batch_inference", history[-6], history[-1]),
    ):
        ran = loop.run(workflow, first, last)
        assert ran.success, ran.error
    for day in live:
        known = day - delay
        feed.deliver_labels(known)
        if known in live:
            _spoil(home.landing / lifecycle.name / "labels" / f"{known}.parquet")
        feed.deliver(day)
        found.runs[day] = loop.tick()
    return found


def _spoil(path: Path) -> None:
    labels = pl.read_parquet(path)
    labels.with_columns(pl.col("is_fraud").shuffle(seed=5)).write_parquet(path)


def test_the_drop_is_seen_and_a_model_is_asked_for_once(told: Told) -> None:
    verdicts = told.verdicts()
    assert list(verdicts.values()).count("retrain") == 1
    asked = next(day for day, verdict in verdicts.items() if verdict == "retrain")
    assert asked > told.live[0] + timedelta(days=7), "labels of more than the first such day"
    closed = told.lake.documents(told.name, "closed_loop_report")
    good, bad = (closed.read_document(told.live[0] + timedelta(days=i))["recent"] for i in (-1, 2))
    assert bad["interval"][1] < good["metrics"]["average_precision"] - 0.1


def test_the_gate_refuses_and_the_champion_stays(told: Told) -> None:
    (asked,) = [day for day, verdict in told.verdicts().items() if verdict == "retrain"]
    (ran,) = [ran for ran in told.runs[asked] if ran.workflow == "retrain"]
    # A candidate that is not good enough is a verdict on record, not a failed run.
    assert ran.success, ran.error
    checks = told.loop.instance.get_records_for_run(ran.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    said = [record.event_log_entry.get_dagster_event().event_specific_data for record in checks.records]
    (verdict,) = [check for check in said if check.check_name == "gate" and check.partition == asked.isoformat()]
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "is REFUSED by its gate" in (verdict.description or "")
    evaluation = told.lake.documents(told.name, "evaluation").read_document(asked)
    assert not evaluation["passed"]
    registry = told.loop.resources["registry"]
    champion = registry.champion(told.name)
    assert champion is not None
    assert champion.version == 1
    assert [version.version for version in registry.versions(told.name)] == [1, 2]
    scored = told.lake.table(told.name, "batch_predictions").read_day(told.live[-1], ["model_version"])
    assert scored["model_version"].unique().to_list() == [1]


def test_afterwards_it_waits_and_says_so(told: Told) -> None:
    verdicts = told.verdicts()
    (asked,) = [day for day, verdict in verdicts.items() if verdict == "retrain"]
    later = {day: verdict for day, verdict in verdicts.items() if day > asked}
    assert later
    assert set(later.values()) == {"wait"}
    newest = told.lake.documents(told.name, "retrain_decision").read_document(told.live[-1])
    assert "cool-down" in newest["reasons"][0]
    alerts = (Path(told.loop.resources["alerts"].root) / told.name).glob("*performance-new.json")
    assert len(list(alerts)) == 1, "the same problem is told once"
    page = (Path(told.loop.resources["reports"].root) / told.name / "latest.html").read_text()
    assert "a new one has to wait" in page
    assert (Path(told.loop.resources["reports"].root) / "index.html").exists()


def test_the_events_themselves_are_as_before(told: Told) -> None:
    """Only labels tell. Features of 30 days are left out: the history is too short for them to have settled."""
    opened = [told.lake.documents(told.name, "open_loop_report").read_document(day) for day in told.live]
    assert all("amount" in document["columns"] for document in opened)
    assert not {"amount", "is_night", "customer_payments_1d"} & {name for said in opened for name in said["alarmed"]}
