"""The pipeline from a genome and its tracks to a pushed model."""

import importlib.metadata
import json
from dataclasses import asdict
from pathlib import Path

import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

import components
import enformer_keras
from components.anomaly_gate.component import AnomalyGate
from components.basenji_example_gen.component import BasenjiExampleGen
from components.data_report.component import DataReporter
from components.evaluation_report.component import EvaluationReporter
from components.evaluator.component import Evaluator
from components.evaluator.eval_config import BEAM_ARGUMENTS, Head, make_eval_config
from components.fingerprint import code_fingerprint
from components.genome_example_gen.component import GenomeExampleGen
from components.handover.executor import hand_over
from components.infra_check.component import InfraCheck
from components.last_blessed_model.strategy import LastBlessedModelStrategy
from components.last_pushed_model.component import LastPushedModel
from components.leak_audit.component import LeakAudit
from components.pinned_schema.component import PinnedSchema
from components.pusher.component import Pusher
from components.variant_scorer.component import VariantScorer
from pipeline.configs import SPLITS, Settings

EXAMPLE_GENS: dict[str, type[GenomeExampleGen] | type[BasenjiExampleGen]] = {
    "genome": GenomeExampleGen,
    "basenji": BasenjiExampleGen,
}
# The features that StatisticsGen may look at: nobody wants the most frequent of megabyte strings.
SCALARS = ("organism", "chrom", "start", "end", "gc_fraction", "n_fraction", "mean_signal")


