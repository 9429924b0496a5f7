"""Commands of `mdlc` that have files of their own; heavy imports stay inside them."""
