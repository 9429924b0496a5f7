"""Stage 1: finds data and lands it, day by day."""
