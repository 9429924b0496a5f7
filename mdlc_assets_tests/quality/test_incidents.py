"""A part of the corpus of incidents; `benchmarks.incidents` runs all of it, on more worlds and on real days."""

from __future__ import annotations

import pytest

from benchmarks import incident_corpus, incidents
from benchmarks.incidents import Watched


@pytest.fixture(scope="module")
def watched() -> Watched:
    days = 40 + 28 + 60 + 3
    return incidents.watch_clean_days(incident_corpus.simulated(23, days), incident_corpus.corpus_lifecycle())


@pytest.mark.slow
def test_clean_days_raise_at_most_one_false_alarm(watched: Watched) -> None:
    assert len(watched.live) >= incidents.CLEAN_DAYS
    assert len(watched.false_alarms) <= 1, watched.false_alarms


@pytest.mark.slow
def test_gross_incidents_are_told_on_their_day_and_moderate_ones_soon(watched: Watched) -> None:
    live = watched.live
    happenings = watched.world.happenings(live[0], live[-3], seed=23, other_sizes=True)
    outcomes = incidents.run_corpus(watched, [one for one in happenings if one.size != "slight"])
    counted = incidents.bars(outcomes)
    missed = [f"{one.kind.name} {one.size} {one.amount:g}: {day}" for one, (day, _) in outcomes.items() if day != 0]
    gross, on_the_day, *_ = counted["gross"]
    assert gross >= 30 and on_the_day == gross, missed
    moderate, _, within_two, _ = counted["moderate"]
    assert moderate >= 30 and within_two >= 0.9 * moderate, missed
    told = [text for _, text in outcomes.values() if text]
    assert all("Since" in text and "Mend: " in text for text in told if "open loop" not in text)
