"""The test kit: a declaration on sample days, in a platform of its own that is gone afterwards.

with sample_platform("defs.yaml") as platform:
    days = platform.land_samples(days=3)
    assert platform.run("history", days).success
    platform.check_windows(days)
"""

from mdlc_assets.testing.platform import SamplePlatform, sample_platform
from mdlc_assets.testing.samples import sample_labels, sample_rows

__all__ = ["SamplePlatform", "sample_labels", "sample_platform", "sample_rows"]
