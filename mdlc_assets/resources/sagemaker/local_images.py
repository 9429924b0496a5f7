"""What runs here in place of an image: the very entry points of the platform's own, or a team's command."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mdlc_assets.resources.sagemaker.built_in_images import repository_of
from mdlc_assets.resources.sagemaker.local_state import LocalState

_OWN = "mdlc-assets"
_MODULES = {"train": "mdlc_assets.container.train", "serve": "mdlc_assets.container.serve"}
# Must stay the name that container/task.py reads; this room may not import that one.
_BUILT_IN_VARIABLE = "MDLC_BUILT_IN"


class NoCommandError(LookupError):
    """An image that nothing here can stand in for."""


@dataclass(frozen=True)
class Command:
    """A command line, and what its environment needs beside the job's own."""

    words: tuple[str, ...]
    environment: dict[str, str]


def is_own(state: LocalState, image: str) -> bool:
    """Whether it is the platform's own image, and nothing else stands in for it."""
    return image not in state.commands and image.rpartition("/")[2].partition(":")[0] == _OWN


def command_for(state: LocalState, image: str, verb: Literal["train", "serve"]) -> Command:
    """What stands in for `docker run <image> <verb>`. Raises `NoCommandError`."""
    if image in state.commands:
        return Command((*state.commands[image], verb), {})
    own = Command((sys.executable, "-P", "-m", _MODULES[verb]), {"PYTHONPATH": _python_path()})
    if is_own(state, image):
        return own
    repository = repository_of(image)
    if repository is not None:
        return Command(own.words, {**own.environment, _BUILT_IN_VARIABLE: repository})
    raise NoCommandError(
        f"nothing on this machine stands in for the image {image}. "
        "Mend: give its command in `commands` of the resource SageMaker."
    )


def _python_path() -> str:
    package_root = str(Path(__file__).parents[3])
    return os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
