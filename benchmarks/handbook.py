"""The declaration that is above every row of the Fraud Detection Handbook's table, beside the published rows.

    python -m benchmarks.handbook ../shared/payments

Prints the tables of docs/handbook.md: the handbook's week, six weeks that nothing was chosen on, and what each part
is worth on the weeks that were searched on. A quarter of an hour and more.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
import numpy as np

from mdlc_assets.definitions import embedded_resources
from mdlc_assets.demo.handbook import (
    BACKTEST,
    BARS,
    FILE,
    SEARCHED,
    Proof,
    ablations,
    judge_variant,
    prove,
)
from mdlc_assets.demo.table import AS_OF, METRICS, ROWS, bring_in
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle


def main(source: Path) -> None:
    lifecycle = load_lifecycle(FILE)
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        home = Home(folder)
        began = time.perf_counter()
        bring_in(lifecycle, source, home, instance, max(AS_OF, *BACKTEST))
        _say(f"raw files to features: {time.perf_counter() - began:.0f} s\n")

        _head("train 2018-07-25 to 07-31, test 2018-08-08 to 08-14")
        for row in ROWS:
            _say(f"| {row.name}, published | {' | '.join(f'{value:.3f}' for value in row.published)} |")
        _say(f"| bars | {' | '.join(f'{BARS[metric]:.3f}' for metric in METRICS)} |")
        (proof,) = prove(lifecycle, home, instance, [AS_OF])
        _row("as declared: the handbook's training week", proof)

        _head("six as-of days that nothing was chosen on")
        proofs = prove(lifecycle, home, instance, BACKTEST)
        for day, found in zip(BACKTEST, proofs, strict=True):
            _row(f"{day}: test {found.document['test']}", found)
        _mean("mean", [found.metrics for found in proofs])

        _head("what each part is worth: means of the weeks searched on, then the handbook's week")
        lake = embedded_resources(home)["lake"]
        for name, variant in ablations(lifecycle.declaration).items():
            _mean(name, [judge_variant(variant, lake, day) for day in SEARCHED])
            _mean(f"{name}, {AS_OF}", [judge_variant(variant, lake, AS_OF)])


def _head(title: str) -> None:
    _say(f"\n{title}\n\n| | {' | '.join(METRICS)} |\n|---|---|---|---|")


def _row(name: str, found: Proof) -> None:
    cells = []
    for metric in METRICS:
        low, high = found.intervals[metric]
        cells.append(f"{found.metrics[metric]:.3f} ({low:.3f} to {high:.3f})")
    _say(f"| {name} | {' | '.join(cells)} |")


def _mean(name: str, found: Sequence[Mapping[str, float | None]]) -> None:
    _say(f"| {name} | {' | '.join(f'{np.mean([one[metric] or 0.0 for one in found]):.3f}' for metric in METRICS)} |")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
