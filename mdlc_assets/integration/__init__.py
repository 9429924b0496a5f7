"""Stage 8: rules turn a score into a decision, a decision into an action."""
