"""Events of many days written together are those that Dagster's own log has, and none is lost or doubled."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import event as listening
from sqlalchemy.engine import Connection, Engine

from mdlc_assets.home import Home
from mdlc_assets.resources.event_log import BatchedEventLog

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-11")
KEYS = DAYS.get_partition_keys()


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def rows(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for day in context.partition_keys:
        context.add_asset_metadata({"rows": int(day[-2:])}, partition_key=day)
    return dg.MaterializeResult(metadata={"all": len(context.partition_keys)})


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[rows])
def scores() -> dg.MaterializeResult:
    return dg.MaterializeResult()


@dg.asset_check(asset=rows)
def some() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


DEFINITIONS = dg.Definitions(assets=[rows, scores], asset_checks=[some], jobs=[dg.define_asset_job("both", "*")])


def materialise(instance: dg.DagsterInstance, last: str = KEYS[-1]) -> dg.ExecuteInProcessResult:
    """A run of all days up to the last."""
    ends = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": last}
    return DEFINITIONS.resolve_job_def("both").execute_in_process(instance=instance, tags=ends)


def told(instance: dg.DagsterInstance, run_id: str) -> dict[str, object]:
    """What the UI shows of the run and of its assets."""
    log = instance.event_log_storage
    found: dict[str, object] = {
        "run": Counter(
            (one.dagster_event.event_type_value, one.dagster_event.step_key, one.dagster_event.partition)
            for one in instance.all_logs(run_id)
            if one.dagster_event
        )
    }
    for key in (rows.key, scores.key):
        newest = instance.get_latest_materialization_event(key)
        assert newest is not None and newest.asset_materialization is not None
        found[key.to_user_string()] = {
            "days": log.get_materialized_partitions(key),
            "metadata": Counter(
                (record.partition_key, str(sorted(record.asset_materialization.metadata.items())))
                for record in instance.fetch_materializations(key, limit=100).records
                if record.asset_materialization
            ),
            "newest": newest.asset_materialization.partition,
            "of": newest.run_id == run_id,
        }
    checks = log.get_asset_check_execution_history(next(iter(some.check_keys)), limit=500)
    found["checks"] = Counter((one.status, one.run_id == run_id) for one in checks)
    return found


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = Home(tmp_path / "home")
    home.prepare()
    with dg.DagsterInstance.from_config(str(home.dagster)) as made:
        yield made


def test_a_home_writes_batches_and_shows_what_dagsters_own_log_shows(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert isinstance(instance.event_log_storage, BatchedEventLog)
    mine = told(instance, materialise(instance).run_id)
    plain_home = tmp_path / "plain"
    plain_home.mkdir()
    (plain_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(plain_home)) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert told(plain, materialise(plain).run_id) == mine
    run = mine["run"]
    assert isinstance(run, Counter)
    assert sum(count for (kind, *_), count in run.items() if kind == "ASSET_MATERIALIZATION") == 2 * len(KEYS)


def test_ten_days_wait_for_the_disk_as_often_as_two(instance: dg.DagsterInstance) -> None:
    commits: list[str] = []

    def counted(connection: Connection) -> None:
        if "/history/runs/" in str(connection.engine.url):
            commits.append(str(connection.engine.url))

    listening.listen(Engine, "commit", counted)
    try:
        materialise(instance, KEYS[1])
        of_two = len(commits)
        materialise(instance)
    finally:
        listening.remove(Engine, "commit", counted)
    assert of_two
    assert len(commits) == 2 * of_two


def test_where_a_batch_breaks_its_events_are_written_once_each(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plain, broken = BatchedEventLog.store_event, []

    def breaks_once(log: BatchedEventLog, event: dg.EventLogEntry) -> None:
        plain(log, event)
        if event.dagster_event and event.dagster_event.partition == KEYS[7] and not broken:
            broken.append(event)
            raise OSError("the disk is full")

    monkeypatch.setattr(BatchedEventLog, "store_event", breaks_once)
    result = materialise(instance)
    assert broken
    assert "the disk is full" in capfd.readouterr().err
    counts = told(instance, result.run_id)["run"]
    assert isinstance(counts, Counter)
    per_day = {item: count for item, count in counts.items() if item[2] in KEYS}
    assert len(per_day) == 2 * 2 * len(KEYS)
    assert set(per_day.values()) == {1}
    for key in (rows.key, scores.key):
        assert len(instance.fetch_materializations(key, limit=500).records) == len(KEYS)


def test_two_processes_write_into_one_home(instance: dg.DagsterInstance) -> None:
    code = (
        "import sys, dagster as dg\n"
        "from mdlc_assets_tests.resources.test_event_log import materialise\n"
        "with dg.DagsterInstance.from_config(sys.argv[1]) as instance:\n"
        "    assert materialise(instance).success\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, instance.root_directory]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as other:
        mine = 0
        while other.poll() is None:
            assert materialise(instance).success
            mine += 1
        assert other.stderr is not None
        errors = other.stderr.read()
    assert other.returncode == 0, errors
    assert "Exception while storing" not in errors
    for key in (rows.key, scores.key):
        assert len(instance.fetch_materializations(key, limit=500).records) == (mine + 1) * len(KEYS)


def test_what_a_home_had_before_is_still_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    settings = home.dagster / "dagster.yaml"
    with_log = settings.read_text()
    settings.write_text(with_log[: with_log.index("event_log_storage")])
    with dg.DagsterInstance.from_config(str(home.dagster)) as before:
        old = materialise(before, KEYS[1]).run_id
        expected = told(before, old)
    settings.write_text(with_log)
    with dg.DagsterInstance.from_config(str(home.dagster)) as after:
        assert told(after, old) == expected
        began = time.time()
        new = materialise(after).run_id
        newest = after.get_latest_materialization_event(rows.key)
        assert newest is not None and newest.run_id == new and newest.timestamp >= began
