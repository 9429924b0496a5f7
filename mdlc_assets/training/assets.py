"""`training_set`, `candidate_model`, `evaluation` as of a day, and `champion`."""

from collections.abc import Iterator

import dagster as dg
import polars as pl
from pydantic import Field

from mdlc_assets import plots
from mdlc_assets.asset_style import (
    asset_key,
    daily_asset,
    days_before,
    days_in_run,
    end_of,
    frame_schema,
    plain_asset,
)
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.algorithms import algorithm_kind
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.registry import Candidate, Registry, UnknownVersionError, Version
from mdlc_assets.training.algorithms import FittedModel, TrainingDataError, load_model
from mdlc_assets.training.approval import GATE_TAG, ApprovalError, approve, approve_by_policy
from mdlc_assets.training.candidate import candidate_params, candidate_tags, fit_candidate, judge_candidate
from mdlc_assets.training.metrics import Scored
from mdlc_assets.training.sets import training_rows
from mdlc_assets.training.windows import TooEarlyError, protocol


class ChampionConfig(dg.Config):
    """Leave everything as it is to approve by policy; or name a version, who approves it, and why."""

    version: int = Field(default=0, description="The version to approve; 0 lets the policy choose.")
    approver: str = Field(default="", description="Who approves: name@company.com")
    reason: str = Field(default="", description="Why, for whoever reads it in a year.")
    override: bool = Field(default=False, description="Approve although the gate refused it.")


