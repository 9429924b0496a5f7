"""What is wrong with declared monitors that only their language can see."""

from __future__ import annotations

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem


def monitoring_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Slices that do not parse, name what is no feature, or do not give true or false; an unmeasured metric."""
    features = lifecycle.features.names()
    empty = pl.DataFrame(schema=dict.fromkeys(features, pl.Float64))
    found = []
    for name, where in lifecycle.monitoring.closed_loop.slices.items():
        field, value = f"monitoring.closed_loop.slices.{name}", repr(where)
        try:
            given = empty.select(pl.sql_expr(where).alias("slice")).schema["slice"]
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            found.append(Problem(field, value, reason, f"write a condition over {', '.join(features)}"))
            continue
        if given != pl.Boolean:
            found.append(Problem(field, value, "it is neither true nor false", "write a comparison"))
    metric, metrics = lifecycle.monitoring.retrain.metric, lifecycle.monitoring.closed_loop.metrics
    if metric not in metrics:
        mend = f"add {metric} to monitoring.closed_loop.metrics, or use one of {', '.join(metrics)}"
        found.append(Problem("monitoring.retrain.metric", repr(metric), "it is not measured", mend))
    return found
