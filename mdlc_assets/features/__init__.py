"""Stage 3: declared features, point in time to the event, from stored intermediate state."""
