"""What the last run of a pipeline came to, read from ML Metadata."""

import dataclasses
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

# Type of the report's artifact, `EvaluationReport.TYPE_NAME`: importing that would import all of TFX.
EVALUATION_REPORT = "enformer.EvaluationReport"
# Likewise `DataReport.TYPE_NAME` and `ScoredVariants.TYPE_NAME`.
DATA_REPORT = "enformer.DataReport"
SCORED_VARIANTS = "enformer.ScoredVariants"


class NoRunError(LookupError):
    """There is no run, or none that came to its end, to say anything of."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The verdicts of a pipeline's latest run.

    Attributes:
        blessed: whether the Evaluator found the model good enough.
        servable: whether the infra check found that it loads and answers.
        reason: why it is not servable; empty if it is.
        pushed: folder of the pushed model; `None` where nothing was pushed.
        data: folder of the report on the examples.
        evaluation: folder of the Evaluator's figures.
        report: folder of the report on them.
        variants: folder of the scores of variants; `None` where none were to be scored.
    """

    blessed: bool
    servable: bool
    reason: str
    pushed: Path | None
    data: Path
    evaluation: Path
    report: Path
    variants: Path | None


def read_outcome(metadata: Path, pipeline: str) -> Outcome:
    """Reads the outcome of the latest run; outputs taken from the cache count as its own.

    Args:
        metadata: ML Metadata's SQLite file.
        pipeline: name of the pipeline.

    Returns:
        The outcome.

    Raises:
        NoRunError: there is no such file, or the pipeline has not run to its end there.
    """
    if not metadata.exists():
        raise NoRunError(f"{metadata}: no such file; run the pipeline first")
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = ml_metadata.MetadataStore(connection)
    runs = [run for run in store.get_contexts_by_type("pipeline_run") if _pipeline_of(store, run) == pipeline]
    if not runs:
        raise NoRunError(f"{metadata} holds no run of pipeline {pipeline!r}")
    latest = max(runs, key=lambda run: run.create_time_since_epoch)
    artifacts = {artifact.type: artifact for artifact in store.get_artifacts_by_context(latest.id)}
    wanted = {"ModelBlessing", "InfraBlessing", "ModelEvaluation", "PushedModel"}
    wanted |= {DATA_REPORT, EVALUATION_REPORT}
    missing = wanted - artifacts.keys()
    if missing:
        raise NoRunError(f"the latest run of {pipeline!r} in {metadata} ended before {sorted(missing)}")
    infra, pushed = artifacts["InfraBlessing"], artifacts["PushedModel"]
    return Outcome(
        blessed=artifacts["ModelBlessing"].custom_properties["blessed"].int_value == 1,
        servable=infra.custom_properties["blessed"].int_value == 1,
        reason=infra.custom_properties["reason"].string_value,
        pushed=(
            Path(pushed.custom_properties["pushed_destination"].string_value)
            if pushed.custom_properties["pushed"].int_value == 1
            else None
        ),
        data=Path(artifacts[DATA_REPORT].uri),
        evaluation=Path(artifacts["ModelEvaluation"].uri),
        report=Path(artifacts[EVALUATION_REPORT].uri),
        variants=Path(artifacts[SCORED_VARIANTS].uri) if SCORED_VARIANTS in artifacts else None,
    )


def _pipeline_of(store: ml_metadata.MetadataStore, run: metadata_store_pb2.Context) -> str:
    names = [
        context.name for context in store.get_parent_contexts_by_context(run.id) if context.type == "pipeline"
    ]
    return names[0] if names else ""
