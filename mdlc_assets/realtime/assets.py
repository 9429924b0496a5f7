"""`stream_lag`: how far the reading of the stream is behind, for the Dagster UI."""

from __future__ import annotations

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, plain_asset, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.stream import Stream
from mdlc_assets.realtime.dead_letters import DeadLetters
from mdlc_assets.realtime.stream_lag import StreamState, look_at_stream
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.storage import open_storage
from mdlc_assets.resources.streams.records import StreamAwayError
from mdlc_assets.resources.streams.resource import Streams


def stream_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The asset of a lifecycle that declares a stream, with its checks."""
    if lifecycle.stream is None:
        return dg.Definitions()
    return dg.Definitions(assets=[_stream_lag(lifecycle, lifecycle.stream)])


def _stream_lag(lifecycle: LifecycleDeclaration, declared: Stream) -> dg.AssetsDefinition:
    key = asset_key(lifecycle, "stream_lag")

    @dg.asset(
        **plain_asset(lifecycle, "sourcing", "stream_lag", kinds={"sqlite"}),
        check_specs=[
            dg.AssetCheckSpec("lag", asset=key, description=f"No unread record is older than {declared.alarm_lag}."),
            dg.AssetCheckSpec("dead_letters", asset=key, description="Each record that came today could be read."),
        ],
        description="How long the oldest unread record of each shard of the stream has waited, who reads it, and which "
        "records could not be read today. Events from the stream land as files of their day.",
    )
    @read_once
    def stream_lag(streams: Streams, landing: LandingZone) -> dg.MaterializeResult:
        letters = DeadLetters(open_storage(landing.root), lifecycle.name)
        if not streams.there(lifecycle.name):
            nothing = "no event has been put into the stream yet"
            checks = [
                dg.AssetCheckResult(passed=True, check_name=n, description=nothing) for n in ("lag", "dead_letters")
            ]
            return dg.MaterializeResult(metadata={"shards": 0}, check_results=checks)
        try:
            stream = streams.stream(lifecycle.name, declared.shards, declared.retention)
            checkpoints = None if streams.read_by_lambda else streams.checkpoints(lifecycle.name)
            found = look_at_stream(stream, checkpoints, letters)
        except StreamAwayError as error:
            raise dg.Failure(description=str(error)) from None
        return dg.MaterializeResult(
            metadata={
                "lag_seconds": round(found.lag.total_seconds(), 3),
                "events": sum(shard.events for shard in found.shards),
                "events through": found.event_time or "none",
                "dead letters today": sum(found.dead.values()),
                "shards": dg.MetadataValue.md(_shards(found)),
                "lag by shard": dg.MetadataValue.md(_plot(found, declared)),
            },
            check_results=_results(found, declared),
        )

    return stream_lag


def _results(found: StreamState, declared: Stream) -> list[dg.AssetCheckResult]:
    late = found.late(declared.alarm_lag)
    mend = "Mend: see that `mdlc stream` or the Lambda runs and that the store and the landing zone are there"
    in_time = "in time" if found.shards else "a Lambda reads it: CloudWatch's alarm on its IteratorAge judges"
    dead = ", ".join(f"{count} {kind}" for kind, count in found.dead.items())
    return [
        dg.AssetCheckResult(
            passed=not late,
            check_name="lag",
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join([*late, mend]) if late else in_time,
            metadata={"lag_seconds": round(found.lag.total_seconds(), 3)},
        ),
        dg.AssetCheckResult(
            passed=not dead,
            check_name="dead_letters",
            severity=dg.AssetCheckSeverity.WARN,
            description=f"put aside today: {dead}. Mend: `mdlc stream dead` says why" if dead else "none today",
        ),
    ]


def _shards(found: StreamState) -> str:
    rows = [
        f"| {s.shard} | {s.lag.total_seconds():,.1f} | {s.reader or 'nobody'} | {s.events:,} | {s.event_time} |"
        for s in found.shards
    ]
    return "\n".join(["| shard | lag, s | read by | events | through |", "|---|---|---|---|---|", *rows])


def _plot(found: StreamState, declared: Stream) -> str:
    figure, axes = plots.new_figure()
    axes.bar(
        [s.shard for s in found.shards], [s.lag.total_seconds() for s in found.shards], color=plots.BLUE, width=0.5
    )
    axes.axhline(declared.alarm_lag.total_seconds(), color=plots.RED, linewidth=1)
    axes.set_ylabel("lag, s (red: the alarm)")
    return plots.as_markdown(figure)
