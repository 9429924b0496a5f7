"""Captured decisions on their way to S3: closed files go up whole, by a thread of their own, and are then removed here.

    <root>/<lifecycle>/date=2018-04-01/<process>-<number>.jsonl

What cannot go up stays and is tried again, by this process or by the next one that starts on this folder: a file
that nobody has locked is whole. Sent twice, it is the same object with the same content.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.meters import Meters
from mdlc_assets.resources.aws import aws_client
from mdlc_assets.resources.storage import S3Storage, Storage

_LOG = logging.getLogger("mdlc.decisions")
_OPEN_SECONDS = 60.0
_OPEN_BYTES = 8 * 1024 * 1024
_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE = 60.0
_STOP_SECONDS = 10.0


class CaptureUpload:
    """Carries what `capture` closed, and what was left in its folder, to `storage` under `<lifecycle>/`."""

    def __init__(
        self,
        capture: Capture,
        storage: Storage,
        meters: Meters,
        *,
        open_seconds: float = _OPEN_SECONDS,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self.capture, self.storage, self.meters = capture, storage, meters
        self.open_seconds, self.pause_seconds = open_seconds, pause_seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="capture-upload", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._thread.start()

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Close all files and send them, for `seconds` at most: what is left then goes up at the next start."""
        self._ending.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        pause = self.pause_seconds
        while not self._ending.is_set():
            pause = self.pause_seconds if self._pass() else min(2 * pause, _LONGEST_PAUSE)
            self._ending.wait(pause)
        self.capture.close()
        self._pass()

    def _pass(self) -> bool:
        try:
            self.capture.close(self.open_seconds, _OPEN_BYTES)
            self.send()
        except Exception as error:
            # Whatever it is must not end the thread: the files stay, and the next pass tries them again.
            waiting = sum(1 for _ in self._files())
            self.meters.capture_waiting.set(waiting)
            _LOG.error("%d captured files wait for their upload: %s", waiting, type(error).__name__)
            return False
        return True

    def send(self) -> int:
        """Send all whole files; gives how many. The first that does not go ends it: the others would not either."""
        sent = 0
        for path in self._files():
            sent += self._send_whole(path)
        self.meters.capture_waiting.set(0)
        return sent

    def _files(self) -> Iterator[Path]:
        return iter(sorted(self.capture.folder.glob("date=*/*.jsonl")))

    def _send_whole(self, path: Path) -> bool:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            # Another worker on this folder may have sent and removed it between the two lines above.
            if os.fstat(file.fileno()).st_nlink == 0:
                return False
            name = path.relative_to(self.capture.folder.parent).as_posix()
            content = file.read()
            if content:
                self.storage.write(name, content)
                self.meters.capture_uploaded.inc()
            path.unlink()
        return True


def upload_to(root: str | None, capture: Capture | None, meters: Meters) -> CaptureUpload | None:
    """The upload to `root` when it is `s3://...`; a folder is read where it lies."""
    if capture is None or root is None or not root.startswith("s3://"):
        return None
    # A thread that waits long for S3 could not end within the grace a SIGTERM gives.
    return CaptureUpload(capture, S3Storage(root, aws_client("s3", attempts=2, seconds=4.0)), meters)
