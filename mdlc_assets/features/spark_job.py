"""The program that a cluster runs: features of some days, read from the lake and written into it.

    python -m mdlc_assets.features.spark_job --declaration FILE --lake ROOT --first DAY --last DAY
    spark-submit spark_job.py ... (the same; on Glue and EMR Serverless mdlc-assets is in the job's environment)

FILE is a declaration as a team writes it, or as JSON; a path or an s3:// address. Started by Dagster (Pipes), it
reports the rows of each day; by hand, it prints them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import yaml
from dagster_pipes import PipesCliArgsParamsLoader, PipesEnvVarParamsLoader, open_dagster_pipes

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.spark import write_features
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.spark_cluster import SparkJob
from mdlc_assets.resources.spark_session import spark_session
from mdlc_assets.resources.storage import open_storage

_DECLARATIONS = "spark_declarations"


def features_job(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date]) -> SparkJob:
    """This program for consecutive days of a lifecycle. The declaration is laid beside the tables in the lake, since
    a cluster's arguments have little room; the same declaration always is the same file."""
    storage = open_storage(lake.root)
    name = f"{lifecycle.name}/{_DECLARATIONS}/{lifecycle.fingerprint()}.json"
    storage.write(name, lifecycle.model_dump_json(indent=1).encode())
    arguments = {
        "--declaration": storage.location(name),
        "--lake": lake.root,
        "--first": days[0].isoformat(),
        "--last": days[-1].isoformat(),
    }
    work = partial(write_features, lifecycle=lifecycle, root=lake.root, days=days)
    return SparkJob(str(Path(__file__)), arguments, tuple(days), work)


def main(arguments: Sequence[str]) -> Mapping[date, int]:
    """Does what the arguments say. What Glue and Pipes add to them is left alone."""
    parser = argparse.ArgumentParser(description="Features of some days on Spark.", allow_abbrev=False)
    for name in ("--declaration", "--lake"):
        parser.add_argument(name, required=True)
    for name in ("--first", "--last"):
        parser.add_argument(name, type=date.fromisoformat, required=True)
    given, _ = parser.parse_known_args(arguments)
    lifecycle = _declared(given.declaration)
    # Spark's own name for what is s3:// to everyone else.
    root = given.lake.replace("s3a://", "s3://", 1)
    with spark_session() as session:
        return write_features(session, lifecycle, root, lifecycle.days(given.first, given.last))


def _declared(address: str) -> LifecycleDeclaration:
    folder, _, name = address.replace("s3a://", "s3://", 1).rpartition("/")
    content = yaml.safe_load(open_storage(folder or ".").read(name))
    return LifecycleDeclaration.model_validate(content.get("attributes", content))


def run() -> None:
    """Main, with a report to Dagster where it started this."""
    on_command_line = PipesCliArgsParamsLoader()
    from_environment = PipesEnvVarParamsLoader()
    loader = on_command_line if on_command_line.is_dagster_pipes_process() else from_environment
    if not loader.is_dagster_pipes_process():
        sys.stdout.write(json.dumps({day.isoformat(): count for day, count in main(sys.argv[1:]).items()}) + "\n")
        return
    with open_dagster_pipes(params_loader=loader) as pipes:
        rows = main(sys.argv[1:])
        pipes.report_custom_message({"rows": {day.isoformat(): count for day, count in rows.items()}})


if __name__ == "__main__":
    run()
