"""Stage 6: `batch_predictions` for whole days, and the `endpoint` with the champion behind it."""

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, frame_schema, plain_asset, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.algorithms import algorithm_kind
from mdlc_assets.declaration.deployment import RealTime
from mdlc_assets.deployment.approved import UnapprovedError, approved_champion, endpoint_plan, put_on_record
from mdlc_assets.deployment.asking import address_of, endpoint_scores, probe
from mdlc_assets.deployment.batch_jobs import score_days_there
from mdlc_assets.deployment.packages import as_table, bring_up
from mdlc_assets.deployment.predictions import (
    plot_numbers,
    plot_scores,
    prediction_problems,
    score_counts,
    score_days,
    score_quantiles,
)
from mdlc_assets.deployment.score_drift import drift_watch
from mdlc_assets.deployment.scoring import in_one_thread
from mdlc_assets.features.verdict import incomplete, not_finite
from mdlc_assets.resources.endpoints import EndpointError, Endpoints
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.registry import Registry, UnknownVersionError, Version
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.resources.sagemaker.jobs import Pace
from mdlc_assets.resources.sagemaker.multi_model import MultiModelPlan, roll_out_model
from mdlc_assets.resources.sagemaker.rollout import PeriodError, Rollout
from mdlc_assets.training.algorithms import FeatureError, ModelFileError, load_model
from mdlc_assets.training.foreign import ForeignModel, load_any_model

_PROBES = 20
_TOLERANCE = 1e-12


def deployment_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The assets and checks of stage 6 of a lifecycle."""
    assets, checks = [_batch_predictions(lifecycle)], [_scores_check(lifecycle)]
    if lifecycle.deployment.real_time is not None:
        assets.append(_endpoint(lifecycle, lifecycle.deployment.real_time))
        checks.append(_answers_check(lifecycle))
    if lifecycle.deployment.package_group:
        assets.append(_model_packages(lifecycle, lifecycle.deployment.package_group))
    return dg.Definitions(assets=assets, asset_checks=checks)


def _batch_predictions(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    name, dataset = lifecycle.name, lifecycle.dataset
    kept = list(dict.fromkeys([dataset.id, dataset.time, lifecycle.model.entity]))

    @dg.asset(
        **daily_asset(lifecycle, "deployment", "batch_predictions"),
        deps=[asset_key(lifecycle, "features"), asset_key(lifecycle, "champion")],
        description="The champion's score for each event of the day, from 0 (harmless) to 1, and the version of "
        "the model that gave it. A version that nobody approved never scores.",
    )
    @read_once
    def batch_predictions(
        context: dg.AssetExecutionContext, lake: Lake, registry: Registry, sagemaker: SageMaker
    ) -> dg.MaterializeResult:
        version = _champion(registry, lifecycle)
        read, table = _features_of(lifecycle, lake), lake.table(name, "batch_predictions")
        counts: Any = 0
        rows = 0
        scored = None
        try:
            days, files = days_in_run(context), registry.files(version)
            model, write = load_any_model(files), table.write_day
            # A foreign model is read by its own image only.
            if lifecycle.deployment.batch.score_on == "sagemaker" or isinstance(model, ForeignModel):
                tell = context.log.info
                made = score_days_there(sagemaker, lifecycle, version, model, files, days, read, write, kept, tell)
            else:
                made = score_days(days, read, write, in_one_thread(model), version.version, kept)
            for day, scored in made:
                counts = counts + score_counts(scored["score"])
                rows += scored.height
                context.add_asset_metadata(
                    {
                        "dagster/partition_row_count": scored.height,
                        "model_version": version.version,
                        **score_quantiles(scored["score"]),
                    },
                    partition_key=day.isoformat(),
                )
        except (DayAbsentError, ModelFileError, FeatureError, ServiceError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        assert scored is not None
        title = f"{rows:,} scores of version {version.version}"
        if lifecycle.labels.kind == "number":
            figure = plot_numbers(scored["score"], f"{days[-1]}, version {version.version}")
            meaning = f"What is foretold: {lifecycle.labels.positive}."
        else:
            figure, meaning = plot_scores(counts, title), "From 0 to 1."
        return dg.MaterializeResult(
            metadata={
                "dagster/column_schema": frame_schema(
                    scored,
                    {"score": meaning, "model_version": "The registered version that gave the score."},
                ),
                "dagster/table_name": f"{name}.batch_predictions",
                "dagster/row_count": rows,
                "model_version": version.version,
                "scores": dg.MetadataValue.md(plots.as_markdown(figure)),
            }
        )

    return batch_predictions


def _features_of(lifecycle: LifecycleDeclaration, lake: Lake) -> Callable[[date], pl.DataFrame]:
    """How a day's features are read. Another lifecycle's are judged once more: the checks that would stop this run ran
    in one of the other's, and what they refused lies in the lake."""
    features, validated = (lake.table(*lifecycle.place(table)) for table in ("features", "validated"))
    if not lifecycle.uses:
        return features.read_day

    def read(day: date) -> pl.DataFrame:
        frame = features.read_day(day)
        events = validated.read_day(day, [lifecycle.dataset.id]).height
        if wrong := incomplete(frame, events) or not_finite(frame, lifecycle.features.names()):
            raise FeatureError(f"the features of {lifecycle.uses} on {day}: {wrong}")
        return frame

    return read


