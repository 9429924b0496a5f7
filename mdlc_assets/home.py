"""Where everything lies on a laptop: one folder, MDLC_HOME, or else `.mdlc` here."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Dagster's own default, but for its class: only the home knows where its folder is.
_EVENT_LOG = """event_log_storage:
  module: mdlc_assets.resources.event_log
  class: BatchedEventLog
  config:
"""


class HomeError(OSError):
    """A home folder that cannot be one."""


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """While a database at `place` is opened: of several processes one makes its tables, and the others wait.

    Where two make them at once, Dagster's and MLflow's own are left as nobody can open them again.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Home:
    """The folders below MDLC_HOME."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root or os.environ.get("MDLC_HOME") or ".mdlc").expanduser().absolute()
        # A name below a file could never be made, and would be found out in the midst of something.
        there = next(path for path in (self.root, *self.root.parents) if os.path.lexists(path))
        if not there.is_dir():
            what = "it is a file, not a folder" if there == self.root else f"{there} is a file, not a folder"
            raise HomeError(f"MDLC_HOME {self.root}: {what}. Mend: name another, or move the file.")

    @property
    def dagster(self) -> Path:
        """Dagster's own state (DAGSTER_HOME)."""
        return self.root / "dagster"

    def prepare(self) -> None:
        """Make DAGSTER_HOME, with `dagster.yaml` from the checkout or from the wheel, and where its events go."""
        try:
            self.dagster.mkdir(parents=True, exist_ok=True)
            (self.root / "mlflow").mkdir(exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"MDLC_HOME {self.root}: the folder cannot be made ({error.strerror}). Mend: name another."
            ) from None
        package = Path(__file__).parent
        settings = next(path for path in (package.parent / "dagster.yaml", package / "dagster.yaml") if path.exists())
        events = json.dumps(str(self.dagster / "history" / "runs"))
        text, file = f"{settings.read_text()}{_EVENT_LOG}    base_dir: {events}\n", self.dagster / "dagster.yaml"
        if not file.exists() or file.read_text() != text:
            # Whole or not at all: another command may be about to read it.
            part = file.with_name(f".dagster.yaml.{os.getpid()}")
            part.write_text(text)
            part.replace(file)

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def landing(self) -> Path:
        """Files arrive in `<landing>/<lifecycle>/transactions` and `.../labels`."""
        return self.root / "landing"

    @property
    def mlflow_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow" / "artifacts"

    @property
    def endpoints(self) -> Path:
        """State of the local endpoint processes; SageMaker's local form drives them."""
        return self.root / "sagemaker" / "endpoints"

    @property
    def reports(self) -> Path:
        """HTML reports."""
        return self.root / "reports"

    @property
    def streams(self) -> Path:
        """The embedded streams, and how far they have been read."""
        return self.root / "streams"

    @property
    def captured_decisions(self) -> Path:
        """What the decision service decided, by lifecycle and day."""
        return self.root / "online" / "decisions"

    def outbox(self, lifecycle: str) -> str:
        """Where effects of decisions wait: MDLC_OUTBOX, such as `dynamodb:<table>`, or else a file here."""
        return os.environ.get("MDLC_OUTBOX") or str(self.root / "online" / "outbox" / f"{lifecycle}.db")
