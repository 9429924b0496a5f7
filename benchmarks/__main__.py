"""All benchmarks: `make bench`, or `python -m benchmarks [folder of the handbook's daily files]`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import features, history

if __name__ == "__main__":
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments")
    for benchmark in (features, history):
        print(f"\n{benchmark.__name__}\n| measure | figure | |\n|---|---|---|")
        benchmark.main(source)
