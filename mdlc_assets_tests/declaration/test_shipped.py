"""The shipped declaration says what its README promises."""

from __future__ import annotations

from datetime import date, timedelta

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.fingerprint import fingerprint_of
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets_tests.conftest import SHIPPED


def test_the_fifteen_features_of_the_handbook(payments_fraud: LifecycleDeclaration) -> None:
    names = payments_fraud.features.names()
    assert len(names) == 15
    assert names[:3] == ["amount", "is_weekend", "is_night"]
    assert names[-4:] == [f"terminal_{what}_{w}" for w in ("7d", "30d") for what in ("payments", "fraud_share")]
    assert payments_fraud.features.look_back() == timedelta(days=37)


def test_the_variant_for_the_handbook_is_good() -> None:
    found = load_lifecycle(SHIPPED / "payments_fraud" / "handbook.yaml").declaration
    assert len(found.model.features) == 16
    assert set(found.model.features) < set(found.features.names())
    # An instant in days since 1970 only ever grows: it serves expressions, and is nothing to learn from.
    assert not [name for name in found.model.features if name.startswith(("terminal_last_", "terminal_first_"))]


def test_a_fingerprint_follows_its_own_parts_only(payments_fraud: LifecycleDeclaration) -> None:
    other = payments_fraud.model_copy(update={"description": "another"})
    assert other.fingerprint() != payments_fraud.fingerprint()
    assert other.fingerprint("features") == payments_fraud.fingerprint("features")


def test_days_stay_inside_the_dataset(payments_fraud: LifecycleDeclaration) -> None:
    days = payments_fraud.days(date(2018, 3, 1), date(2018, 4, 2))
    assert days == [date(2018, 4, 1), date(2018, 4, 2)]
    assert payments_fraud.days(date(2018, 8, 31), date(2019, 1, 1)) == [date(2018, 8, 31)]


def test_another_engine_leaves_the_fingerprint(payments_fraud: LifecycleDeclaration) -> None:
    features = payments_fraud.features.model_copy(update={"engine": "spark", "spark_above": 1})
    other = payments_fraud.model_copy(update={"features": features})
    assert other.fingerprint() == payments_fraud.fingerprint()
    assert other.fingerprint("features") == payments_fraud.fingerprint("features")


def test_an_option_of_a_later_version_leaves_the_fingerprint_until_it_is_used(
    payments_fraud: LifecycleDeclaration,
) -> None:
    decisions = payments_fraud.decisions.model_dump(mode="json")
    assert fingerprint_of({"decisions": decisions}) == payments_fraud.fingerprint("decisions")
    younger = decisions.pop("act_within")
    assert fingerprint_of({"decisions": dict(decisions)}) == payments_fraud.fingerprint("decisions")
    used = payments_fraud.decisions.model_copy(update={"act_within": timedelta(hours=1)})
    assert younger == "2d"
    assert payments_fraud.model_copy(update={"decisions": used}).fingerprint() != payments_fraud.fingerprint()


def test_an_option_of_each_source_that_is_younger_than_they_are(payments_fraud: LifecycleDeclaration) -> None:
    dataset = payments_fraud.model_dump(mode="json")["dataset"]
    before = payments_fraud.fingerprint("dataset")
    for source in dataset["sources"].values():
        assert source.pop("constants") == {}
    assert fingerprint_of({"dataset": dataset}) == before
    next(iter(dataset["sources"].values()))["constants"] = {"shop": "here"}
    assert fingerprint_of({"dataset": dataset}) != before
