"""All benchmarks: `make bench`, or `python -m benchmarks [folder of the handbook's daily files]`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import (
    batch_scoring,
    features,
    features_tenfold,
    history,
    incidents,
    monitoring,
    quality,
    serving,
    spark,
    training,
)

if __name__ == "__main__":
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments")
    for benchmark, given in (
        (features, source),
        (features_tenfold, source),
        (spark, source),
        (history, source),
        (quality, source),
        (monitoring, source),
        (incidents, source),
        (serving, 2_000),
        (batch_scoring, None),
        (training, None),
    ):
        print(f"\n## {benchmark.__name__}\n")
        benchmark.main(*([] if given is None else [given]))
