"""The two weeks of the demo as a plan: which day is broken, from which day on amounts drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

LIVE_DAYS = 14


class StoryError(ValueError):
    """Files that the story cannot be told on."""


@dataclass(frozen=True)
class Story:
    """`history` is brought in at once; `live` goes by day by day."""

    history: Sequence[date]
    live: Sequence[date]
    broken_day: date
    drift_from: date
    drift: float

    def drift_on(self, day: date) -> float:
        """What the day's amounts are multiplied by."""
        return self.drift if day >= self.drift_from else 1.0


def plan(days: Sequence[date]) -> Story:
    """The story told on the given days: the last fourteen are lived, those before are history.

    Amounts drift from the first live day on, early enough that labels confirm the harm within the two
    weeks; the file of the fifth day is broken. Raises `StoryError` with fewer than 80 days.
    """
    if len(days) < 80:
        raise StoryError(f"the demo needs 80 days of files (66 of history, 14 to live through) and found {len(days)}")
    live = days[-LIVE_DAYS:]
    return Story(days[:-LIVE_DAYS], live, broken_day=live[4], drift_from=live[0], drift=1.5)
