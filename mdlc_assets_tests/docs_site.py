"""The documentation's site as `make docs` builds it, in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from mdlc_assets.cli import main
from mdlc_assets.commands.reference import pages

_ROOT = Path(__file__).parents[1]


def build_site(folder: Path) -> subprocess.CompletedProcess[str]:
    """Builds it strictly below `folder`, as `site`."""
    shutil.copyfile(_ROOT / "zensical.toml", folder / "zensical.toml")
    shutil.copytree(_ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("reference"))
    (folder / "docs" / "reference").mkdir()
    for name, text in pages(main).items():
        (folder / "docs" / "reference" / name).write_text(text)
    zensical = str(Path(sys.executable).parent / "zensical")
    return subprocess.run([zensical, "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False)
