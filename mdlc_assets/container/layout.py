"""Where SageMaker puts things and looks for them.

    <root>/input/config/{hyperparameters,inputdataconfig,resourceconfig}.json
    <root>/input/data/<channel>/      the rows
    <root>/model/                     what becomes model.tar.gz, and where it is unpacked to serve
    <root>/output/data/               what becomes output.tar.gz
    <root>/output/failure             its first 1,024 characters become the job's FailureReason
    <root>/checkpoints/               copied to S3 while training goes on, and back when it goes on

The root is /opt/ml, or what MDLC_ML_ROOT says.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT_VARIABLE = "MDLC_ML_ROOT"
LONGEST_REASON = 1024


class InputError(ValueError):
    """What the job was given cannot be used; the text says what and how to mend it."""


@dataclass(frozen=True)
class Layout:
    """The folders below one root."""

    root: Path

    @classmethod
    def of_this_machine(cls) -> Layout:
        """/opt/ml, unless the environment names another root."""
        return cls(Path(os.environ.get(ROOT_VARIABLE) or "/opt/ml"))

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def output_data(self) -> Path:
        return self.root / "output" / "data"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def channel(self, name: str) -> Path:
        """The folder of a channel's files."""
        return self.root / "input" / "data" / name

    def hyperparameters(self) -> dict[str, str]:
        """As they were given: names and strings. Nothing when there is no such file."""
        return self._config("hyperparameters", required=False)

    def channels(self) -> dict[str, dict[str, str]]:
        """Each channel's name with its content type and input mode."""
        return self._config("inputdataconfig")

    def hosts(self) -> list[str]:
        """All the machines of the job."""
        return self._config("resourceconfig", required=False).get("hosts", ["algo-1"])

    def fail(self, reason: str) -> None:
        """Write the reason of a failure for SageMaker to read."""
        path = self.root / "output" / "failure"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(reason[:LONGEST_REASON])

    def _config(self, name: str, *, required: bool = True) -> dict[str, Any]:
        path = self.root / "input" / "config" / f"{name}.json"
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            if not required:
                return {}
            raise InputError(f"{path} does not exist. Mend: start the container as SageMaker does.") from None
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is not JSON ({error}). Mend: write an object.") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} holds no object. Mend: write an object.")
        return content
