"""Stages 4 and 5: algorithms, training sets as of a day, evaluation, the registry and its champion."""
