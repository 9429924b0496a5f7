"""The outboxes of all lifecycles: the same for runs and for the decision service, so that an event acts once."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from mdlc_assets.resources.outbox import Outbox, open_outbox


class Outboxes(dg.ConfigurableResource):
    """Where effects of decisions wait. Nothing is opened before it is used."""

    place: str = Field(description="A file, with {lifecycle} in its name, or dynamodb:<table>.")

    def open(self, lifecycle: str) -> Outbox:
        """The outbox of a lifecycle."""
        return open_outbox(self.place.replace("{lifecycle}", lifecycle))
