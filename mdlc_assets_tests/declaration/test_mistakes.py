"""A wrong declaration names the field, the value and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdlc_assets.declaration import DeclarationError, read_declaration
from mdlc_assets_tests.conftest import SHIPPED

_TEXT = (SHIPPED / "payments_fraud" / "defs.yaml").read_text()

_SOURCES = "    sources:\n"


def _customers(column: str, *, entity: str = "customer_id", feed: str = "customers") -> str:
    return f"    attributes:\n      {feed}: {{entity: {entity}, columns: {{{column}: {{type: string}}}}}}\n{_SOURCES}"


@pytest.mark.parametrize(
    ("right", "wrong", "field", "value", "mend"),
    [
        ("  aggregate:", "  agregate:", "features.windows.0.agregate", "customer", "'aggregate'"),
        ("algorithm: xgboost", "algorithm: xgbost", "model.algorithm", "'xgbost'", "'xgboost'"),
        ("[1d, 7d, 30d]", "[1 day]", "features.windows.0.windows.0", "'1 day'", "7d"),
        ("mean(amount)", "avg(amount)", "features.windows.0.aggregate", "avg(amount)", "mean"),
        ("mean(amount)", "mean", "features.windows.0.aggregate", "mean", "mean(column)"),
        ("team:fraud-platform", "bob", "owners.deployment", "'bob'", "team:my-team"),
        ("entity: terminal_id", "entity: terminal", "features.windows.1.entity", "'terminal'", "terminal_id"),
        ("delay: 7d\n        aggregate", "delay: 3d\n        aggregate", "windows.1.delay", "'3d'", "delay"),
        ("delay: 7d\n        aggregate", "aggregate", "windows.1.delay", "'0s'", "delay"),
        ("[1d, 7d, 30d]\n        delay", "[6h]\n        delay", "windows.1.windows", "'6h'", "at least 1d"),
        ("test_days: 3", "test_days: 0", "model.windows.test_days", "0", "at least 1"),
        ("time: event_time", "time: when", "dataset.time", "'when'", "event_time"),
        ("time: event_time", "time: event_tim", "dataset.time", "'event_tim'", "write 'event_time'"),
        ("test_days: 3", "test_days: three", "model.windows.test_days", "'three'", "a whole number, such as 7"),
        ("start: 2018-04-01", "start: 1.4.2018", "dataset.start", "'1.4.2018'", "a date, such as 2024-12-31"),
        ("{train_days: 21, gap_days: 0, test_days: 3}", "month", "model.windows", "'month'", "each as `name: value`"),
        ("may_lose: 0.02", "may_lose: little", "model.gate.may_lose", "'little'", "a number, such as 0.5"),
        ("severity: warn}", "severity: wran}", "severity", "'wran'", "write 'warn'; there are"),
        ("end: 2018-08-31", "end: 2017-08-31", "dataset", "2017-08-31", "on or after start"),
        ("positive: the payment", "positif: the payment", "labels.positif", "payment", "'positive'"),
        ("otherwise: allow", "otherwise: pass", "decisions", "pass", "pass: ..."),
        ("learning_rate: 0.05", "random_state: 3", "model", "random_state", "seed:"),
        (
            _SOURCES,
            _customers("segment", entity="client_id"),
            "attributes.customers.entity",
            "'client_id'",
            "customer_id",
        ),
        (_SOURCES, _customers("amount"), "attributes.customers.columns", "'amount'", "another name"),
        (_SOURCES, _customers("segment", feed="labels"), "attributes.labels", "'labels'", "such as machines"),
        ("change: grows_by_day", "change: never_jumps", "entities.0.max_change", "None", "max_change: ..."),
        ("change: grows_by_day", "change: grows", "quality.entities.0.change", "'grows'", "grows_by_day"),
        ("change: grows_by_day", "change: never_sticks\n        stuck_days: 20", "look_back_days", "7", "at least 19"),
        ("grace: 1d, severity: warn", "grace: 1d, severity: worn", "quality.labels.severity", "'worn'", "'error'"),
        ("usual: {look_back_days: 42", "usual: {look_back: 42", "quality.usual.look_back", "42", "'look_back_days'"),
        ("auc_roc: 0.75", "brier: 0.75", "model.gate.floors", "'brier'", "ceilings"),
        ("auc_roc: 0.75", "auc_rok: 0.75", "model.gate.floors", "'auc_rok'", "'auc_roc'"),
        ("may_lose: 0.02", "slices: {day: {}}", "model.gate.slices", "'day'", "evaluation.slices"),
        ("may_lose: 0.02", "calibration: [2, 1]", "model.gate.calibration", "[2.0, 1.0]", "lower bound first"),
        ("{night: is_night", "{At Night: is_night", "slices", "'At Night'", "lower-case"),
        ("    gate:", "    calibrate: {method: platt, days: 21}\n    gate:", "calibrate.days", "21", "at least one"),
        ("name: payments_fraud", "name: Payments-Fraud", "name", "'Payments-Fraud'", "lower-case"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, right: str, wrong: str, field: str, value: str, mend: str) -> None:
    assert right in _TEXT
    path = tmp_path / "defs.yaml"
    path.write_text(_TEXT.replace(right, wrong))
    with pytest.raises(DeclarationError) as caught:
        read_declaration(path)
    assert str(path) in str(caught.value)
    said = [str(problem) for problem in caught.value.problems]
    assert any(field in line and value in line and mend in line.split("Mend:")[1] for line in said), said


def test_a_label_hidden_in_an_expression_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(_TEXT.replace("mean(amount)", "mean(amount * is_fraud)"))
    with pytest.raises(DeclarationError, match=r"uses the label 'is_fraud' before it is known.*(\n.*)*Mend: give"):
        read_declaration(path)


def test_a_feature_may_not_be_called_as_a_column(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    columns = "account_age_days:\n        {type"
    assert columns in _TEXT
    path.write_text(_TEXT.replace(columns, "n_1d: {type: integer}\n      " + columns).replace("customer_payments", "n"))
    with pytest.raises(DeclarationError, match=r"'n_1d' is called as a column"):
        read_declaration(path)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(_TEXT.replace("algorithm: xgboost", "algorithm: magic").replace("may_lose", "may_loose"))
    with pytest.raises(DeclarationError, match="2 problems"):
        read_declaration(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "file: the file does not exist (found nothing). Mend: check the path."),
        (b"", "file: there are no fields in it (found nothing). Mend: write `name: ...`"),
        (b"- a", "file: there are no fields in it (found list). Mend: write `name: ...`"),
        (b"name: caf\xe9", "line 1: this is not text in UTF-8 (found other bytes). Mend: save it as UTF-8."),
        (b"attributes: [", "(found the end of the file). Mend: close what was opened by [, { or a quote."),
        (
            b"a:\n\tb: 1",
            "line 2: this is not YAML: found character that cannot start any token (found 'b: 1'). Mend: ind",
        ),
        (b"a: 'b\nc: d", "Mend: "),
        (
            b"a: {b: 1,\n  b: 2}",
            "line 2: 'b' stands there twice, first on line 1 (found 'b: 2}'). Mend: keep one of the",
        ),
        (b"a: &x {b: 1}\nc: {<<: *x, d: 1}", "a: there is no such field"),
    ],
)
def test_what_is_not_a_declaration_at_all(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "defs.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeclarationError) as caught:
        read_declaration(path)
    assert said in str(caught.value) and "Mend: " in str(caught.value)


def test_a_folder_is_no_declaration(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"this is no file \(found a folder\)\. Mend: name the file in it"):
        read_declaration(tmp_path)


def test_a_mistyped_field_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(_TEXT.replace("\n  features:", "\n  featurs:"))
    with pytest.raises(DeclarationError, match="1 problem in the declaration") as caught:
        read_declaration(path)
    assert caught.value.problems[0].mend == "write 'features'"
