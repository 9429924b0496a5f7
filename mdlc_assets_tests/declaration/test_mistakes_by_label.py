"""What does not fit the kind of label, of numbers and of none, is named with field, value and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdlc_assets.declaration import DeclarationError
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets_tests.conftest import SHIPPED

_NUMBERS, _NONE = "bakery_demand", "pump_anomalies"


@pytest.mark.parametrize(
    ("lifecycle", "right", "wrong", "field", "value", "mend"),
    [
        (_NUMBERS, "r2: 0.6", "auc_roc: 0.6", "model.gate", "'auc_roc'", "use r2, gain_over_baseline"),
        (_NUMBERS, "{wape: 0.3}", "{brier: 0.3}", "model.gate", "'brier'", "wape as a ceiling"),
        (_NUMBERS, "[r2, mae, wape]", "[r2, auc_roc]", "closed_loop.metrics", "'auc_roc'", "use r2"),
        (_NUMBERS, "xgboost_regression", "xgboost", "model.algorithm", "'xgboost'", "xgboost_regression"),
        (_NUMBERS, "kind: number", "kind: nummer", "labels.kind", "'nummer'", "'event', 'number' or 'none'"),
        (_NONE, "separation: 2", "auc_roc: 0.7", "model.gate", "'auc_roc'", "use separation or silhouette"),
        (_NONE, "exceeding: 0.05", "wape: 0.05", "model.gate", "'wape'", "davies_bouldin as a ceiling"),
        (_NONE, "isolation_forest", "xgboost", "model.algorithm", "'xgboost'", "declare `labels`, or use one of"),
    ],
)
def test_each_mistake_is_named(
    tmp_path: Path, lifecycle: str, right: str, wrong: str, field: str, value: str, mend: str
) -> None:
    text = (SHIPPED / lifecycle / "defs.yaml").read_text()
    assert right in text
    path = tmp_path / "defs.yaml"
    path.write_text(text.replace(right, wrong))
    with pytest.raises(DeclarationError) as caught:
        load_lifecycle(path)
    assert str(path) in str(caught.value)
    said = [str(problem) for problem in caught.value.problems]
    assert any(field in line and value in line and mend in line.split("Mend:")[1] for line in said), said
