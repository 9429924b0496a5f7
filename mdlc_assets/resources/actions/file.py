"""A file for each effect, made whole and only once."""

from __future__ import annotations

import json
from pathlib import Path

from mdlc_assets.resources.outbox import Effect
from mdlc_assets.resources.storage import open_storage


class FileSender:
    """Writes `<folder>/<key>.json`."""

    def send(self, effect: Effect) -> None:
        """Make the file unless it is there."""
        folder = Path(str(effect.target["folder"])).expanduser().absolute()
        content = json.dumps({"idempotency_key": effect.key, **effect.payload}, indent=1).encode()
        open_storage(str(folder)).create(f"{effect.key}.json", content)
