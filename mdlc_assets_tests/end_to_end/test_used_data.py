"""Two models on the data of a third lifecycle: sourced, checked and computed once, trained and watched apart."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.declaration import DeclarationError, read_declaration
from mdlc_assets.definitions import build_definitions
from mdlc_assets.demo.loop import Loop, open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle

_START = date(2025, 3, 1)
_DAYS = [_START + timedelta(days=i) for i in range(21)]
_SOURCE = """
type: mdlc_assets.ModelLifecycle
attributes:
  name: visits
  description: Will a visitor buy?
  owners: team:shop
  dataset:
    description: Visits of a shop.
    start: 2025-03-01
    end: 2025-12-31
    id: visit
    time: at
    columns:
      visit: {type: integer, unique: true, description: The visit.}
      at: {type: timestamp, description: When it began.}
      visitor: {type: string, description: Who came.}
      minutes: {type: float, min: 0, description: How long.}
  labels: {column: bought, delay: 1d, positive: something was bought}
  features:
    rows: {minutes: minutes, hour: "date_part('hour', at)"}
    windows:
      - {entity: visitor, windows: [3d], aggregate: {visits: count, mean_minutes: mean(minutes)}}
  model:
    algorithm: logistic_regression
    standardise: true
    windows: {train_days: 12, gap_days: 1, test_days: 4}
    gate: {floors: {auc_roc: 0.6}}
  deployment: {real_time: null}
  decisions:
    rules: [{name: likely, when: score >= 0.6, decide: offer, reason: They will buy.}]
    actions: {offer: An offer is shown., leave: Nothing.}
    otherwise: leave
"""
_LINEAR = """
type: mdlc_assets.ModelLifecycle
attributes:
  name: visits_linear
  description: Another team's view.
  owners: team:growth
  uses: visits
  model:
    algorithm: logistic_regression
    features: [minutes, visits_3d]
    standardise: true
    windows: {train_days: 12, gap_days: 1, test_days: 4}
    gate: {floors: {auc_roc: 0.6}}
  deployment: {real_time: null}
  decisions:
    rules: [{name: likely, when: score >= 0.5, decide: call, reason: They will buy.}]
    actions: {call: Somebody calls., leave: Nothing.}
    otherwise: leave
"""
_SHARED = ("raw", "validated", "quarantine", "daily_metrics", "quality_report", "feature_state", "features", "labels")


@dataclass
class Shop:
    """The three lifecycles on one home."""

    home: Home
    folder: Path
    loops: dict[str, Loop]

    def land(self, day: date, rows: int = 120) -> None:
        """A day's visits: who stays long buys."""
        chance = random.Random(day.toordinal())
        begin = datetime.combine(day, time(8), UTC)
        minutes = [chance.expovariate(1 / 20) for _ in range(rows)]
        frame = pl.DataFrame(
            {
                "visit": [day.toordinal() * 1000 + i for i in range(rows)],
                "at": [begin + timedelta(minutes=5 * i) for i in range(rows)],
                "visitor": [f"v{chance.randrange(40)}" for _ in range(rows)],
                "minutes": minutes,
                "bought": [int(length + chance.gauss(0, 8) > 22) for length in minutes],
            },
            schema_overrides={"at": pl.Datetime("us", "UTC")},
        )
        known = pl.lit(begin + timedelta(days=1)).cast(pl.Datetime("us", "UTC")).alias("known_at")
        for feed, part in (
            ("transactions", frame.drop("bought")),
            ("labels", frame.select("visit", "bought", known)),
        ):
            path = self.home.landing / "visits" / feed / f"{day}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_parquet(path)

    def mdlc(self, *command: str) -> Result:
        return CliRunner().invoke(main, list(command))


@contextmanager
def _put_back(file: Path) -> Iterator[str]:
    """What a file says, which it says again afterwards."""
    kept = file.read_text()
    try:
        yield kept
    finally:
        file.write_text(kept)


def _declare(folder: Path, text: str) -> Path:
    name = text.split("name: ")[1].split("\n")[0]
    file = folder / name / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDLC_HOME", str(root / "home"))
        patch.setenv("MDLC_LIFECYCLES", str(root / "lifecycles"))
        _declare(root / "lifecycles", _SOURCE)
        _declare(root / "lifecycles", _LINEAR)
        made = Shop(Home(root / "home"), root / "lifecycles", {})
        started = made.mdlc(
            "new", "visits_trees", "--uses", "visits", "--into", str(made.folder), "--owner", "team:trees"
        )
        assert started.exit_code == 0, started.output
        trees = made.folder / "visits_trees" / "defs.yaml"
        trees.write_text(
            trees.read_text()
            .replace("logistic_regression", "decision_tree")
            .replace("standardise: true", "hyperparameters: {max_depth: 4}")
        )
        for name in ("visits", "visits_linear", "visits_trees"):
            made.loops[name] = open_loop(load_lifecycle(made.folder / name / "defs.yaml"), made.home)
        yield made
        for name, loop in made.loops.items():
            loop.resources["endpoints"].stop(name)
            loop.instance.dispose()


