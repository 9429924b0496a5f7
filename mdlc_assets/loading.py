"""What lets hundreds of lifecycles load in seconds: Dagster's own work, done once instead of for each of them."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import dagster as dg

# New objects before the youngest are looked through, and how many such rounds before older ones are.
_SELDOM = (50_000, 50, 100)
_Plain = Callable[..., Any]


@contextlib.contextmanager
def kept_for_good() -> Iterator[None]:
    """No looking for garbage while definitions are made, which live as long as the process, and more seldom after it.

    To look through them again and again while they grow takes a fifth of the time that hundreds of lifecycles need;
    a code server then makes thousands of jobs of them, which live as long.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(*_SELDOM)


@contextlib.contextmanager
def asked_once() -> Iterator[None]:
    """What Dagster finds out about a type, a function or a resource is kept while definitions are made.

    It asks anew for each asset, though a hundred lifecycles are made of the same few lines of code: a third of the
    time. Dagster's functions are as before afterwards, and one that a version of Dagster does not have is left out.
    """
    with contextlib.ExitStack() as changes:
        # Opened around all, or else Dagster opens and closes it around each.
        with contextlib.suppress(ImportError):
            changes.enter_context(importlib.import_module("dagster._utils.warnings").disable_dagster_warnings())
        for module, name, memory in _ASKED_AGAIN:
            with contextlib.suppress(ImportError, AttributeError):
                plain = getattr(importlib.import_module(f"dagster.{module}"), name)
                changes.enter_context(_instead(plain, name, memory(plain)))
        plain_binding = dg.AssetsDefinition.with_resources
        dg.AssetsDefinition.with_resources = _bound_alike(plain_binding)  # type: ignore[method-assign]
        try:
            yield
        finally:
            dg.AssetsDefinition.with_resources = plain_binding  # type: ignore[method-assign]


@contextlib.contextmanager
def _instead(plain: _Plain, name: str, known: _Plain) -> Iterator[None]:
    """Another function under `name` in each module that has this one under it."""
    spaces = [space for one in list(sys.modules.values()) if (space := getattr(one, "__dict__", {})).get(name) is plain]
    try:
        for space in spaces:
            space[name] = known
        yield
    finally:
        for space in spaces:
            space[name] = plain


def _by_signature(plain: _Plain) -> _Plain:
    """For a question about a function: functions that share a signature (`asset_style.read_once`) share the answer."""
    answers: dict[int, tuple[Any, Any]] = {}

    @functools.wraps(plain)
    def known(function: Any) -> Any:
        signature = getattr(function, "__signature__", None)
        if signature is None:
            return plain(function)
        if (found := answers.get(id(signature))) is None:
            # Kept with its signature, so that no other can come to have its id.
            found = answers[id(signature)] = signature, plain(function)
        return found[1]

    return known


_ASKED_AGAIN: tuple[tuple[str, str, Callable[[_Plain], _Plain]], ...] = (
    ("_core.types.dagster_type", "resolve_dagster_type", functools.cache),
    ("_core.decorator_utils", "get_function_params", _by_signature),
    ("_core.decorator_utils", "get_type_hints", _by_signature),
    ("_core.definitions.resource_annotation", "get_resource_args", _by_signature),
    ("_config.pythonic_config.resource", "validate_resource_annotated_function", _by_signature),
    ("_config.pythonic_config.conversion_utils", "infer_schema_from_config_annotation", functools.cache),
)


def _bound_alike(plain: _Plain) -> _Plain:
    """Binds assets to resources as the first that asked for the same ones was bound, without making them anew."""
    answers: dict[Any, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}

    @functools.wraps(plain)
    def with_resources(self: dg.AssetsDefinition, resource_defs: Mapping[str, Any]) -> dg.AssetsDefinition:
        if self.resource_defs or "_resource_defs" not in vars(self):
            return cast(dg.AssetsDefinition, plain(self, resource_defs))
        asked = frozenset((type(one), getattr(one, "key", None)) for one in self.get_resource_requirements())
        known = (id(resource_defs), asked)
        if known not in answers:
            first: dg.AssetsDefinition = plain(self, resource_defs)
            # Kept with what was given, so that nothing else can come to have its id.
            answers[known] = resource_defs, first.resource_defs
            return first
        bound = copy.copy(self)
        bound._resource_defs = answers[known][1]
        return bound

    return with_resources
