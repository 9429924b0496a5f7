"""Stage 2: completeness, consistency, accuracy; bad rows go to quarantine, bad days stop."""
