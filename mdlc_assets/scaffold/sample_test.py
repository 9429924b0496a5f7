"""The test that a new declaration starts with."""

from __future__ import annotations

from mdlc_assets.declaration import LifecycleDeclaration

_TEXT = '''"""{name} on made-up days: what goes in comes out, and what is broken is stopped."""

from pathlib import Path

from mdlc_assets.testing import sample_platform

DEFS = Path(__file__).parent / "defs.yaml"


def test_good_days_become_features() -> None:
    with sample_platform(DEFS) as platform:
        days = platform.land_samples(days=3, rows=50)
{labels}        assert platform.run("history", days).success
        features = platform.table("features", days)
        assert features.height == 150
        assert features.select(platform.declaration.features.names()).null_count().sum_horizontal().item() == 0
        platform.check_windows(days)


def test_a_row_without_time_goes_to_quarantine() -> None:
    with sample_platform(DEFS) as platform:
        rows = platform.sample(platform.first_day, rows=200)
        platform.land(platform.first_day, platform.without(rows, "{time}", row=0))
        platform.run("history", [platform.first_day])
        assert platform.table("quarantine", [platform.first_day])["rule"].to_list() == ["{time}_present"]
'''

_LABELS = '        assert platform.run("labels", days).success\n'


def test_text(declaration: LifecycleDeclaration) -> str:
    """A file of tests that pass on the declaration as it was written."""
    # Windows of a forecast look back on the label, so the labels of the first day have to be there.
    labels = _LABELS if declaration.labels.kind == "number" else ""
    return _TEXT.format(name=declaration.name, time=declaration.dataset.time, labels=labels)