@pytest.mark.slow
def test_features_are_made_once_and_every_model_lives_its_own_life(shop: Shop) -> None:
    source, linear, trees = shop.loops.values()
    history, new = _DAYS[:-2], _DAYS[-2:]
    for day in history:
        shop.land(day)
    assert source.run("labels", history[0], history[-1]).success
    assert source.run("history", history[0], history[-1]).success
    for loop in (source, linear, trees):
        name = loop.lifecycle.name
        assert loop.tick() == [], "what is there already is not news"
        ran = loop.run("train", history[-1])
        assert ran.success, ran.error
        approval = {"version": 1, "approver": "ann@shop.com", "reason": "a test", "override": False}
        ran = loop.run("approve", config={f"{name}__champion": {"config": approval}})
        assert ran.success, ran.error

    for day in new:
        shop.land(day)
        assert "batch_inference" in [run.workflow for run in source.tick() if run.success]
        for loop in (linear, trees):
            ran = loop.tick()
            assert [run.error for run in ran if not run.success] == []
            did = [(run.workflow, run.partition) for run in ran]
            if day == new[0]:
                deployed = [("real_time_inference", "")] if loop is trees else []
                assert did == [("batch_inference", str(day)), *deployed]
            else:
                assert did == [("batch_inference", str(day)), ("monitor", str(new[0]))]
            assert loop.tick() == []
    lake = source.resources["lake"]
    for loop, column in ((linear, ["minutes", "visits_3d"]), (trees, [])):
        name = loop.lifecycle.name
        kept = {path.name for path in (shop.home.lake / name).iterdir()}
        assert not kept & set(_SHARED), kept
        scored = lake.table(name, "batch_predictions").read_day(new[-1])
        features = lake.table("visits", "features").read_day(new[-1])
        assert scored["visit"].to_list() == features["visit"].to_list()
        assert lake.documents(name, "closed_loop_report").read_document(new[0])["metrics"]["auc_roc"] > 0.6
        (version,) = loop.resources["registry"].versions(name)
        assert version.tags["mdlc.uses"] == "visits"
        about = lake.documents(name, "candidate_model").read_document(history[-1])
        plan = (history[-1] - timedelta(days=1) - timedelta(days=16), history[-1] - timedelta(days=1))
        days = [plan[0] + timedelta(days=i) for i in range(17)]
        assert about["mdlc.digest_features"] == lake.table("visits", "features").digest(days)
        page = (shop.home.reports / name / f"{new[-1]}.html").read_text()
        assert name in page
        assert f"/assets/visits/quality_report?partition={new[-1]}" in page
        assert column == loop.lifecycle.model.features

    made = [
        record.partition_key
        for record in source.instance.fetch_materializations(dg.AssetKey(["visits", "features"]), limit=1000).records
    ]
    assert sorted(made) == [str(day) for day in _DAYS]


@pytest.mark.slow  # It goes on from the one above.
def test_a_day_that_its_checks_refused_is_not_scored_elsewhere(shop: Shop) -> None:
    """The blocking check ran in a run of the used lifecycle; its features lie in the lake all the same."""
    linear, day = shop.loops["visits_linear"], _DAYS[-1]
    table = linear.resources["lake"].table("visits", "features")
    good = table.read_day(day)
    before = linear.resources["lake"].table("visits_linear", "batch_predictions").read_day(day)
    for bad, why in (
        (good.head(100), "100 rows for 120 events"),
        (good.with_columns(minutes=pl.lit(float("nan"))), "minutes"),
    ):
        table.write_day(day, bad)
        ran = linear.run("batch_inference", day)
        assert not ran.success
        assert "the features of visits on" in ran.error
        assert why in ran.error
    table.write_day(day, good)
    assert linear.resources["lake"].table("visits_linear", "batch_predictions").read_day(day).equals(before)


def test_the_graph_has_the_edges_and_nothing_twice(shop: Shop) -> None:
    definitions = build_definitions([load_lifecycle(path) for path in shop.folder.glob("*/defs.yaml")])
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert not {f"visits_linear/{name}" for name in (*_SHARED, "online_features", "online_decisions")} & keys
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey(["visits_linear", "training_set"])).parent_keys}
    assert parents == {"visits/features", "visits/labels"}
    assert graph.get(dg.AssetKey(["visits_linear", "training_set"])).owners == ["team:growth"]
    names = {job for job in repository.job_names if job.startswith("visits_linear_")}
    assert not names & {
        f"visits_linear_{name}" for name in ("labels", "history", "rebuild", "online_fill", "online_day")
    }
    assert repository.has_sensor_def("visits_linear_new_features")
    assert not repository.has_sensor_def("visits_linear_new_files")
    alone = build_definitions([load_lifecycle(shop.folder / "visits_linear" / "defs.yaml")]).get_repository_def()
    assert alone.asset_graph.has(dg.AssetKey(["visits", "features"])), "its source comes with it"