def training_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stages 4 and 5 of a lifecycle."""
    name = lifecycle.name
    delay = lifecycle.labels.delay_days
    span = lifecycle.model.windows.span_days
    look_back = days_before(delay + span - 1, delay)

    @dg.asset(
        **daily_asset(lifecycle, "training", "training_set"),
        deps=[
            dg.AssetDep(asset_key(lifecycle, "features"), partition_mapping=look_back),
            dg.AssetDep(asset_key(lifecycle, "labels"), partition_mapping=look_back),
        ],
        description="What a model as of the day may learn from and be judged on: features, with the labels that "
        "were known by the end of that day.",
    )
    def training_set(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        rows = pl.DataFrame()
        for day in days_in_run(context):
            try:
                plan = protocol(lifecycle, day)
                needed = plan.whole.days()
                features, labels = (lake.table(name, table).read(needed) for table in ("features", "labels"))
            except (TooEarlyError, DayAbsentError) as error:
                raise dg.Failure(description=str(error), allow_retries=False) from None
            rows = training_rows(lifecycle, features, labels, plan, end_of(day))
            lake.table(name, "training_set").write_day(day, rows)
            shares = rows.group_by("part", maintain_order=True).agg(pl.len(), pl.col(lifecycle.labels.column).mean())
            said = {part: f"{count} rows, {share:.2%} positive" for part, count, share in shares.iter_rows()}
            context.add_asset_metadata(
                {"dagster/partition_row_count": rows.height, "days": str(plan.whole), **said},
                partition_key=day.isoformat(),
            )
        return dg.MaterializeResult(metadata={"dagster/column_schema": frame_schema(rows)})

    @dg.asset(
        **daily_asset(
            lifecycle, "model", "candidate_model", kinds={"mlflow", algorithm_kind(lifecycle.model.algorithm)}
        ),
        deps=[asset_key(lifecycle, "training_set")],
        description=f"A {lifecycle.model.algorithm} model as of the day, registered in MLflow. Training again on "
        "the same data gives the same model and no new version.",
    )
    def candidate_model(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> None:
        for day in days_in_run(context):
            plan = protocol(lifecycle, day)
            rows = lake.table(name, "training_set").read_day(day)
            try:
                fitted = fit_candidate(lifecycle, rows, plan)
            except TrainingDataError as error:
                raise dg.Failure(description=f"as of {day}: {error}", allow_retries=False) from None
            digests = {table: lake.table(name, table).digest(plan.whole.days()) for table in ("features", "labels")}
            tags = candidate_tags(lifecycle, plan, digests)
            version = registry.register(
                name,
                Candidate(
                    day.isoformat(),
                    fitted.digest(),
                    fitted.files(),
                    lifecycle.features.names(),
                    candidate_params(lifecycle),
                    {**tags, "mdlc.dagster_run": context.run_id},
                ),
            )
            challenger = registry.by_alias(name, "challenger")
            if challenger is None or challenger.as_of <= version.as_of:
                registry.point(name, "challenger", version)
            about = {"model": name, "version": version.version, "run_id": version.run_id, "digest": version.digest}
            lake.documents(name, "candidate_model").write_document(day, {**about, **tags})
            context.add_asset_metadata({**about, **tags}, partition_key=day.isoformat())

    @dg.asset(
        **daily_asset(lifecycle, "training", "evaluation", kinds={"json", "mlflow"}),
        deps=[asset_key(lifecycle, "candidate_model"), asset_key(lifecycle, "training_set")],
        description="How the candidate does on test days it has not learnt from, beside the champion on the same "
        "events, with intervals; and what the gate says.",
    )
    def evaluation(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> None:
        champion = registry.champion(name)
        beside = None if champion is None else (champion.version, _load(registry, champion))
        for day in days_in_run(context):
            number = lake.documents(name, "candidate_model").read_document(day)["version"]
            version = registry.version(name, number)
            judged = load_model(registry.files(version, "judged"))
            rows = lake.table(name, "training_set").read_day(day)
            # A champion is not compared with itself.
            other = beside if beside and beside[0] != number else None
            found = judge_candidate(lifecycle, rows, protocol(lifecycle, day), number, judged, other)
            document = found.document
            lake.documents(name, "evaluation").write_document(day, document)
            metrics = {key: value for key, value in document["metrics"].items() if value is not None}
            registry.log_metrics(version, metrics)
            verdict = "passed" if document["passed"] else "refused: " + "; ".join(document["reasons"])
            if version.tags.get(GATE_TAG) != "rejected":
                registry.tag(name, version, {GATE_TAG: verdict})
            context.add_asset_metadata(
                {
                    "version": number,
                    **metrics,
                    "verdict": "\n".join(document["reasons"]),
                    "plot": dg.MetadataValue.md(_curve(found.test)),
                },
                partition_key=day.isoformat(),
            )

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "gate",
                asset=asset_key(lifecycle, "evaluation"),
                blocking=True,
                description="The declared floors, and no worse than the champion. What fails is not approved.",
            )
        ],
        name=f"{name}_gate",
    )
    def gate(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        refused = []
        for day in days_in_run(context):
            document = lake.documents(name, "evaluation").read_document(day)
            text = f"version {document['version']}: " + "; ".join(document["reasons"])
            yield dg.AssetCheckEvaluation(
                asset_key=asset_key(lifecycle, "evaluation"),
                check_name="gate",
                passed=document["passed"],
                description=text,
                metadata={"reasons": text},
                partition=day.isoformat(),
            )
            refused += [] if document["passed"] else [f"{day}: {text}"]
        yield dg.AssetCheckResult(
            asset_key=asset_key(lifecycle, "evaluation"),
            check_name="gate",
            passed=not refused,
            description="\n".join(refused) or "passed",
        )

    @dg.asset(
        **plain_asset(lifecycle, "training", "champion", kinds={"mlflow"}),
        deps=[dg.AssetDep(asset_key(lifecycle, "evaluation"), partition_mapping=dg.LastPartitionMapping())],
        description="The version that serves. Materialising it approves: by policy the newest candidate that "
        "passed its gate, or the version that the launchpad's configuration names. Every approval is on record.",
    )
    def champion(config: ChampionConfig, registry: Registry) -> dg.MaterializeResult:
        try:
            if config.version:
                version = approve(
                    registry,
                    lifecycle,
                    config.version,
                    config.approver,
                    config.reason,
                    override=config.override,
                )
            elif lifecycle.model.gate.approval == "policy":
                version = approve_by_policy(registry, lifecycle)
            else:
                raise ApprovalError(
                    "a person approves this model. Mend: `mdlc approve <version> --reason ...`, or give version, "
                    "approver and reason in the launchpad."
                )
        except (ApprovalError, UnknownVersionError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        trail = [entry for entry in registry.audit(name) if entry["version"] == version.version]
        return dg.MaterializeResult(
            metadata={
                "version": version.version,
                "as of": version.as_of,
                "approved by": trail[-1]["who"] if trail else "",
                "reason": trail[-1]["reason"] if trail else "",
            }
        )

    return dg.Definitions(assets=[training_set, candidate_model, evaluation, champion], asset_checks=[gate])


def _load(registry: Registry, version: Version) -> FittedModel:
    return load_model(registry.files(version))


def _curve(test: Scored) -> str:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(test.label, test.score)
    figure, axes = plots.new_figure(5, 3)
    axes.step(recall, precision, where="post", color=plots.BLUE)
    axes.axhline(test.label.mean(), color=plots.GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Precision and recall on the test days; dashed: by chance", fontsize=9, loc="left")
    return plots.as_markdown(figure)
