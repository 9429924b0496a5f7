"""Training sets of simple, learnable events, and declarations that differ in the model only."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Windows
from mdlc_assets.training.windows import Protocol, protocol

AS_OF = date(2018, 6, 1)


def declared(lifecycle: LifecycleDeclaration, algorithm: str, refit: bool = True, **model: Any) -> LifecycleDeclaration:
    """The lifecycle with another model, and short windows."""
    given = lifecycle.model.model_dump()
    given |= {
        "algorithm": algorithm,
        "hyperparameters": {},
        "windows": Windows(train_days=4, gap_days=1, test_days=2),
        "refit": refit,
        **model,
    }
    return lifecycle.model_copy(update={"model": type(lifecycle.model).model_validate(given)})


def training_frame(lifecycle: LifecycleDeclaration, each_day: int = 60) -> tuple[pl.DataFrame, Protocol]:
    """A training set as of AS_OF, and its days. The first feature says most about the label."""
    plan = protocol(lifecycle, AS_OF)
    rng = np.random.default_rng(3)
    frames = []
    for number, day in enumerate(plan.whole.days()):
        part = "train" if day <= plan.train.last else "test" if day >= plan.test.first else "gap"
        values = rng.normal(size=(each_day, len(lifecycle.features.names())))
        label = values[:, 0] + rng.normal(size=each_day) > 0.5
        began = datetime.combine(day, time(1))
        frames.append(
            pl.DataFrame(
                {
                    lifecycle.dataset.id: pl.Series(range(number * 1000, number * 1000 + each_day), dtype=pl.Int64),
                    lifecycle.dataset.time: pl.Series(
                        [began + timedelta(minutes=i) for i in range(each_day)], dtype=pl.Datetime("us")
                    ).dt.replace_time_zone("UTC"),
                    lifecycle.model.entity: pl.Series(rng.integers(0, 9, each_day), dtype=pl.Int64),
                    **{name: values[:, i] for i, name in enumerate(lifecycle.features.names())},
                    lifecycle.labels.column: label.astype(np.int8),
                    "part": [part] * each_day,
                }
            )
        )
    return pl.concat(frames), plan
