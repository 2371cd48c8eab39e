"""`EvaluationReporter`: training, figures and verdict of a run as one HTML file."""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import datetime
import json

from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, path_utils

from components.evaluation_report.curves import read_curves
from components.evaluation_report.page import compared_metric, make_page
from components.evaluation_report.signal import extremes, read_signals
from components.evaluation_report.subject import Subject
from components.evaluator.figures import load_figures, load_verdict
from components.examples.records import split_pattern
from components.trainer.training import MODEL_CARD

REPORT_FILE = "report.html"


class EvaluationReport(Artifact):
    """Folder of `report.html`, which needs no other file and no network."""

    TYPE_NAME = "enformer.EvaluationReport"


@tfx.dsl.components.component
def EvaluationReporter(  # noqa: N802 (a component is named like a class)
    evaluation: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    pushed_model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.PushedModel],
    report: tfx.dsl.components.OutputArtifact[EvaluationReport],
    dataset: tfx.dsl.components.Parameter[str] = "",
    run: tfx.dsl.components.Parameter[str] = "",
    split: tfx.dsl.components.Parameter[str] = "test",
    most_drawn: tfx.dsl.components.Parameter[int] = 3,
    most_windows: tfx.dsl.components.Parameter[int] = 16,
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Writes the report; it judges nothing.

    Args:
        evaluation: the Evaluator's output; the verdict and all figures are read from it.
        model: the judged model.
        model_run: the Trainer's TensorBoard logs.
        examples: examples that the model was judged on.
        pushed_model: the Pusher's output: which version the model became, if any.
        report: gets the HTML file.
        dataset: YAML file of the dataset, for the page's head.
        run: folder of the run, likewise.
        split: the split of the examples that is drawn.
        most_drawn: best tracks of a head that are drawn, and as many of the worst.
        most_windows: windows of each organism that are read for that, from the start of the split.
        code_fingerprint: of the report's code, so that the cache sees a change.
    """
    del code_fingerprint
    heads, verdict = load_figures(evaluation.uri), load_verdict(evaluation.uri)
    metric = compared_metric(verdict)
    drawn = {name: extremes(head.per_track(metric), most_drawn) for name, head in heads.items()}
    saved_model = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    with fileio.open(f"{saved_model}/{MODEL_CARD}") as content:
        card = json.load(content)
    subject = Subject(
        dataset=dataset,
        run=run,
        version=pushed_model.get_string_custom_property("pushed_version"),
        date=datetime.datetime.now(datetime.UTC),
        card=card,
    )
    signals = read_signals(
        saved_model,
        verdict.endpoint,
        split_pattern(artifact_utils.get_split_uri([examples], split)),
        drawn,
        most_windows,
        card["bin_size"],
    )
    page = make_page(subject, heads, verdict, metric, signals, read_curves(model_run.uri))
    io_utils.write_string_file(f"{report.uri}/{REPORT_FILE}", page)
