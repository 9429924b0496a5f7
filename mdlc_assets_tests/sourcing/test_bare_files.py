"""Files without ids, and labels that stand in words."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.sourcing.days import LandingDayError, labels_day, raw_day
from mdlc_assets.sourcing.declared import sourcing_problems

_DAY = date(2024, 5, 4)
_ROWS = "when,kind,size,result\n2024/05/04 10:00,a,1.5,Yes\n2024/05/04 11:00,b,,no\n2024/05/04 10:00,a,1.5, \n"


def _declared(payments: LifecycleDeclaration, **source: Any) -> LifecycleDeclaration:
    columns = {"key": "string", "at": "timestamp", "kind": "string", "size": "float"}
    content = payments.model_dump(mode="json")
    content["dataset"] = {
        "description": "Parts.",
        "start": _DAY,
        "id": "key",
        "time": "at",
        "columns": {name: {"type": type_, "nullable": name == "size"} for name, type_ in columns.items()},
        "sources": {
            "files": {
                "columns": {"at": "when", "broken": "result"},
                "labels_inline": True,
                "id_from_row": True,
                **source,
            }
        },
    }
    content["labels"] = {"column": "broken", "positive": "it broke", "delay": "1d", "positive_values": ["yes"]}
    content["features"] = {"rows": {"size": "size"}}
    content["quality"] = {}
    content["model"] |= {"entity": "", "evaluation": {}, "gate": {"floors": {}}}
    content["monitoring"] = {}
    content["owners"] = "team:parts"
    return LifecycleDeclaration.model_validate(content)


def _raw(declared: LifecycleDeclaration, text: str) -> Any:
    return raw_day(declared, [f"{_DAY}.csv"], lambda _: text.encode()).frame


def test_an_id_is_made_from_the_row(payments_fraud: LifecycleDeclaration) -> None:
    declared = _declared(payments_fraud)
    assert sourcing_problems(declared) == []
    ids = _raw(declared, _ROWS)["key"].to_list()
    assert len(set(ids)) == 3, "rows that are equal but for the label are told apart"
    header, *rows = _ROWS.splitlines()
    turned = _raw(declared, "\n".join([header, *reversed(rows)]))["key"].to_list()
    assert set(turned) == set(ids), "the order of the rows changes nothing"
    # The label that comes later does not make another event of the row.
    later = _raw(declared, _ROWS.replace(", \n", ",no\n"))["key"].to_list()
    assert later == ids


def test_labels_in_words_find_their_rows(payments_fraud: LifecycleDeclaration) -> None:
    declared = _declared(payments_fraud)
    ids = _raw(declared, _ROWS)["key"].to_list()
    found = labels_day(declared, _DAY, [f"{_DAY}.csv"], lambda _: _ROWS.encode(), [], lambda _: b"").frame
    assert dict(found.select("key", "broken").iter_rows()) == {ids[0]: 1, ids[1]: 0}


def test_words_where_numbers_are_declared_are_refused(payments_fraud: LifecycleDeclaration) -> None:
    declared = _declared(payments_fraud)
    bare = declared.model_copy(update={"labels": declared.labels.model_copy(update={"positive_values": []})})
    with pytest.raises(LandingDayError, match="2 of 3 labels are neither 0 nor 1"):
        labels_day(bare, _DAY, [f"{_DAY}.csv"], lambda _: _ROWS.encode(), [], lambda _: b"")


def test_an_id_that_is_read_and_made_at_once(payments_fraud: LifecycleDeclaration) -> None:
    declared = _declared(payments_fraud, columns={"at": "when", "broken": "result", "key": "kind"}, ignore=["kind"])
    said = [str(problem) for problem in sourcing_problems(declared)]
    assert any("made from the row at once" in line and "Mend: remove `id_from_row`" in line for line in said), said


def test_nobody_named_means_each_event_by_itself(payments_fraud: LifecycleDeclaration) -> None:
    declared = _declared(payments_fraud)
    assert declared.model.entity == "key"
    assert {owner for _, owner in declared.owners} == {"team:parts"}


def test_a_column_that_the_files_lack_holds_what_its_source_says(payments_fraud: LifecycleDeclaration) -> None:
    declared = _declared(payments_fraud, constants={"kind": "pump"})
    assert sourcing_problems(declared) == []
    text = _ROWS.replace(",kind", "").replace(",a,", ",").replace(",b,", ",")
    frame = _raw(declared, text)
    assert frame["kind"].to_list() == ["pump"] * 3
    assert frame["_unreadable"].null_count() == 3
    with pytest.raises(LandingDayError, match="column kind is not declared"):
        _raw(declared, _ROWS)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"constants": {"size": "big"}}, "only a text column of the dataset can be constant"),
        ({"constants": {"colour": "red"}}, "only a text column of the dataset can be constant"),
        ({"constants": {"key": "1"}}, "each event has an id of its own"),
        ({"constants": {"kind": "a"}, "columns": {"at": "when", "broken": "result", "kind": "what"}}, "also mapped"),
    ],
)
def test_constants_that_cannot_be(payments_fraud: LifecycleDeclaration, source: dict[str, Any], said: str) -> None:
    problems = [str(problem) for problem in sourcing_problems(_declared(payments_fraud, **source))]
    assert any(said in line and "dataset.sources.files.constants" in line for line in problems), problems
