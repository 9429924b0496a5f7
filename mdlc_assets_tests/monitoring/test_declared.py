"""Monitors that are declared wrongly name the field, the value and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdlc_assets.declaration import DeclarationError
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets_tests.conftest import SHIPPED

_TEXT = (SHIPPED / "payments_fraud" / "defs.yaml").read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "field", "mend"),
    [
        ("is_night = 1", "is_nite = 1", "monitoring.closed_loop.slices.night", "write a condition over amount"),
        ("is_night = 1", "is_night +", "monitoring.closed_loop.slices.night", "write a condition over amount"),
        ("is_night = 1", "amount + 1", "monitoring.closed_loop.slices.night", "write a comparison"),
        ("gross_distance: 0.1", "gross_distance: 0.01", "gross_distance", "a gross_distance of at least 0.03"),
        (
            "metrics: [auc_roc, average_precision,",
            "metrics: [auc_roc,",
            "monitoring.retrain.metric",
            "average_precision",
        ),
        ("max_age_days: 90", "budget: 0", "monitoring.retrain.budget", "at least 1"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, right: str, wrong: str, field: str, mend: str) -> None:
    assert right in _TEXT
    path = tmp_path / "defs.yaml"
    path.write_text(_TEXT.replace(right, wrong))
    with pytest.raises(DeclarationError) as caught:
        load_lifecycle(path)
    said = [str(problem) for problem in caught.value.problems]
    assert any(field in line and mend in line.split("Mend:")[1] for line in said), said
