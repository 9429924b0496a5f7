"""Streams of events: Kinesis, or a form of it on this machine's disk, and how far their readers have come."""
