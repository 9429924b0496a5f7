"""The mistakes that people make outside the declaration; those inside are in declaration/test_mistakes.py.

Each is really made. What is said names the thing, and what to do about it.
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.testing import SamplePlatform, sample_platform
from mdlc_assets_tests.conftest import SHIPPED

_DEFS = SHIPPED / "payments_fraud" / "defs.yaml"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamplePlatform]:
    """One good day is in; nothing was trained."""
    with sample_platform(_DEFS, tmp_path_factory.mktemp("home")) as found:
        assert found.run("history", found.land_samples(days=1)).success
        yield found


def _mdlc(platform: SamplePlatform, *arguments: str) -> str:
    ran = CliRunner().invoke(main, ["--home", str(platform.home.root), *arguments])
    assert ran.exit_code in (1, 2), ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit), repr(ran.exception)
    return ran.output


def _history(platform: SamplePlatform, name: str, content: bytes | pl.DataFrame) -> str:
    """What is said of a second day whose file is like this; the file is gone afterwards."""
    day = platform.days(2)[1]
    rows = isinstance(content, pl.DataFrame)
    path = platform.land(day, content) if rows else platform.land_bytes(name.format(day=day), content)  # type: ignore[arg-type]
    try:
        ran = platform.run("history", [day])
    finally:
        path.unlink()
    assert not ran.success
    return "\n".join([ran.error, *(why for _, why in ran.stopped_by)])


def _tomorrow(platform: SamplePlatform) -> pl.DataFrame:
    return platform.sample(platform.days(2)[1])


_FILES: list[tuple[str, str | bytes | Callable[[SamplePlatform], pl.DataFrame], tuple[str, ...]]] = [
    ("an empty file", b"", ("0 bytes", "Mend: send the file again")),
    ("no CSV", b"\x00\x01", ("is not CSV text in UTF-8 with a header line", "Mend: write it as CSV")),
    (
        "a header alone",
        b"transaction_id,event_time,customer_id,terminal_id,amount\n",
        ("no rows", "Mend: send it again"),
    ),
    (
        "a column renamed",
        lambda p: _tomorrow(p).rename({"amount": "amonut"}),
        ("amount is missing", "now called amonut"),
    ),
    ("a column more", lambda p: _tomorrow(p).with_columns(x=1), ("column x is not declared", "Mend: declare it")),
    (
        "words for numbers",
        lambda p: _tomorrow(p).with_columns(amount=pl.lit("much")),
        ("amount 'much' cannot be read as a float", "Mend: read the reasons in quarantine"),
    ),
    (
        "the day before, sent again",
        lambda p: p.sample(p.first_day),
        ("event_time 2018-04-01", "is not on 2018-04-02", "Mend:"),
    ),
]


@pytest.mark.parametrize(("content", "said"), [case[1:] for case in _FILES], ids=[case[0] for case in _FILES])
def test_files(
    platform: SamplePlatform, content: bytes | Callable[[SamplePlatform], pl.DataFrame], said: tuple[str, ...]
) -> None:
    text = _history(platform, "{day}.csv", content(platform) if callable(content) else content)
    assert all(part in text for part in said), text


def test_parquet_that_is_cut_off(platform: SamplePlatform) -> None:
    day = platform.days(2)[1]
    whole = platform.land(day, _tomorrow(platform))
    cut = whole.read_bytes()[:-100]
    whole.unlink()
    text = _history(platform, "{day}.parquet", cut)
    assert "is cut off. Mend: write it again as one whole Parquet file" in text


def test_days_that_did_not_land(platform: SamplePlatform) -> None:
    text = _mdlc(platform, "run", "payments_fraud", "history", "--day", "2018-04-05")
    assert "No file for 2018-04-05 in" in text
    assert "Mend: put the day's Parquet, CSV or JSON-lines file there" in text


def test_days_outside_the_dataset(platform: SamplePlatform) -> None:
    text = _mdlc(platform, "run", "payments_fraud", "history", "--first", "2017-04-05")
    assert "payments_fraud has days from 2018-04-01 to 2018-08-31. Mend: choose --first" in text


def test_nothing_has_landed(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["--home", str(tmp_path), "run", "payments_fraud", "history"])
    assert ran.exit_code == 1
    assert "No file of payments_fraud has landed. Mend: `mdlc land payments_fraud FILE`" in ran.output


def test_labels_that_are_no_labels(platform: SamplePlatform) -> None:
    day = platform.first_day
    ids = platform.sample(day)["transaction_id"]
    path = platform.land(day, pl.DataFrame({"transaction_id": ids, "is_fraud": 2, "known_at": "2018-04-09"}), "labels")
    ran = platform.run("labels", [day])
    path.unlink()
    assert "100 of 100 labels are neither 0 nor 1. Mend: write 1 for a positive" in ran.error


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (0, ("would learn from 2018-03-02, before the data begin", "Mend: train as of 2018-05-01 or later")),
        (60, ("payments_fraud/features has no data for", "Mend: materialise payments_fraud/features")),
    ],
)
def test_training_too_early(platform: SamplePlatform, later: int, said: tuple[str, ...]) -> None:
    ran = platform.run("train", [platform.first_day + timedelta(days=later)])
    assert all(part in ran.error for part in said), ran.error


@pytest.mark.parametrize("workflow", ["batch_inference", "real_time_inference"])
def test_no_champion_yet(platform: SamplePlatform, workflow: str) -> None:
    days = [] if workflow == "real_time_inference" else [platform.first_day]
    ran = platform.run(workflow, days)
    assert "has no champion, and nothing serves that was not approved. Mend:" in ran.error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("approve", "1", "--reason", "good", "--approver", "a@b.co"), "has no version 1. Mend: run the job"),
        (("approve", "1", "--approver", "a@b.co"), "Missing option '--reason'"),
        (("rollback", "--reason", "bad", "--approver", "a@b.co"), "no earlier champion"),
        (("run", "payments", "history"), "there is no lifecycle 'payments'; there are"),
        (("run", "payments_fraud", "histroy"), "'histroy' is not one of 'history'"),
        (("run", "payments_fraud", "histroy"), "Mend: write 'history'."),
        (("run", "payments_fraud", "history", "--day", "1.4.2018"), "does not match the format '%Y-%m-%d'"),
        (("land", "payments_fraud", "none.csv"), "none.csv: there is no such file or folder. Mend: check the path"),
        (("validate", "none.yaml"), "the file does not exist (found nothing). Mend: check the path"),
        (("new", "my-model", "--data", "none.csv"), "a lifecycle cannot be called so. Mend: use 2 to 41"),
    ],
)
def test_commands(platform: SamplePlatform, arguments: tuple[str, ...], said: str) -> None:
    assert said in _mdlc(platform, *arguments)


def test_a_folder_without_data(platform: SamplePlatform, tmp_path: Path) -> None:
    text = _mdlc(platform, "land", "payments_fraud", str(tmp_path))
    assert f"{tmp_path}: the folder has no data files. Mend: put files there that end in .parquet, .csv" in text


def test_a_home_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "home"
    place.write_text("not a folder")
    monkeypatch.setenv("MDLC_HOME", str(place))
    for command in (["history"], ["run", "payments_fraud", "history"], ["dev", "--port", "0"]):
        ran = CliRunner().invoke(main, command)
        assert ran.exit_code == 1
        assert f"MDLC_HOME {place}: it is a file, not a folder. Mend:" in ran.output


def test_lifecycles_in_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDLC_LIFECYCLES", str(tmp_path / "models"))
    ran = CliRunner().invoke(main, ["--home", str(tmp_path), "history", "--lifecycle", "mine"])
    assert f"MDLC_LIFECYCLES {tmp_path / 'models'}: there is no such folder. Mend: correct the path" in ran.output


def test_a_port_that_is_taken(platform: SamplePlatform) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = _mdlc(platform, "dev", "--port", str(port))
    assert f"nothing can listen on 127.0.0.1:{port}" in text
    assert f"Mend: choose another, such as --port {port + 1}" in text


def test_a_registry_of_an_older_mlflow(platform: SamplePlatform, tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["--home", str(platform.home.root), "history"]).exit_code == 0
    other = tmp_path / "mlflow" / "mlflow.db"
    other.parent.mkdir()
    shutil.copyfile(platform.home.root / "mlflow" / "mlflow.db", other)
    with sqlite3.connect(other) as database:
        database.execute("update alembic_version set version_num = '0a8213491aaa'")
    ran = CliRunner().invoke(main, ["--home", str(tmp_path), "history"])
    assert ran.exit_code == 1
    assert "another version of MLflow wrote this database (found version 0a8213491aaa" in ran.output
    assert f"run `mlflow db upgrade sqlite:///{other}`" in ran.output
