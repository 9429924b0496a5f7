"""The demo: two weeks in the life of a model, told while they happen, on the very same jobs and sensors."""

LIFECYCLE = "payments_fraud"
"""The shipped lifecycle that it tells of."""
