"""Stage 7: open loop, closed loop, the policy that asks for retraining, the daily report."""
