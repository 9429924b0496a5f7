"""What the tests of production share."""

import subprocess
import sys
from pathlib import Path

import pytest

from mdlc_assets_tests.deploy.database import databases, postgres

__all__ = ["databases", "postgres"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(str(Path(sys.executable).parent / "uv"), "build", "--quiet", "--wheel"),
            *("--out-dir", str(folder), str(Path(__file__).parents[2])),
        ],
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found
