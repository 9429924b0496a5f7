"""Which days a model as of a day learns from and is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from mdlc_assets.declaration import LifecycleDeclaration


@dataclass(frozen=True)
class Span:
    """Days, both ends included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"

    def days(self) -> list[date]:
        """All the days."""
        return [self.first + timedelta(days=i) for i in range((self.last - self.first).days + 1)]


@dataclass(frozen=True)
class Protocol:
    """The spans of a model as of a day. `refit` is what the registered model learns from."""

    train: Span
    test: Span
    refit: Span

    @property
    def whole(self) -> Span:
        """From the first training day to the last test day."""
        return Span(self.train.first, self.test.last)


class TooEarlyError(ValueError):
    """The as-of day lies before the first one that has enough days behind it."""


def protocol(lifecycle: LifecycleDeclaration, as_of: date) -> Protocol:
    """The spans as of a day: the test days end on the last day whose labels are complete by its end.

    Raises `TooEarlyError` naming the first possible day.
    """
    windows = lifecycle.model.windows
    delay = timedelta(days=lifecycle.labels.delay_days)
    last = as_of - delay
    first = last - timedelta(days=windows.span_days - 1)
    if first < lifecycle.dataset.start:
        possible = as_of + (lifecycle.dataset.start - first)
        raise TooEarlyError(
            f"a model as of {as_of} would learn from {first}, before the data begin on "
            f"{lifecycle.dataset.start}. Mend: train as of {possible} or later, or declare shorter windows."
        )
    train = Span(first, first + timedelta(days=windows.train_days - 1))
    test = Span(last - timedelta(days=windows.test_days - 1), last)
    newest = Span(last - timedelta(days=windows.train_days - 1), last)
    return Protocol(train, test, newest if lifecycle.model.refit else train)
