"""For those who run an installation: is it whole, and how is it mended."""
