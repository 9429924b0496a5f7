"""Only approved versions go behind the endpoint; what an alarm took back waits for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdlc_assets.deployment.approved import (
    UnapprovedError,
    approved_champion,
    put_on_record,
    taken_back,
)
from mdlc_assets.resources.registry import Candidate, Registry, Version
from mdlc_assets.resources.sagemaker.rollout import RolledOut
from mdlc_assets_tests.deployment.models import fit_model

NAME = "payments"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root: Path = tmp_path_factory.mktemp("registry")
    registry = Registry(tracking_uri=f"sqlite:///{root}/mlflow.db", artifact_root=str(root / "artifacts"))
    for seed in (1, 2):
        model = fit_model(seed)
        files = {f"model/{name}": content for name, content in model.files().items()}
        registry.register(NAME, Candidate(f"2018-04-0{seed}", model.digest(), files, model.features, {}, {}))
    return registry


def _approve(registry: Registry, number: int) -> Version:
    version = registry.version(NAME, number)
    registry.record(NAME, "approve", version, "ann", "good")
    registry.point(NAME, "champion", version)
    return version


def test_an_alias_that_was_moved_by_hand_does_not_serve(registry: Registry) -> None:
    with pytest.raises(UnapprovedError, match="has no champion"):
        approved_champion(registry, NAME)
    registry.point(NAME, "champion", registry.version(NAME, 2))
    with pytest.raises(UnapprovedError, match=r"points to version 2, but the audit trail has no approval.*Mend: "):
        approved_champion(registry, NAME)
    _approve(registry, 1)
    assert approved_champion(registry, NAME).version == 1


def test_what_was_taken_back_stays_so_until_it_is_approved_again(registry: Registry) -> None:
    version = _approve(registry, 2)
    assert taken_back(registry, NAME, 2) == ""
    put_on_record(registry, NAME, version, RolledOut("rolled back", "two", "one", "the alarm drift went off"))
    assert taken_back(registry, NAME, 2) == "the alarm drift went off"
    assert taken_back(registry, NAME, 1) == ""
    _approve(registry, 2)
    assert taken_back(registry, NAME, 2) == ""
    before = len(registry.audit(NAME))
    put_on_record(registry, NAME, version, RolledOut("unchanged", "two", "two", "serves already"))
    assert len(registry.audit(NAME)) == before
    put_on_record(registry, NAME, version, RolledOut("deployed", "two", "one", "its alarms stayed quiet"))
    entry = registry.audit(NAME)[-1]
    assert (entry["action"], entry["config"], entry["config_before"]) == ("deploy", "two", "one")
