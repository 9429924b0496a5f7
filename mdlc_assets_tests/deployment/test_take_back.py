"""`mdlc take-back`, run as a person runs it while a rollout is under way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from mdlc_assets.home import Home
from mdlc_assets.resources.endpoint_plan import Plan, Step
from mdlc_assets.resources.endpoints import DeploymentRolledBackError, Endpoints
from mdlc_assets_tests.deployment.models import save_model
from mdlc_assets_tests.deployment.test_rollouts import SECONDS, eventually

NAME = "payments_fraud"


def _take_back(home: Home, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "mdlc"), "take-back", *more],
        env={**os.environ, "MDLC_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_person_takes_a_rollout_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    endpoints = Endpoints(root=str(home.endpoints))
    said: list[str] = []

    def roll_out() -> None:
        try:
            endpoints.deploy(NAME, save_model(tmp_path / "2", seed=2), 2, SECONDS, plan=Plan((Step(0.5, 600),)))
            said.append("it went through")
        except DeploymentRolledBackError as error:
            said.append(str(error))

    try:
        endpoints.deploy(NAME, save_model(tmp_path / "1", seed=1), 1, SECONDS)
        nothing = _take_back(home, "--reason", "p99 doubled", "--who", "ann@example.com")
        assert nothing.returncode == 1
        assert "No rollout of payments_fraud is under way." in nothing.stdout + nothing.stderr
        rollout = threading.Thread(target=roll_out)
        rollout.start()
        assert eventually(lambda: endpoints.status(NAME).rollout is not None, SECONDS)
        # Who gives no reason takes nothing back.
        assert _take_back(home).returncode == 2
        taken = _take_back(home, "--reason", "p99 doubled", "--who", "ann@example.com")
        assert (taken.returncode, taken.stdout.strip()) == (0, "The rollout is taken back."), taken.stderr
        rollout.join(SECONDS)
        assert len(said) == 1
        assert said[0].startswith("version 2 was rolled back: it was taken back by ann@example.com: p99 doubled. ")
        assert endpoints.status(NAME).version == 1
        assert endpoints.status(NAME).rolled_back
    finally:
        endpoints.stop(NAME)
