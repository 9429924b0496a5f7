"""The entry point of the Lambda that reads a stream: deploy/images/Dockerfile.lambda names it.

MDLC_LIFECYCLE says whose events these are, MDLC_LANDING where they land, MDLC_ONLINE_TABLE which table learns them.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdlc_assets.realtime.stream_handler import StreamHandler

_NEEDED = ("MDLC_LIFECYCLE", "MDLC_LANDING", "MDLC_ONLINE_TABLE")


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A batch of Kinesis records in; which of them must come again, out."""
    from mdlc_assets.realtime.lambda_batch import handle_batch

    return handle_batch(_handler(), event)


@functools.cache
def _handler() -> StreamHandler:
    """Once for each instance of the function: connections and compiled code are kept between calls."""
    from mdlc_assets.commands.shared import find_lifecycle
    from mdlc_assets.realtime.stream_parts import stream_handler
    from mdlc_assets.resources.landing import LandingZone
    from mdlc_assets.resources.online_store import OnlineStore

    logging.getLogger("mdlc.stream").setLevel(logging.INFO)
    unset = [name for name in _NEEDED if not os.environ.get(name)]
    if unset:
        raise LookupError(f"{', '.join(unset)}: nothing is set. Mend: set them in the function's environment.")
    lifecycle, landing, table = (os.environ[name] for name in _NEEDED)
    # Nobody waits for an answer here, as one does for a decision.
    store = OnlineStore(form="dynamodb", table=table, timeout=10)
    resources = {"landing": LandingZone(root=landing), "online_store": store}
    return stream_handler(find_lifecycle(lifecycle).declaration, resources)
