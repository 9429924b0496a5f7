"""`mdlc rules test`: past days decided again with changed rules."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.home import Home
from mdlc_assets.integration.rehearsal import rehearse
from mdlc_assets.resources.lake import Lake
from mdlc_assets_tests.integration.decided_days import decide_days

_DAYS = "2018-04-01..2018-04-03"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    decide_days(payments_fraud, Lake(root=str(home.lake)), 3)
    return home


@pytest.fixture
def stricter(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> Path:
    """Rules that review from 0.2 on instead of 0.3."""
    changed = payments_fraud.decisions.model_dump(mode="json")
    assert changed["rules"][2]["when"] == "score >= 0.3"
    changed["rules"][2]["when"] = "score >= 0.2"
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump({"decisions": changed}))
    return file


def _test(home: Home, *more: str) -> Result:
    return CliRunner().invoke(
        main, ["--home", str(home.root), "rules", "test", "payments_fraud", "--days", _DAYS, *more]
    )


def test_what_changes_is_counted_against_the_tables(
    payments_fraud: LifecycleDeclaration, home: Home, stricter: Path
) -> None:
    ran = _test(home, "--rules", str(stricter), "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    lake = Lake(root=str(home.lake))
    tables = {
        name: lake.table("payments_fraud", name).read(lake.table("payments_fraud", name).days())
        for name in ("batch_predictions", "validated", "labels", "decisions")
    }
    moved = tables["batch_predictions"].filter((pl.col("score") >= 0.2) & (pl.col("score") < 0.3))
    (move,) = found["moves"]
    assert (move["before"], move["after"], move["events"]) == ("allow", "review", moved.height)
    assert 0 < found["changed"] == moved.height < found["events"] == tables["decisions"].height
    amounts = tables["validated"].join(moved, on="transaction_id", how="semi")["amount"].sum()
    assert move["amount"] == pytest.approx(amounts, abs=0.01) and found["amount_of"] == "amount"
    known = tables["labels"].join(moved, on="transaction_id", how="semi")["is_fraud"]
    assert (move["labelled"], move["positives"]) == (moved.height, known.sum())
    assert set(move["examples"]) <= set(moved["transaction_id"])
    reviewed = tables["decisions"].filter(pl.col("decision") == "review").join(tables["labels"], on="transaction_id")
    assert found["before"]["review"]["precision"] == pytest.approx(reviewed["is_fraud"].mean())
    assert found["after"]["review"]["events"] == found["before"]["review"]["events"] + moved.height
    assert found["after"]["review"]["precision"] < found["before"]["review"]["precision"], "doubtful ones join"
    said = _test(home, "--rules", str(stricter)).stdout
    assert f"allow -> review: {moved.height:,}, amount " in said and "% positive" in said


def test_past_the_limit_it_exits_with_1(home: Home, stricter: Path) -> None:
    changed = json.loads(_test(home, "--rules", str(stricter), "--json").stdout)["changed"]
    assert _test(home, "--rules", str(stricter), "--max-changed", str(changed)).exit_code == 0
    past = _test(home, "--rules", str(stricter), "--max-changed", str(changed - 1))
    assert past.exit_code == 1 and "more than --max-changed" in past.stderr
    assert _test(home, "--rules", str(stricter), "--max-changed", "0.1%").exit_code == 1
    assert _test(home, "--max-changed", "0").exit_code == 0, "the rules as they are change nothing"
    assert _test(home, "--max-changed", "few").exit_code == 2


def test_mistakes_name_file_and_field(home: Home, tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    file = tmp_path / "wrong.yaml"
    changed = payments_fraud.decisions.model_dump(mode="json")
    changed["rules"][0]["when"] = "scor >= 0.9"
    file.write_text(yaml.safe_dump(changed))
    ran = _test(home, "--rules", str(file))
    assert ran.exit_code == 1
    assert "wrong.yaml" in ran.stderr and "decisions.rules.0.when" in ran.stderr and "'score'" in ran.stderr
    file.write_text(yaml.safe_dump({"decisions": {"rules": [], "otherwise": "allow"}}))
    assert "actions" in _test(home, "--rules", str(file)).stderr
    absent = CliRunner().invoke(
        main, ["--home", str(home.root), "rules", "test", "payments_fraud", "--days", "2018-05-01"]
    )
    assert absent.exit_code == 1 and "decisions has no data for 2018-05-01" in absent.stderr


def test_without_labels_nothing_is_said_of_precision(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, home: Home
) -> None:
    lake = Lake(root=str(tmp_path))
    (day,) = decide_days(payments_fraud, lake, 1)
    lake.table("payments_fraud", "labels").delete_day(day)
    rules = payments_fraud.decisions.model_copy(update={"rules": payments_fraud.decisions.rules[:1]})
    found = rehearse(payments_fraud, lake, [day], rules)
    assert {move.after for move in found.moves} == {"allow"}
    assert all(move.labelled == 0 for move in found.moves)
    assert all(standing.precision is None for standing in found.before.values())
