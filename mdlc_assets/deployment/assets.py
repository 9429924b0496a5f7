"""`batch_predictions`, and the `endpoint` with the champion behind it."""

from collections.abc import Iterator

import dagster as dg
import httpx
import polars as pl

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, frame_schema, plain_asset
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.batch import faults, predictions
from mdlc_assets.resources.endpoints import DeploymentError, Endpoints
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.registry import Registry, Version
from mdlc_assets.training.algorithms import ModelFileError, load_model

_PROBES = 20
_TOLERANCE = 1e-12


def deployment_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 6 of a lifecycle."""
    name = lifecycle.name
    scored_key = asset_key(lifecycle, "batch_predictions")

    @dg.asset(
        **daily_asset(lifecycle, "deployment", "batch_predictions"),
        deps=[asset_key(lifecycle, "features"), asset_key(lifecycle, "champion")],
        description="The champion's score for each event of the day, from 0 to 1, with the version that gave it.",
    )
    def batch_predictions(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> dg.MaterializeResult:
        version = _champion(registry, lifecycle)
        model = load_model(registry.files(version))
        rows = pl.DataFrame()
        total = 0
        for day in days_in_run(context):
            try:
                features = lake.table(name, "features").read_day(day)
            except DayAbsentError as error:
                raise dg.Failure(description=str(error), allow_retries=False) from None
            rows = predictions(lifecycle, features, model, version.version)
            lake.table(name, "batch_predictions").write_day(day, rows)
            total += rows.height
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": rows.height,
                    "model version": version.version,
                    "mean score": rows["score"].sum() / max(1, rows.height),
                },
                partition_key=day.isoformat(),
            )
        return dg.MaterializeResult(
            metadata={
                "dagster/column_schema": frame_schema(rows),
                "dagster/table_name": f"{name}.batch_predictions",
                "dagster/row_count": total,
                "model version": version.version,
                "scores": dg.MetadataValue.md(_histogram(rows["score"])),
            }
        )

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "scores", asset=scored_key, blocking=True, description="A score from 0 to 1 for each row of features."
            )
        ],
        name=f"{name}_batch_predictions_checks",
    )
    def scores(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        wrong = []
        for day in days_in_run(context):
            rows = lake.table(name, "batch_predictions").read_day(day)
            events = lake.table(name, "features").read_day(day, [lifecycle.dataset.id]).height
            text = faults(rows, events)
            yield dg.AssetCheckEvaluation(
                asset_key=scored_key,
                check_name="scores",
                passed=not text,
                description=text or "all is well",
                metadata={},
                partition=day.isoformat(),
            )
            wrong += [f"{day}: {text}"] if text else []
        yield dg.AssetCheckResult(
            asset_key=scored_key, check_name="scores", passed=not wrong, description="\n".join(wrong) or "all is well"
        )

    if lifecycle.deployment.real_time is None:
        return dg.Definitions(assets=[batch_predictions], asset_checks=[scores])
    return dg.Definitions(
        assets=[batch_predictions, _endpoint(lifecycle)], asset_checks=[scores, _endpoint_check(lifecycle)]
    )


def _endpoint(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    declared = lifecycle.deployment.real_time
    assert declared is not None

    @dg.asset(
        **plain_asset(lifecycle, "deployment", "endpoint", kinds={"http", lifecycle.model.algorithm}),
        deps=[asset_key(lifecycle, "champion")],
        description="A server process with the champion: GET /ping, POST /invocations. A changeover loses no "
        "request; a version that does not come up leaves the one before in service.",
    )
    def endpoint(registry: Registry, endpoints: Endpoints) -> dg.MaterializeResult:
        version = _champion(registry, lifecycle)
        before = endpoints.status(lifecycle.name)
        serving = before
        if before is None or before.version != version.version:
            files = registry.files(version)
            try:
                load_model(files)
                serving = endpoints.deploy(
                    lifecycle.name,
                    version.version,
                    files,
                    port=declared.port,
                    workers=declared.workers,
                    health_seconds=declared.health_seconds,
                )
            except (DeploymentError, ModelFileError) as error:
                raise dg.Failure(description=str(error), allow_retries=False) from None
        assert serving is not None
        return dg.MaterializeResult(
            metadata={
                "version": serving.version,
                "version before": before.version if before else "none",
                "url": dg.MetadataValue.url(serving.url),
            }
        )

    return endpoint


def _endpoint_check(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(lifecycle, "endpoint"),
        name="answers_as_in_batch",
        description="Rows of the newest day of features get the very scores that the model gives in batch.",
    )
    def answers(lake: Lake, registry: Registry, endpoints: Endpoints) -> dg.AssetCheckResult:
        serving = endpoints.status(lifecycle.name)
        days = lake.table(lifecycle.name, "features").days()
        if serving is None or not days:
            return dg.AssetCheckResult(passed=False, description="the endpoint does not run, or no features exist")
        model = load_model(registry.files(registry.version(lifecycle.name, serving.version)))
        rows = lake.table(lifecycle.name, "features").read_day(days[-1], model.features).head(_PROBES)
        answer = httpx.post(f"{serving.url}/invocations", json={"instances": rows.to_dicts()}, timeout=10)
        if answer.status_code != 200:
            return dg.AssetCheckResult(passed=False, description=f"the endpoint answered {answer.status_code}")
        worst = float(abs(model.score(rows) - answer.json()["predictions"]).max())
        return dg.AssetCheckResult(
            passed=worst <= _TOLERANCE,
            description=f"{rows.height} rows differ by {worst:.1e} at most",
            metadata={"largest difference": worst},
        )

    return answers


def _champion(registry: Registry, lifecycle: LifecycleDeclaration) -> Version:
    champion = registry.champion(lifecycle.name)
    if champion is None:
        raise dg.Failure(
            description=f"{lifecycle.name} has no champion, and nothing serves that was not approved. Mend: run "
            f"{lifecycle.name}_train for a day, then `mdlc approve <version> --reason ...`.",
            allow_retries=False,
        )
    return champion


def _histogram(score: pl.Series) -> str:
    figure, axes = plots.new_figure(5, 2.4)
    axes.hist(score.to_numpy(), bins=50, range=(0, 1), color=plots.BLUE, log=True)
    axes.set(xlabel="score", ylabel="events (log)", xlim=(0, 1))
    return plots.as_markdown(figure)
