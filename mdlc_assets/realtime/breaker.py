"""A circuit breaker: what is away is left alone for a while, so that it does not cost its time limit each time."""

from __future__ import annotations

import time
from collections.abc import Callable

from mdlc_assets.declaration.service import Fallback


class Breaker:
    """Closed: all may ask. After failures in a row it opens for the declared rest; then one may try."""

    def __init__(self, fallback: Fallback, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.rest, self.clock = fallback.after_failures, fallback.rest.total_seconds(), clock
        self.failures = 0
        self._again_at = 0.0

    @property
    def open(self) -> bool:
        """Whether it is being left alone."""
        return self.failures >= self.limit

    def allows(self) -> bool:
        """Whether to ask now. The first to ask after the rest has the rest begin anew for all others."""
        if not self.open:
            return True
        now = self.clock()
        if now < self._again_at:
            return False
        self._again_at = now + self.rest
        return True

    def succeeded(self) -> None:
        """It answered."""
        self.failures = 0

    def failed(self) -> None:
        """It did not."""
        self.failures += 1
        self._again_at = self.clock() + self.rest
