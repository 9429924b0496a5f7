"""Commands that are the first of a home, all at once: one makes the tables, the others find them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from mdlc_assets.home import Home
from mdlc_assets.resources.registry_client import open_client

_AT_ONCE = 3
_WAITS_S = 120
# Imports first, so that all open the home within milliseconds.
_OPENS = """
import sys, time
from pathlib import Path
from mdlc_assets.demo.loop import open_instance
from mdlc_assets.home import Home
from mdlc_assets.resources.registry_client import open_client
import mlflow, mlflow.store.tracking.sqlalchemy_store
home, number = Home(sys.argv[1]), sys.argv[2]
Path(f"{sys.argv[1]}-{number}.there").touch()
while not Path(f"{sys.argv[1]}.go").exists():
    time.sleep(0.001)
home.prepare()
with open_instance(home) as instance:
    print(instance.get_runs_count())
print(len(open_client(home.mlflow_uri).search_registered_models()))
"""


@pytest.mark.slow
def test_a_fresh_home_opened_by_several_at_once(tmp_path: Path) -> None:
    root = tmp_path / "home"
    command = [sys.executable, "-W", "ignore", "-c", _OPENS, str(root)]
    opening = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in range(_AT_ONCE)
    ]
    end = time.monotonic() + _WAITS_S
    while len(list(tmp_path.glob("*.there"))) < _AT_ONCE and time.monotonic() < end:
        time.sleep(0.05)
    Path(f"{root}.go").touch()
    said = [process.communicate(timeout=_WAITS_S) for process in opening]
    assert [process.returncode for process in opening] == [0] * _AT_ONCE, said[0][1][-2_000:]
    home = Home(root)
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        assert instance.get_runs_count() == 0, "and it opens ever after"
    assert open_client(home.mlflow_uri).search_registered_models() == []
