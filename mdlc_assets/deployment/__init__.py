"""Stage 6: batch predictions, and the endpoint with its safe changeover."""
