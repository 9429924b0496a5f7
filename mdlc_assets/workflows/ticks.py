"""Sensors that make their resources once in a process, instead of at every tick.

For a sensor with resources Dagster opens its own instance at each tick, whose SQLite reads the history of its schema,
and then sets the resources up: a tenth of a second for a look at an empty folder, minutes for hundreds of models.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

_making = threading.Lock()
_kept: WeakKeyDictionary[dg.RepositoryDefinition, dict[str, Any]] = WeakKeyDictionary()


def lasting_sensor(**options: Any) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """As `dg.sensor`, for a function that takes the context and resources by their names.

    Only for resources that hold no connection of their own: they are set up without a run and never taken down.
    """

    def made(function: Callable[..., Any]) -> dg.SensorDefinition:
        names = list(inspect.signature(function).parameters)[1:]

        # Resources that Dagster knows of are set up by it at each tick, asked for or not.
        @dg.sensor(**options)
        def tick(context: dg.SensorEvaluationContext):  # type: ignore[no-untyped-def]
            return function(context, **resources_of(context, names))

        return tick

    return made


def resources_of(context: dg.SensorEvaluationContext, names: Collection[str]) -> Mapping[str, Any]:
    """The resources of a tick: those that the process has made already, or what a test hands over."""
    repository = context.repository_def
    # Only a code server's tick knows its instance by reference alone.
    if repository is None or context.instance_ref is None:
        return {name: getattr(context.resources, name) for name in names}
    with _making:
        kept = _kept.setdefault(repository, {})
        missing = [name for name in names if name not in kept]
        if missing:
            bound = repository.get_top_level_resources()
            if absent := sorted(set(missing) - set(bound)):
                raise dg.DagsterInvalidDefinitionError(
                    f"{context.sensor_name}: the code location binds no resource {', '.join(absent)}. Mend: bind what "
                    "mdlc_assets.definitions.embedded_resources gives."
                )
            with dg.build_resources({name: bound[name] for name in missing}) as made:
                kept.update({name: getattr(made, name) for name in missing})
        return {name: kept[name] for name in names}