def create_pipeline(
    settings: Settings,
    data_fingerprint: str,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
) -> tfx.dsl.Pipeline:
    """Lays out the pipeline; reads no environment and no data beyond the description of the dataset.

    Args:
        settings: what to train on what, and where to put it.
        data_fingerprint: `data.fingerprint_data`: changed data must not be taken from the cache.
        metadata_connection_config: ML Metadata's store; `None` where the orchestrator brings its own, which
            components cannot ask (Kubeflow).

    Returns:
        The pipeline, for any runner.
    """
    data = settings.description
    train_split, valid_split, test_split = SPLITS
    library, parts = Path(enformer_keras.__file__).parent, Path(components.__file__).parent

    # Windows of the genome with their targets, in splits that do not overlap.
    example_gen = EXAMPLE_GENS[data.kind](settings.dataset, data_fingerprint)
    examples = example_gen.outputs["examples"]

    # What was kept, dropped and clipped, and how the tracks look; nothing waits for it.
    data_reporter = DataReporter(
        examples=examples,
        code_fingerprint=code_fingerprint(parts / "data_report", parts / "examples", parts / "track_plot"),
    )

    # Figures of the scalars, against the schema; anything odd ends the run before hours are spent.
    statistics_gen = tfx.components.StatisticsGen(
        examples=examples, stats_options=tfdv.StatsOptions(feature_allowlist=list(SCALARS))
    )
    pinned_schema = PinnedSchema(text=settings.schema.read_text())
    schema = pinned_schema.outputs["schema"]
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema
    )
    anomaly_gate = AnomalyGate(
        anomalies=example_validator.outputs["anomalies"],
        code_fingerprint=code_fingerprint(parts / "anomaly_gate"),
    )

    # Does an input of one split show what another predicts, and has every track something to be judged by?
    # Asked of the examples, not of their plan.
    leak_audit = LeakAudit(
        examples=examples,
        target_width=data.target_length * data.bin_size,
        max_shift=settings.training.max_shift,
        tolerance=settings.leak_tolerance,
        judged_split=test_split,
        code_fingerprint=code_fingerprint(
            parts / "leak_audit", parts / "examples", library / "datasets", library / "formats"
        ),
    )

    # The decode as a graph, the same for training and serving. Without analyzers and materialized output
    # nothing reads the data here.
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        splits_config=tfx.proto.SplitsConfig(analyze=[train_split], transform=[]),
        materialize=False,
        disable_statistics=True,
        custom_config={
            "flanked_length": data.window_length + 2 * data.flank_length,
            "code_fingerprint": code_fingerprint(parts / "transform", library),
        },
    )
    transform.add_upstream_node(anomaly_gate)

    # Fits the model, a head for each organism; writes it for serving and, beside that, for further training.
    trainer = tfx.components.Trainer(
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        run_fn="components.trainer.run_fn.run_fn",
        train_args=tfx.proto.TrainArgs(splits=[train_split], num_steps=settings.training.steps),
        eval_args=tfx.proto.EvalArgs(splits=[valid_split]),
        custom_config={
            "model": settings.model_arguments,
            "training": asdict(settings.training),
            "averaging": asdict(settings.averaging),
            "checkpoints": str(settings.checkpoints),
            "pushed": str(settings.pushed),
            "warm_start": settings.warm_start,
            "warm_start_fingerprint": settings.warm_start_fingerprint,
            "data_fingerprint": data_fingerprint,
            "code_version": importlib.metadata.version("enformer-keras"),
            "code_fingerprint": code_fingerprint(
                parts / "trainer", parts / "transform", parts / "examples", library
            ),
        },
    )
    trainer.add_upstream_node(leak_audit)
    model = trainer.outputs["model"]

    # The last model that was good enough: a new one may not fall behind it. ML Metadata knows it, and where
    # nobody can ask that, the folder of the pushed models. It is asked as the new one is.
    endpoint = "serving_averaged" if settings.test_time_averaging else "serving_default"
    if metadata_connection_config:
        last_model = tfx.dsl.Resolver(
            strategy_class=LastBlessedModelStrategy,
            config={"endpoint": endpoint},
            model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
            model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
            candidate=model,
        ).with_id("last_blessed_model")
    else:
        last_model = LastPushedModel(
            candidate=model,
            versions=str(settings.pushed),
            endpoint=endpoint,
            code_fingerprint=code_fingerprint(parts / "last_pushed_model", parts / "last_blessed_model"),
        )

    # Correlations by track, assay and contig on the test split, over positions and, where there is a file of
    # them, across regions: are they good enough, and no worse than before?
    evaluator = Evaluator(
        examples=examples,
        example_splits=[test_split],
        model=model,
        baseline_model=last_model.outputs["model"],
        eval_config=make_eval_config(
            [
                Head(
                    organism.name,
                    [track.identifier for track in organism.tracks],
                    [track.description for track in organism.tracks],
                    settings.region_files.get(organism.name),
                )
                for organism in data.organisms
            ],
            settings.thresholds,
            settings.max_drop,
            change_metric=settings.change_metric,
            endpoint=endpoint,
            code_fingerprint=code_fingerprint(parts / "evaluator"),
        ),
    )
    evaluator.with_beam_pipeline_args(list(BEAM_ARGUMENTS))

    # Does it load in a process of its own, give the Trainer's numbers, and stay within time and memory?
    infra_check = InfraCheck(
        model=model,
        examples=examples,
        time_limit_s=settings.serving_time_limit_s,
        memory_limit_mb=settings.serving_memory_limit_mb,
        tolerance=settings.serving_tolerance,
        code_fingerprint=code_fingerprint(parts / "infra_check"),
    )

    # Only what passed both goes out.
    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_check.outputs["blessing"],
        destination=str(settings.pushed),
        keep_versions=settings.keep_versions,
        code_fingerprint=code_fingerprint(parts / "pusher"),
    )

    # All of it for people to look at. It comes last: nothing waits for it, and a model is pushed without it.
    evaluation_reporter = EvaluationReporter(
        evaluation=evaluator.outputs["evaluation"],
        model=model,
        model_run=trainer.outputs["model_run"],
        examples=examples,
        pushed_model=pusher.outputs["pushed_model"],
        dataset=str(settings.dataset),
        run=str(settings.run),
        split=test_split,
        code_fingerprint=code_fingerprint(
            *(parts / room for room in ("evaluation_report", "evaluator", "html_page", "track_plot"))
        ),
    )

    nodes = [
        example_gen,
        data_reporter,
        statistics_gen,
        pinned_schema,
        example_validator,
        anomaly_gate,
        leak_audit,
        transform,
        trainer,
        last_model,
        evaluator,
        infra_check,
        pusher,
        evaluation_reporter,
    ]

    # What variants do by the model that went out, and what that model changed about it. Last, for it may take
    # long.
    if settings.variants:
        variant_scorer = VariantScorer(
            model=model,
            pushed_model=pusher.outputs["pushed_model"],
            variants=json.dumps({name: asdict(file) for name, file in settings.variant_files.items()}),
            dataset=str(settings.dataset),
            kept=str(settings.kept_scores),
            strands="both" if settings.training.reverse_complement else "forward",
            code_fingerprint=code_fingerprint(
                *(parts / room for room in ("variant_scorer", "evaluation_report", "html_page", "track_plot")),
                *(library / room for room in ("prediction", "model", "formats")),
            ),
        )
        nodes.append(variant_scorer)

    # Workers that do not see these folders get copies where they do.
    if settings.beam_files:
        for component in nodes:
            if isinstance(component.executor_spec, BeamExecutorSpec):
                hand_over(component, settings.beam_files)

    return tfx.dsl.Pipeline(
        pipeline_name=settings.name,
        pipeline_root=str(settings.root),
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(settings.beam_arguments),
    )
