"""What the stream's worker counts, for Prometheus, on a port of this machine."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from mdlc_assets.realtime.stream_handler import Handled


class StreamMeters:
    """Counters of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lag = Gauge("mdlc_stream_lag_ms", "Age of the oldest unread record.", ["shard"], registry=self.registry)
        self.landed = Counter("mdlc_stream_events", "Events landed.", registry=self.registry)
        self.learnt = Counter("mdlc_stream_learnt", "Events learnt.", registry=self.registry)
        self.dead = Counter("mdlc_stream_dead_letters", "Records put aside.", ["kind"], registry=self.registry)
        self.pauses = Counter("mdlc_stream_pauses", "Waits for what was away.", ["what"], registry=self.registry)
        self.seconds = Histogram("mdlc_stream_batch_seconds", "Of batches with records.", registry=self.registry)

    def handled(self, shard: str, handled: Handled, behind_ms: int, seconds: float) -> None:
        """A batch is done."""
        self.landed.inc(handled.landed)
        self.learnt.inc(handled.learnt)
        for kind, count in handled.dead.items():
            self.dead.labels(kind).inc(count)
        self.lag.labels(shard).set(behind_ms)
        self.seconds.observe(seconds)

    def serve(self, port: int) -> int:
        """Answer scrapes on the loopback address; gives the port, a free one for 0."""
        server, _ = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        return server.server_port