def test_what_changes_the_features_changes_what_follows_from_them(shop: Shop) -> None:
    """Dagster calls an asset stale when the code version of what it follows from is another one."""
    before = build_definitions([load_lifecycle(shop.folder / "visits_linear" / "defs.yaml")]).get_repository_def()
    declared = shop.folder / "visits" / "defs.yaml"
    with _put_back(declared) as kept:
        declared.write_text(kept.replace("windows: [3d]", "windows: [3d, 7d]"))
        found = load_lifecycle(shop.folder / "visits_linear" / "defs.yaml")
        assert "visits_7d" in found.declaration.features.names()
        after = build_definitions([found]).get_repository_def()
        key = dg.AssetKey(["visits_linear", "training_set"])
        assert before.asset_graph.get(key).code_version != after.asset_graph.get(key).code_version


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("uses: visits", "uses: visit", r"uses: no lifecycle is declared as 'visit' .*Mend: write 'visits'"),
        ("uses: visits", "uses: visits_linear", r"uses: a lifecycle cannot use itself"),
        ("uses: visits", "uses: visits_trees", r"uses: visits_trees itself uses visits .*Mend: write `uses: visits`"),
        (
            "  model:",
            "  features: {rows: {m: minutes}}\n  model:",
            r"features: .*leave `features` out.*model\.features",
        ),
        ("  model:", "  stream: {}\n  model:", r"stream: this goes with the events, which are those of visits"),
        ("real_time: null", "service: {reasons: never}", r"deployment\.service: this goes with the events"),
        ("  model:", "  monitoring: {online: {retrain: true}}\n  model:", r"monitoring\.online: this goes with"),
        ("[minutes, visits_3d]", "[minutes, visits_9d]", r"model\.features\.1: no feature is called so .*visits_3d"),
        (
            "algorithm: logistic",
            "entity: shop\n    algorithm: logistic",
            r"model\.entity: the features of visits do not",
        ),
    ],
)
def test_what_cannot_be_used_is_said(shop: Shop, right: str, wrong: str, said: str) -> None:
    file = shop.folder / "visits_linear" / "defs.yaml"
    with _put_back(file) as kept:
        assert right in kept
        file.write_text(kept.replace(right, wrong))
        with pytest.raises(DeclarationError, match=said):
            load_lifecycle(file)


def test_a_source_that_is_wrong_or_gone_is_said(shop: Shop, tmp_path: Path) -> None:
    declared = shop.folder / "visits" / "defs.yaml"
    linear = shop.folder / "visits_linear" / "defs.yaml"
    with _put_back(declared) as kept:
        declared.write_text(kept.replace("delay: 1d", "delay: 1 day"))
        with pytest.raises(DeclarationError, match=r"uses: the declaration of visits is wrong itself: labels\.delay"):
            read_declaration(linear)
        declared.rename(tmp_path / "defs.yaml")
        with pytest.raises(DeclarationError, match=r"uses: no lifecycle is declared as 'visits'"):
            read_declaration(linear)


def test_exported_workflows_score_the_features_where_they_are(shop: Shop, tmp_path: Path) -> None:
    role = "arn:aws:iam::123456789012:role/mdlc-sagemaker"
    places = ["--role", role, "--bucket", "s3://models", "--image", "image:1", "--region", "eu-west-1"]
    ran = shop.mdlc(
        "export", "step-functions", "visits_linear", *places, "--to", str(tmp_path), "--lake", "s3://lake/l"
    )
    assert ran.exit_code == 0, ran.output
    batch = (tmp_path / "mdlc-visits-linear-batch.asl.json").read_text()
    assert "s3://lake/l/visits/features/date={}/" in batch
    assert "s3://models/visits_linear/scores/date={}" in batch
    assert "visits_linear/features" not in batch


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (["run", "visits_linear", "history"], "mdlc run visits history"),
        (["features", "rebuild", "visits_linear"], "mdlc features rebuild visits"),
        (["land", "visits_linear", __file__], "mdlc land visits ..."),
        (["serve", "visits_linear"], "mdlc serve visits"),
        (["stream", "visits_linear"], "mdlc stream visits"),
    ],
)
def test_commands_about_data_name_who_keeps_them(shop: Shop, command: list[str], instead: str) -> None:
    ran = shop.mdlc(*command)
    assert ran.exit_code == 1
    assert f"Mend: `{instead}`" in textwrap.fill(ran.output, 10_000)
