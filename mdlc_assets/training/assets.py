"""`training_set`, `candidate_model`, `evaluation` as of a day, and `champion`."""

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
    on_labels,
    plain_asset,
    read_once,
)
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.algorithms import algorithm_kind
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.registry import Candidate, Registry, UnknownVersionError, Version
from mdlc_assets.resources.reports import Reports
from mdlc_assets.resources.sagemaker.built_in_images import NoImageError
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.training import figures
from mdlc_assets.training.algorithms import ModelFileError, TrainingDataError
from mdlc_assets.training.approval import (
    COMPARED_TAG,
    GATE_TAG,
    ApprovalError,
    approve,
    approve_by_policy,
    newest_candidate,
)
from mdlc_assets.training.backtest import as_markdown, backtest_frame, backtest_page, backtest_table, summary_lines
from mdlc_assets.training.candidate import (
    Rival,
    candidate_papers,
    candidate_params,
    candidate_tags,
    fair_folder,
    fit_candidate,
    judge_candidate,
    model_features,
)
from mdlc_assets.training.checks import gate_check
from mdlc_assets.training.estimators import RecipeError
from mdlc_assets.training.foreign import Scorer, load_any_model
from mdlc_assets.training.model_card import card_files, evaluation_figures, model_card
from mdlc_assets.training.on_sagemaker import fit_candidate_there, scorer_there
from mdlc_assets.training.sets import said_of_rows, training_rows
from mdlc_assets.training.windows import Protocol, TooEarlyError, protocol

_READ_AS = {"mdlc.train": "judged model learnt from", "mdlc.test": "judged on", "mdlc.refit": "model learnt from"}
# MLflow keeps 8,000 characters of a tag; nobody reads so many.
_LONGEST_TAG = 2_000


class BacktestConfig(dg.Config):
    """Which as-of days to show; all that were evaluated when left empty."""

    first: str = Field(default="", description="The first as-of day, as 2018-06-01.")
    last: str = Field(default="", description="The last as-of day.")


