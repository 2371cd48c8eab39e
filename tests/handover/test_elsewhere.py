"""Every component that works on Beam, with workers that do not see its folders, against one process.

The workers are in a process with a working directory of its own, and get their work through the portable job
service. The pipeline's folder is given relative to the working directory of the tests: they do not find it.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.pipeline import RunOptions

from components.basenji_example_gen.component import BasenjiExampleGen
from components.evaluator.component import Evaluator
from components.evaluator.eval_config import BEAM_ARGUMENTS, make_eval_config
from components.evaluator.figures import load_figures, load_verdict
from components.examples import records
from components.examples.account import read_accounts
from components.handover.executor import HandingOver, hand_over
from enformer_keras import one_hot_encode
from pipeline.configs import PROJECT, SPLITS, Settings
from pipeline.pipeline import create_pipeline
from tests.basenji_example_gen.test_basenji_example_gen import describe
from tests.beam_services import job_service, workers_in
from tests.datasets.tiny_basenji import build_tiny_basenji
from tests.evaluator import tiny_model
from tests.pipeline.conftest import Chain

pytestmark = pytest.mark.full

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Flags for Beam."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with job_service() as jobs, workers_in(folder) as workers:
        yield (
            *("--runner=PortableRunner", f"--job_endpoint={jobs}"),
            *("--environment_type=EXTERNAL", f"--environment_config={workers}"),
        )
        assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def runs(tmp_path_factory, elsewhere):
    """Settings of one pipeline, run up to the training: in one process, and by workers elsewhere."""
    folder = tmp_path_factory.mktemp("runs")
    one = Chain(folder).settings
    other = dataclasses.replace(
        one,
        run=Path("run_elsewhere"),
        beam_arguments=(*one.beam_arguments, *elsewhere),
        beam_files=str(folder / "handover"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for settings in (one, other):
            settings.run.mkdir(exist_ok=True)
            tfx.orchestration.LocalDagRunner().run(
                create_pipeline(
                    settings,
                    "fingerprint",
                    tfx.orchestration.metadata.sqlite_metadata_connection_config(str(settings.metadata)),
                ),
                run_options=RunOptions(to_nodes=["DataReporter", "StatisticsGen", "LeakAudit", "Transform"]),
            )
    assert not list((folder / "handover").iterdir())
    return one, dataclasses.replace(other, run=folder / other.run)


def output(settings, component, name):
    (folder,) = settings.root.glob(f"{component}/{name}/*")
    return folder


def examples_of(settings, split):
    files = sorted(map(str, output(settings, "GenomeExampleGen", "examples").glob(f"Split-{split}/*")))
    return sorted(map(records.read_record, records.find_records(files)))


def test_examples(runs):
    for split in SPLITS:
        one, other = (examples_of(settings, split) for settings in runs)
        assert one == other
        assert len(one) > 0
    one, other = (read_accounts(str(output(settings, "GenomeExampleGen", "examples"))) for settings in runs)
    assert one == other


@pytest.mark.parametrize(("component", "file"), [("DataReporter", "report.json"), ("LeakAudit", "leaks.json")])
def test_reports(runs, component, file):
    one, other = (json.loads((output(settings, component, "report") / file).read_text()) for settings in runs)
    assert one == other


def test_statistics(runs):
    for split in SPLITS:
        one, other = (
            tfdv.load_stats_binary(
                str(output(settings, "StatisticsGen", "statistics") / f"Split-{split}" / "FeatureStats.pb")
            )
            for settings in runs
        )
        assert one.datasets[0].num_examples > 0
        assert one == other


def test_transform_graph(runs):
    _, other = runs
    transform = tft.TFTransformOutput(str(output(other, "Transform", "transform_graph")))
    (record, *_) = examples_of(other, "test")
    raw = tf.io.parse_example([record], transform.raw_feature_spec())
    decoded = transform.transform_raw_features(raw)["sequence"].numpy()
    np.testing.assert_array_equal(decoded, one_hot_encode([raw["sequence"].numpy()[0].decode()]))


def test_all_that_runs_on_beam_is_handed_over(runs):
    _, other = runs
    pipeline = create_pipeline(other, "fingerprint")
    on_beam = {
        node.id: node.executor_spec.executor_class
        for node in pipeline.components
        if isinstance(node.executor_spec, BeamExecutorSpec)
    }
    assert on_beam == dict.fromkeys(
        ["GenomeExampleGen", "DataReporter", "StatisticsGen", "LeakAudit", "Transform", "Evaluator"],
        HandingOver,
    )


def test_nothing_names_the_place_afterwards(runs):
    _, other = runs
    place = Path(other.beam_files).name.encode()
    assert [file for file in other.run.rglob("*") if file.is_file() and place in file.read_bytes()] == []


def test_examples_of_basenji_folders(elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_tiny_basenji(tmp_path / "human")
    contents = []
    for folder, flags, place in (("one", (), ""), ("other", elsewhere, str(tmp_path / "handover"))):
        gen = BasenjiExampleGen(describe(tmp_path), data_fingerprint="f").with_beam_pipeline_args(
            [*Settings.beam_arguments, *flags]
        )
        if place:
            hand_over(gen, place)
        examples = tfx.types.standard_artifacts.Examples()
        examples.uri = folder
        context = BaseBeamExecutor.Context(gen.executor_spec.beam_pipeline_args, tmp_dir="tmp", unique_id="1")
        gen.executor_spec.executor_class(context).Do({}, {"examples": [examples]}, dict(gen.exec_properties))
        assert examples.uri == folder
        splits = [sorted(map(str, Path(folder).glob(f"Split-{split}/*.gz"))) for split in SPLITS]
        read = [sorted(map(records.read_record, records.find_records(files))) for files in splits]
        assert all(read)
        contents.append((read, read_accounts(folder)))
    assert contents[0] == contents[1]


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory, elsewhere):
    """Evaluations of two models, by where they were made."""
    folder = tmp_path_factory.mktemp("evaluations")
    weights = {"model": tiny_model.TRUTH, "baseline": tiny_model.WEAKER}
    for name, one in weights.items():
        tiny_model.write_saved_model(folder / name, one)
    tiny_model.write_examples(folder / "examples")

    def importer(name, artifact_type, **properties):
        return tfx.dsl.Importer(name, artifact_type=artifact_type, properties=properties).with_id(name)

    models = [importer(name, tfx.types.standard_artifacts.Model) for name in weights]
    examples = importer("examples", tfx.types.standard_artifacts.Examples, split_names=tiny_model.SPLIT_NAMES)
    evaluators = {}
    for name, flags in {"one": (), "processes": PROCESSES, "elsewhere": elsewhere}.items():
        evaluators[name] = Evaluator(
            examples=examples.outputs["result"],
            example_splits=["test"],
            model=models[0].outputs["result"],
            baseline_model=models[1].outputs["result"],
            eval_config=make_eval_config([tiny_model.head()], {"pearson_r": 0.1}, max_drop=0.01),
        ).with_id(name)
        evaluators[name].with_beam_pipeline_args([*BEAM_ARGUMENTS, *flags])
    hand_over(evaluators["elsewhere"], str(folder / "handover"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(PROJECT))  # for the processes of this machine
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="evaluate",
                pipeline_root="root",
                components=[examples, *models, *evaluators.values()],
                metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                    "metadata.sqlite"
                ),
                beam_pipeline_args=list(Settings.beam_arguments),
            )
        )
    return folder


@pytest.mark.parametrize("where", ["processes", "elsewhere"])
def test_evaluations(evaluations, where):
    folders = [next((evaluations / "root" / name / "evaluation").iterdir()) for name in ("one", where)]
    (one,), (other,) = (load_figures(folder).values() for folder in folders)
    assert one.by_slice.keys() == other.by_slice.keys()
    for key, figures in one.by_slice.items():
        assert figures.keys() == other.by_slice[key].keys()
        for name, value in figures.items():
            np.testing.assert_allclose(other.by_slice[key][name], value, rtol=0, atol=1e-6, err_msg=name)
    verdicts = [load_verdict(folder) for folder in folders]
    assert [(verdict.compared, {check.met for check in verdict.checks}) for verdict in verdicts] == [
        (True, {True})
    ] * 2
    (blessing,) = (evaluations / "root" / where / "blessing").glob("*/*")
    assert blessing.name == "BLESSED"


def test_evaluation_does_not_name_the_place_afterwards(evaluations):
    assert not list((evaluations / "handover").iterdir())
    files = [evaluations / "metadata.sqlite", *(evaluations / "root" / "elsewhere").rglob("*")]
    # The flag itself stands in the metadata of the pipeline.
    place = str(evaluations / "handover").encode() + b"/"
    assert [file for file in files if file.is_file() and place in file.read_bytes()] == []
