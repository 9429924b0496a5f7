"""MLflow's client on the registry's database."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mdlc_assets.home import alone

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OLDER = "out-of-date database schema"


class RegistrySchemaError(RuntimeError):
    """The registry's database is of another version of MLflow."""


def open_client(uri: str) -> MlflowClient:
    """A client of the database, which is made where there is none. Raises `RegistrySchemaError`."""
    # MLflow draws a bar for each small file, and tells of each table it makes.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    file = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    try:
        with alone(file) if file else nullcontext():
            return MlflowClient(uri, uri)
    except MlflowException as error:
        if _OLDER not in str(error):
            raise
        found = str(error).partition("(")[2].partition(")")[0]
        raise RegistrySchemaError(
            f"{uri}: another version of MLflow wrote this database ({found}). Mend: stop what uses it, keep a copy of "
            f"the file, then run `mlflow db upgrade {uri}`."
        ) from None
