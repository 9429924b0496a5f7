"""Batch predictions and the endpoint as assets: real lake, real MLflow, real server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import httpx
import polars as pl
import pytest

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.assets import deployment_definitions
from mdlc_assets.deployment.predictions import prediction_problems, score_day, score_days, score_quantiles
from mdlc_assets.deployment.scoring import in_one_thread
from mdlc_assets_tests.deployment.asset_platform import DAYS, LIFECYCLE, NAME, Platform, failure, feature_rows
from mdlc_assets_tests.deployment.models import fit_model


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("platform")
    platform = Platform.below(root)
    for seed in (1, 2):
        model = fit_model(seed, tuple(LIFECYCLE.features.names()))
        platform.models[platform.register(f"2018-04-0{seed}", model)] = model
    yield platform
    platform.endpoints.stop(NAME)


# The tests of this module follow each other: no champion, version 1, version 2.


def test_what_nobody_approved_neither_scores_nor_serves(platform: Platform) -> None:
    for asset, days in (("batch_predictions", DAYS), ("endpoint", None)):
        text = failure(platform.run(asset, days=days, fails=True))
        assert "has no champion, and nothing serves that was not approved" in text
        assert "mdlc approve" in text
    assert platform.lake.table(NAME, "batch_predictions").days() == []
    assert platform.endpoints.status(NAME).condition == "absent"


def test_a_range_of_days_is_scored_by_the_champion(platform: Platform) -> None:
    platform.approve(1)
    result = platform.run("batch_predictions", days=DAYS)
    table = platform.lake.table(NAME, "batch_predictions")
    for day in DAYS:
        features, scored = feature_rows(day), table.read_day(day)
        assert scored.schema == {
            "transaction_id": pl.Int64,
            "event_time": pl.Datetime("us", "UTC"),
            "customer_id": pl.Int64,
            "score": pl.Float64,
            "model_version": pl.Int64,
        }
        assert scored["transaction_id"].equals(features["transaction_id"])
        assert scored["score"].to_list() == platform.models[1].score(features).tolist()
        assert scored["model_version"].unique().to_list() == [1]
    evaluations = result.get_asset_check_evaluations()
    assert [(e.partition, e.passed) for e in evaluations if e.partition] == [(str(day), True) for day in DAYS]
    materialised = {
        event.partition: event.materialization.metadata for event in result.all_events if event.is_step_materialization
    }
    assert materialised[str(DAYS[0])]["model_version"].value == 1
    assert materialised[str(DAYS[0])]["dagster/partition_row_count"].value == 50

    before = {day: table.digest([day]) for day in DAYS}
    platform.run("batch_predictions", days=DAYS[1:2])
    assert {day: table.digest([day]) for day in DAYS} == before


def test_a_day_without_features_says_which(platform: Platform) -> None:
    text = failure(platform.run("batch_predictions", days=[DAYS[-1], DAYS[-1] + timedelta(days=1)], fails=True))
    assert "features has no data for 2018-05-04" in text


def test_the_endpoint_serves_the_champion_and_changes_over(platform: Platform) -> None:
    first = platform.run("endpoint")
    again = platform.run("endpoint")
    platform.approve(2)
    second = platform.run("endpoint")
    seen = []
    for result in (first, again, second):
        (event,) = result.asset_materializations_for_node(f"{NAME}__endpoint")
        seen.append([event.metadata[key].value for key in ("version", "previous_version", "verdict")])
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        assert set(checks) == {"endpoint_answers", "rollout"}
        assert all(check.passed for check in checks.values()), checks
        assert checks["endpoint_answers"].metadata["largest_difference"].value <= 1e-12
    assert seen == [[1, "none", "deployed"], [1, "none", "unchanged"], [2, 1, "deployed"]]
    trail = [(entry["action"], entry["version"]) for entry in platform.registry.audit(NAME)]
    assert trail == [("approve", 1), ("deploy", 1), ("approve", 2), ("deploy", 2)]
    row = dict.fromkeys(LIFECYCLE.features.names(), 0.0)
    url = platform.endpoints.status(NAME).url
    assert httpx.post(f"{url}/invocations", json={"instances": [row]}).json()["model_version"] == 2


def test_an_endpoint_that_answers_otherwise_than_batch_fails_its_check(platform: Platform, tmp_path: Path) -> None:
    # A model that was put there under the champion's number by other means.
    for name, content in fit_model(9, tuple(LIFECYCLE.features.names())).files().items():
        (tmp_path / name).write_bytes(content)
    platform.endpoints.deploy(NAME, tmp_path, 2, health_seconds=120)

    def check() -> dg.AssetCheckEvaluation:
        key = dg.AssetCheckKey(asset_key(LIFECYCLE, "endpoint"), "endpoint_answers")
        result = platform.run(selection=dg.AssetSelection.checks(key))
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    assert not check().passed
    platform.run("endpoint")
    assert check().passed
    platform.endpoints.stop(NAME)
    assert "the endpoint is stopped" in (check().description or "")


def test_no_endpoint_where_none_is_declared() -> None:
    declaration: LifecycleDeclaration = LIFECYCLE.model_copy(
        update={"deployment": LIFECYCLE.deployment.model_copy(update={"real_time": None})}
    )
    definitions = deployment_definitions(declaration)
    assert [asset.key.path[-1] for asset in definitions.assets or []] == ["batch_predictions"]


def test_each_fault_of_predictions_is_named() -> None:
    features = feature_rows(DAYS[0], 4)
    good = features.select("transaction_id").with_columns(
        score=pl.Series([0.0, 0.5, 0.7, 1.0]), model_version=pl.lit(3, pl.Int64)
    )

    def found(frame: pl.DataFrame) -> list[str]:
        return prediction_problems(frame, features, "transaction_id")

    assert found(good) == []
    assert found(good.head(3)) == ["3 predictions for 4 feature rows"]
    assert "not those of the features" in found(good.reverse())[0]
    scores = [None, float("nan"), 1.1, -0.1]
    assert found(good.with_columns(score=pl.Series(scores))) == [
        "2 rows have no score",
        "2 scores lie outside 0 to 1",
    ]
    mixed = good.with_columns(model_version=pl.Series([1, 1, 1, 2]))
    assert found(mixed) == ["the day was not scored by one model version"]


def test_an_empty_day_gives_an_empty_table() -> None:
    features = feature_rows(DAYS[0], 0)
    model = fit_model(1, tuple(LIFECYCLE.features.names()))
    scored = score_day(features, model, 1, ["transaction_id", "event_time", "customer_id"])
    assert scored.height == 0
    assert scored.schema["score"] == pl.Float64
    assert score_quantiles(scored["score"]) == {}
    assert prediction_problems(scored, features, "transaction_id") == []


def test_days_scored_side_by_side_are_as_scored_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit_model(1, tuple(LIFECYCLE.features.names()))
    kept = ["transaction_id", "event_time", "customer_id"]
    sizes = {DAYS[0] + timedelta(days=i): rows for i, rows in enumerate((50, 0, 30, 7, 900, 1, 2))}
    for cores in (1, 2, 5):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        one_thread = in_one_thread(model)
        written: dict[date, pl.DataFrame] = {}
        scored = list(
            score_days(sizes, lambda day: feature_rows(day, sizes[day]), written.__setitem__, one_thread, 1, kept)
        )
        assert [day for day, _ in scored] == list(sizes)
        assert written.keys() == sizes.keys()
        for day, frame in scored:
            assert frame.equals(score_day(feature_rows(day, sizes[day]), model, 1, kept))
            assert written[day] is frame


def test_files_are_the_same_each_time(platform: Platform) -> None:
    platform.approve(1)
    platform.run("batch_predictions", days=DAYS)
    table = platform.lake.table(NAME, "batch_predictions")
    files = [Path(table.storage.location(table.name_of(day))) for day in DAYS]
    first = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    platform.run("batch_predictions", days=DAYS)
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] == first
