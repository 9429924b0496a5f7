"""mdlc_assets: the model development life cycle as one Dagster asset graph."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdlc_assets.lifecycle import ModelLifecycle as ModelLifecycle

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Dagster takes 1.4 s to import; the command line's help should not pay for it.
    if name == "ModelLifecycle":
        from mdlc_assets.lifecycle import ModelLifecycle

        return ModelLifecycle
    raise AttributeError(f"module 'mdlc_assets' has no attribute {name!r}")


def __dir__() -> list[str]:
    # `dg` finds components by what a module says it has.
    return sorted({*globals(), "ModelLifecycle"})