class ChampionConfig(dg.Config):
    """Leave everything as it is to approve by policy; or say who approves, why, and which version."""

    version: int = Field(default=0, description="The version to approve; 0 is the newest candidate.")
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
            *on_labels(lifecycle, look_back),
        ],
        description="What a model as of the day may learn from and be judged on: features, with the labels that "
        "were known by the end of that day.",
    )
    @read_once
    def training_set(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        rows = pl.DataFrame()
        for day in days_in_run(context):
            try:
                plan = protocol(lifecycle, day)
                needed = plan.whole.days()
                features = lake.table(*lifecycle.place("features")).read(needed)
                labels = lake.table(*lifecycle.place("labels")).read(needed) if lifecycle.labels.column else None
            except (TooEarlyError, DayAbsentError) as error:
                raise dg.Failure(description=str(error), allow_retries=False) from None
            rows = training_rows(lifecycle, features, labels, plan, end_of(day))
            lake.table(name, "training_set").write_day(day, rows)
            said = said_of_rows(lifecycle, rows)
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
        description=f"The model as of the day, by {lifecycle.model.algorithm}, registered in MLflow. Training again on "
        "the same data gives the same model and no new version.",
    )
    @read_once
    def candidate_model(
        context: dg.AssetExecutionContext, lake: Lake, registry: Registry, sagemaker: SageMaker, reports: Reports
    ) -> None:
        for day in days_in_run(context):
            plan = protocol(lifecycle, day)
            rows = lake.table(name, "training_set").read_day(day)
            where: dict[str, str] = {}
            try:
                if lifecycle.model.train_on == "sagemaker":
                    there = fit_candidate_there(sagemaker, lifecycle, rows, plan, day, context.run_id)
                    fitted, where = there.fitted, {"mdlc.sagemaker_jobs": ", ".join(there.jobs)}
                else:
                    fitted = fit_candidate(lifecycle, rows, plan)
            except (TrainingDataError, RecipeError, ServiceError, ModelFileError, NoImageError) as error:
                raise dg.Failure(description=f"as of {day}: {error}", allow_retries=False) from None
            learnt = ("features", "labels") if lifecycle.labels.column else ("features",)
            digests = {table: lake.table(*lifecycle.place(table)).digest(plan.whole.days()) for table in learnt}
            tags = {**candidate_tags(lifecycle, plan, digests), **where}
            version = registry.register(
                name,
                Candidate(
                    day.isoformat(),
                    fitted.digest(),
                    {**fitted.files(), **candidate_papers(lifecycle)},
                    model_features(lifecycle),
                    candidate_params(lifecycle, fitted.search),
                    {**tags, "mdlc.dagster_run": context.run_id},
                    {table: (str(plan.whole), digest) for table, digest in digests.items()},
                ),
            )
            challenger = registry.by_alias(name, "challenger")
            if challenger is None or challenger.as_of <= version.as_of:
                registry.point(name, "challenger", version)
            about = {"model": name, "version": version.version, "run_id": version.run_id, "digest": version.digest}
            lake.documents(name, "candidate_model").write_document(day, {**about, **tags})
            trials = {"search": dg.MetadataValue.md(fitted.search.table())} if fitted.search else {}
            link = {"in MLflow": dg.MetadataValue.url(reports.version_link(name, version.version))}
            said = {_READ_AS.get(tag, tag.removeprefix("mdlc.").replace("_", " ")): tags[tag] for tag in tags}
            context.add_asset_metadata({**link, **about, **said, **trials}, partition_key=day.isoformat())
        owners = {"mdlc.owner": lifecycle.owners.model, "mdlc.approval": lifecycle.model.gate.approval}
        registry.describe(name, lifecycle.description, owners)

    @dg.asset(
        **daily_asset(lifecycle, "training", "evaluation", kinds={"json", "mlflow"}),
        deps=[asset_key(lifecycle, "candidate_model"), asset_key(lifecycle, "training_set")],
        description="How the candidate does on test days it has not learnt from, beside the champion on the same "
        "events, with intervals; and what the gate says.",
    )
    @read_once
    def evaluation(context: dg.AssetExecutionContext, lake: Lake, registry: Registry, sagemaker: SageMaker) -> None:
        serving, scorer = registry.champion(name), scorer_there(sagemaker, lifecycle)
        for day in days_in_run(context):
            number = lake.documents(name, "candidate_model").read_document(day)["version"]
            version = registry.version(name, number)
            plan = protocol(lifecycle, day)
            rows = lake.table(name, "training_set").read_day(day)
            try:
                rival = _rival(registry, serving, version, plan, scorer)
                judged = load_any_model(registry.files(version, "judged"), scorer)
                found = judge_candidate(lifecycle, rows, plan, number, judged, rival)
            except (TrainingDataError, ServiceError, ModelFileError) as error:
                raise dg.Failure(description=f"as of {day}: {error}", allow_retries=False) from None
            document = found.document
            lake.documents(name, "evaluation").write_document(day, document)
            metrics = {key: value for key, value in document["metrics"].items() if value is not None}
            registry.log_metrics(version, metrics)
            card = model_card(lifecycle, document, version.tags)
            registry.attach(name, version, card_files(lifecycle, found, card), card)
            verdict = "passed" if document["passed"] else "refused: " + "; ".join(document["reasons"])
            tags = {COMPARED_TAG: str(rival.version) if rival and not rival.not_compared else "none"}
            # A person's refusal outlasts any evaluation.
            if version.tags.get(GATE_TAG) != "rejected":
                tags[GATE_TAG] = verdict[:_LONGEST_TAG]
            registry.tag(name, version, tags)
            shown = {
                **evaluation_figures(found),
                "slices": figures.slices(document, lifecycle.model.gate.compare_by),
            }
            context.add_asset_metadata(
                {
                    "version": number,
                    **metrics,
                    "verdict": "\n".join(document["reasons"]),
                    "card": dg.MetadataValue.md(card),
                    **{
                        title: dg.MetadataValue.md(plots.as_markdown(figure))
                        for title, figure in shown.items()
                        if figure is not None
                    },
                },
                partition_key=day.isoformat(),
            )

    @dg.asset(
        **plain_asset(lifecycle, "training", "champion", kinds={"mlflow"}),
        deps=[dg.AssetDep(asset_key(lifecycle, "evaluation"), partition_mapping=dg.LastPartitionMapping())],
        description="The version that serves. Materialising it approves: by policy the newest candidate that "
        "passed its gate, or the version that the launchpad's configuration names. Every approval is on record.",
    )
    @read_once
    def champion(
        context: dg.AssetExecutionContext, config: ChampionConfig, registry: Registry, reports: Reports
    ) -> dg.MaterializeResult:
        try:
            if config.version or config.approver or config.reason:
                version = approve(
                    registry,
                    lifecycle,
                    config.version or newest_candidate(registry, lifecycle),
                    config.approver,
                    config.reason,
                    override=config.override,
                    dagster_run=context.run_id,
                )
            elif lifecycle.model.gate.approval == "policy":
                version = approve_by_policy(registry, lifecycle, context.run_id)
            else:
                raise ApprovalError(
                    "a person approves this model. Mend: give approver and reason in the launchpad, or `mdlc approve "
                    "<version> --reason ...`."
                )
        except (ApprovalError, UnknownVersionError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        trail = [entry for entry in registry.audit(name) if entry["version"] == version.version]
        return dg.MaterializeResult(
            metadata={
                "version": version.version,
                "in MLflow": dg.MetadataValue.url(reports.version_link(name, version.version)),
                "as of": version.as_of,
                "approved by": trail[-1]["who"] if trail else "",
                "reason": trail[-1]["reason"] if trail else "",
                # Kept where the trail does not lie: an entry that is cut off later is missed.
                "audit head": str(registry.audit_head(name)),
            }
        )

    return dg.Definitions(
        assets=[training_set, candidate_model, evaluation, champion, _backtest(lifecycle)],
        asset_checks=[gate_check(lifecycle)],
    )


def _backtest(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    name = lifecycle.name

    @dg.asset(
        **plain_asset(lifecycle, "training", "backtest", kinds={"polars", "html"}),
        deps=[dg.AssetDep(asset_key(lifecycle, "evaluation"), partition_mapping=dg.AllPartitionMapping())],
        description="The evaluations of all as-of days side by side: each metric with its interval, by day. Fill days "
        "with the job backtest over a range; nothing is approved by it.",
    )
    @read_once
    def backtest(config: BacktestConfig, lake: Lake, reports: Reports) -> dg.MaterializeResult:
        evaluations = lake.documents(name, "evaluation")
        days = [day for day in evaluations.days() if config.first <= day.isoformat() <= (config.last or str(day))]
        if not days:
            raise dg.Failure(
                description=f"no as-of day of {name} was evaluated from {config.first or 'the beginning'} to "
                f"{config.last or 'now'}. Mend: run the job {name}_backtest over a range of days.",
                allow_retries=False,
            )
        documents = {day: evaluations.read_document(day) for day in days}
        gate = lifecycle.model.gate
        metrics = list(dict.fromkeys([gate.compare_by, *gate.floors, *lifecycle.monitoring.closed_loop.metrics]))
        frame = backtest_frame(documents)
        lake.table(name, "backtest").write_day(days[-1], frame)
        where = f"models/{name}/backtest.html"
        page = reports.put_page(where, backtest_page(lifecycle, documents, metrics))
        lines = summary_lines(documents, metrics, lifecycle.model.windows.test_days)
        return dg.MaterializeResult(
            metadata={
                "summary": dg.MetadataValue.md("\n".join(f"- {line}" for line in lines)),
                "by as-of day": dg.MetadataValue.md(as_markdown(backtest_table(documents, metrics))),
                "plot": dg.MetadataValue.md(plots.as_markdown(figures.backtest(documents, metrics))),
                "open": dg.MetadataValue.url(reports.link(where)),
                "page": dg.MetadataValue.path(page),
                "dagster/column_schema": frame_schema(frame),
                "dagster/row_count": frame.height,
            }
        )

    return backtest


def _rival(
    registry: Registry, champion: Version | None, candidate: Version, plan: Protocol, scorer: Scorer
) -> Rival | None:
    """The champion's model that has not learnt from the test days; a champion is not compared with itself."""
    if champion is None:
        return None
    if champion.version == candidate.version:
        return Rival(champion.version, None, "it is the champion itself")
    folder = fair_folder(champion.tags, plan)
    if folder is None:
        return Rival(champion.version, None, f"it is newer (as of {champion.as_of}) and has learnt from these days")
    return Rival(champion.version, load_any_model(registry.files(champion, folder), scorer))