def _scores_check(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    key = asset_key(lifecycle, "batch_predictions")
    id_column = lifecycle.dataset.id

    @dg.multi_asset_check(
        name=f"{lifecycle.name}_batch_predictions_checks",
        specs=[
            dg.AssetCheckSpec(
                "scores",
                asset=key,
                blocking=True,
                description="Each row of features has one score from 0 to 1, all of one model version.",
            )
        ],
    )
    @read_once
    def scores(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        wrong: list[str] = []
        for day in days_in_run(context):
            predictions = lake.table(lifecycle.name, "batch_predictions").read_day(day)
            features = lake.table(*lifecycle.place("features")).read_day(day, [id_column])
            found = prediction_problems(predictions, features, id_column, number=lifecycle.labels.kind == "number")
            wrong += [f"{day}: {problem}" for problem in found]
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="scores",
                passed=not found,
                description="; ".join(found) or "each row has its score",
                metadata={"rows": predictions.height},
                partition=day.isoformat(),
            )
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="scores",
            passed=not wrong,
            description="\n".join(wrong) or "each row has its score",
        )

    return scores


def _endpoint(lifecycle: LifecycleDeclaration, declared: RealTime) -> dg.AssetsDefinition:
    key = asset_key(lifecycle, "endpoint")

    @dg.asset(
        **plain_asset(lifecycle, "deployment", "endpoint", kinds={"http", algorithm_kind(lifecycle.model.algorithm)}),
        deps=[asset_key(lifecycle, "champion")],
        check_specs=[
            dg.AssetCheckSpec(
                "rollout",
                asset=key,
                description="The champion got through its rollout: healthy, and no alarm took it back.",
            )
        ],
        description="A server with the champion behind it, which goes on after the run: GET /ping, POST "
        "/invocations, GET /metrics. A changeover loses no request; a version that does not prove itself, or sets "
        "off an alarm while it bakes, leaves the one before it in service.",
    )
    @read_once
    def endpoint(
        context: dg.AssetExecutionContext,
        lake: Lake,
        registry: Registry,
        endpoints: Endpoints,
        sagemaker: SageMaker,
    ) -> dg.MaterializeResult:
        pace = Pace(longest_seconds=1.0 if sagemaker.form == "local" else 10.0)
        try:
            champion = approved_champion(registry, lifecycle.name)
            plan = endpoint_plan(registry, sagemaker, lifecycle.name, declared, champion)
            rollout = Rollout(sagemaker, pace, context.log.info)
            if isinstance(plan, MultiModelPlan):
                ask = partial(probe, sagemaker, plan.endpoint, load_model(registry.files(champion)).features)
                outcome = roll_out_model(sagemaker, plan, rollout, ask)
            else:
                watched = drift_watch(lifecycle, lake, registry, sagemaker, champion, context.log.info)
                outcome = rollout.run(plan, watched)
        except (UnapprovedError, EndpointError, ServiceError, PeriodError, ModelFileError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        put_on_record(registry, lifecycle.name, champion, outcome)
        address = address_of(sagemaker, lifecycle)
        serving = address.version
        metadata: dict[str, Any] = {
            "version": serving or "none",
            "verdict": outcome.verdict,
            "why": outcome.why,
            "configuration": outcome.config or "none",
            "previous_configuration": outcome.before or "none",
        }
        if address.target:
            metadata |= {"endpoint": address.endpoint, "target_model": address.target}
        if sagemaker.form == "local":
            status = endpoints.status(address.endpoint.replace("-", "_"))
            metadata["url"] = dg.MetadataValue.url(status.url or "")
            metadata["previous_version"] = "none" if status.previous is None else status.previous
        if outcome.verdict == "refused":
            kept = f"Version {serving} still serves" if serving else "Nothing serves"
            raise dg.Failure(
                description=f"{outcome.why}. {kept}. Mend: approve a version that loads and scores.",
                metadata=metadata,
                allow_retries=False,
            )
        passed = outcome.verdict != "rolled back"
        verdict = dg.AssetCheckResult(check_name="rollout", passed=passed, description=outcome.why, metadata=metadata)
        return dg.MaterializeResult(metadata=metadata, check_results=[verdict])

    return endpoint


def _model_packages(lifecycle: LifecycleDeclaration, group: str) -> dg.AssetsDefinition:
    @dg.asset(
        **plain_asset(lifecycle, "deployment", "model_packages", kinds={"sagemaker"}),
        deps=[asset_key(lifecycle, "champion")],
        description=f"SageMaker's model package group {group}: each version of the registry as a package, approved or "
        "rejected as the audit trail says. What is changed there is not taken over; what is missing is made again.",
    )
    @read_once
    def model_packages(registry: Registry, sagemaker: SageMaker) -> dg.MaterializeResult:
        try:
            found = bring_up(sagemaker, registry, lifecycle.name, group)
        except (ServiceError, ModelFileError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        approved = [version for version, status, _ in found if status == "Approved"]
        return dg.MaterializeResult(
            metadata={"packages": dg.MetadataValue.md(as_table(found)), "approved": approved, "group": group}
        )

    return model_packages


def _answers_check(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(lifecycle, "endpoint"),
        name="endpoint_answers",
        description="Rows of the newest day of features get from the endpoint the scores that batch gives them.",
    )
    @read_once
    def endpoint_answers(lake: Lake, registry: Registry, sagemaker: SageMaker) -> dg.AssetCheckResult:
        address = address_of(sagemaker, lifecycle)
        version = address.version
        if version is None:
            return dg.AssetCheckResult(passed=False, description="the endpoint is stopped, or was never deployed")
        table = lake.table(*lifecycle.place("features"))
        days = table.days()
        if not days:
            return dg.AssetCheckResult(passed=False, description="there are no features to ask about yet")
        try:
            model = load_any_model(registry.files(registry.version(lifecycle.name, version)))
        except (UnknownVersionError, ModelFileError) as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        rows = table.read_day(days[-1], model.features).head(_PROBES)
        if rows.is_empty():
            return dg.AssetCheckResult(passed=False, description=f"{days[-1]} has no features to ask about")
        try:
            scores, said = endpoint_scores(sagemaker, address, model, rows)
        except ServiceError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        if isinstance(model, ForeignModel):
            # Only its image can score it: what batch has found of the day is what there is to compare with.
            batch = lake.table(lifecycle.name, "batch_predictions")
            known = batch.read_day(days[-1]).head(_PROBES) if days[-1] in batch.days() else None
            if known is None or set(known["model_version"]) != {version}:
                text = f"{rows.height} rows of {days[-1]} got a score each; batch has not scored them by this version"
                return dg.AssetCheckResult(passed=True, description=text, metadata={"version": version})
            expected = known["score"].to_numpy()
        else:
            expected = model.score(rows)
        worst = float(np.abs(expected - scores).max())
        return dg.AssetCheckResult(
            passed=worst <= _TOLERANCE and said == version,
            description=f"{rows.height} rows of {days[-1]} differ from batch by {worst:.1e} at most",
            metadata={"largest_difference": worst, "version": said},
        )

    return endpoint_answers


def _champion(registry: Registry, lifecycle: LifecycleDeclaration) -> Version:
    try:
        return approved_champion(registry, lifecycle.name)
    except UnapprovedError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
