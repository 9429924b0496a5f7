"""What `dg scaffold defs mdlc_assets.ModelLifecycle <name>` writes: a small declaration that loads as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg

_TEXT = Path(__file__).with_name("starter.yaml")


class Starter(dg.Scaffolder[Any]):
    """Writes the declaration to start from, under the name that was asked for."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        if request.scaffold_format == "python":
            dg.scaffold_component(request)
        elif request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write("---\n" + starter_text(request.target_path.parent.name))
        else:
            (request.target_path / "defs.yaml").write_text(starter_text(request.target_path.name), encoding="utf-8")


def starter_text(folder: str) -> str:
    """The declaration for a folder. Lifecycles are called in lower case, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.lower()).strip("_")
    name = name if name[:1].isalpha() else f"model_{name}"
    return _TEXT.read_text(encoding="utf-8").replace("my_model", name)
