"""What history suggests: rules that hold in it, as a piece that validates and leaves out what is declared."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import find_problems
from mdlc_assets.quality.profile import as_yaml, merged, suggest
from mdlc_assets.resources.lake import Lake
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.conftest import SHIPPED

_START = date(2018, 4, 1)


@pytest.fixture(scope="module")
def content() -> dict:  # type: ignore[type-arg]
    """The shipped declaration as a team would have it that declared no rule yet."""
    found = yaml.safe_load((SHIPPED / "payments_fraud" / "defs.yaml").read_text())["attributes"]
    del found["quality"]
    for column in found["dataset"]["columns"].values():
        for rule in ("min", "decimals"):
            column.pop(rule, None)
    found["dataset"]["columns"]["channel"] = {"type": "string"}
    return found


@pytest.fixture(scope="module")
def days() -> dict[date, pl.DataFrame]:
    world = Simulator(start=_START)
    found = {}
    for i in range(25):
        rows = world.transactions(_START + timedelta(days=i))
        channel = pl.when(pl.col("transaction_id") % 3 == 0).then(pl.lit("web")).otherwise(pl.lit("shop"))
        found[_START + timedelta(days=i)] = rows.with_columns(channel.alias("channel"))
    return found


def test_suggestions_are_what_history_keeps_and_validate(
    content: dict,  # type: ignore[type-arg]
    days: dict[date, pl.DataFrame],
) -> None:
    found = suggest(LifecycleDeclaration.model_validate(content), days)
    by_field = {said.field: said for said in found}
    assert by_field["dataset.columns.amount.min"].value == 0
    assert by_field["dataset.columns.amount.decimals"].value == 2
    assert by_field["dataset.columns.channel.allowed"].value == ["shop", "web"]
    ages = by_field["quality.entities.-"].value
    assert (ages["entity"], ages["column"], ages["change"]) == ("customer_id", "account_age_days", "grows_by_day")
    assert "100.00% of" in by_field["quality.entities.-"].because
    assert by_field["quality.repeats"].value["tolerated_share"] == 0.001
    assert by_field["quality.usual"].value["severity"] == "warn"
    assert 0.05 <= by_field["quality.volume"].value["min_ratio"] < 1
    text = as_yaml(found)
    assert yaml.safe_load(text) == yaml.safe_load(as_yaml(sorted(found, key=lambda said: said.field)))
    pasted = merged(content, found)
    assert pasted["quality"] == yaml.safe_load(text)["quality"]
    assert find_problems(LifecycleDeclaration.model_validate(pasted)) == []
    # What is declared is not suggested again.
    again = suggest(LifecycleDeclaration.model_validate(pasted), days)
    assert [said.field for said in again] == []


def test_a_value_that_moves_freely_gets_no_rule(
    content: dict,  # type: ignore[type-arg]
    days: dict[date, pl.DataFrame],
) -> None:
    shuffled = {day: rows.with_columns(pl.col("account_age_days").shuffle(1)) for day, rows in days.items()}
    found = suggest(LifecycleDeclaration.model_validate(content), shuffled)
    assert "quality.entities.-" not in {said.field for said in found}


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: dict[date, pl.DataFrame]) -> None:
    home = Home(tmp_path)
    monkeypatch.setenv("MDLC_HOME", str(tmp_path))
    none = CliRunner().invoke(main, ["profile", "payments_fraud"])
    assert none.exit_code == 1 and "has 0 validated days, and a profile needs 7. Mend: run the job" in none.output
    table = Lake(root=str(home.lake)).table("payments_fraud", "validated")
    for day, rows in list(days.items())[:10]:
        table.write_day(day, rows.drop("channel"))
    ran = CliRunner().invoke(main, ["profile", "payments_fraud", "--days", "9"])
    assert ran.exit_code == 0, ran.output
    piece = yaml.safe_load(ran.output)
    assert set(piece) == {"dataset"} and "max" in piece["dataset"]["columns"]["amount"]
    assert "on 9 days" in ran.output
