"""What the decision service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Meters:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answers = Counter("mdlc_answers", "Answers by HTTP status.", ["status"], registry=self.registry)
        self.decisions = Counter("mdlc_decisions", "Decisions.", ["decision", "rule"], registry=self.registry)
        self.degraded = Counter("mdlc_degraded", "Decisions without what was away.", ["cause"], registry=self.registry)
        self.seconds = Histogram("mdlc_request_seconds", "Of requests.", buckets=_SECONDS, registry=self.registry)
        self.stages = Counter("mdlc_stage_seconds", "Seconds spent.", ["stage"], registry=self.registry)
        self.effects = Counter("mdlc_effects", "Effects sent.", ["outcome"], registry=self.registry)
        self.version = Gauge("mdlc_model_version", "The version that scores; 0 for none.", registry=self.registry)
        self.away = Gauge("mdlc_left_alone", "1 while it is not asked.", ["what"], registry=self.registry)
        self.ready = Gauge("mdlc_ready", "1 when model and store are there.", registry=self.registry)
        self.capture_uploaded = Counter("mdlc_capture_uploaded", "Captured files in S3.", registry=self.registry)
        self.capture_waiting = Gauge("mdlc_capture_waiting", "Captured files that S3 refuses.", registry=self.registry)
        self._by_status: dict[int, Counter] = {}
        self._by_decision: dict[tuple[str, str], Counter] = {}

    def answered(self, status: int, seconds: float) -> None:
        """An answer was given."""
        found = self._by_status.get(status)
        if found is None:
            found = self._by_status[status] = self.answers.labels(str(status))
        found.inc()
        self.seconds.observe(seconds)

    def decided(self, decision: str, rule: str, degraded: str) -> None:
        """A decision was made."""
        key = (decision, rule)
        found = self._by_decision.get(key)
        if found is None:
            found = self._by_decision[key] = self.decisions.labels(*key)
        found.inc()
        if degraded:
            self.degraded.labels(degraded).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
