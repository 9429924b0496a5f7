"""What is written down of decisions before they are answered: effects due, capture, counts."""

from __future__ import annotations

import logging

from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.decider import Decided
from mdlc_assets.realtime.meters import Meters

_LOG = logging.getLogger("mdlc.decisions")


class Recorder:
    """Takes the decisions that were made together."""

    def __init__(self, meters: Meters, capture: Capture | None = None) -> None:
        self.meters, self.capture = meters, capture

    def __call__(self, decided: list[tuple[str, Decided]]) -> None:
        if self.capture is not None:
            try:
                self.capture.write(decided)
            except OSError as error:
                # A full disk is no reason to let payments wait.
                _LOG.error("%d decisions are not captured: %s", len(decided), type(error).__name__)
        for _, one in decided:
            self.meters.decided(one.decision, one.rule, one.degraded)
