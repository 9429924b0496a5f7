"""Days that a stream is still writing: the batch path leaves them alone until they are over and quiet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.landing import LandingFeed
from mdlc_assets.sourcing.streamed_files import is_streamed


def settled(
    lifecycle: LifecycleDeclaration, feed: LandingFeed, now: datetime, known: Mapping[date, str]
) -> dict[date, str]:
    """The fingerprints of days whose files may be taken.

    A day with files of a stream is taken when it is over and the last file has lain for `stream.settle`. One that
    was `known` before stays known until then, so that it is not news either.
    """
    found = feed.fingerprints()
    if lifecycle.stream is None:
        return found
    for day, fingerprint in list(found.items()):
        if known.get(day) == fingerprint or not any(map(is_streamed, feed.files(day))):
            continue
        arrived, over = feed.arrived(day), datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        quiet = arrived is not None and now - datetime.fromtimestamp(arrived, UTC) >= lifecycle.stream.settle
        if now < over + lifecycle.stream.settle or not quiet:
            if day in known:
                found[day] = known[day]
            else:
                del found[day]
    return found
