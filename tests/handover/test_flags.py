"""The flags that docs/beam.md gives for Flink and Dataflow are Beam's, and make jobs of what is to be run.

Nothing is sent: there is neither a Flink nor a Dataflow here.
"""

import re
import shlex

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners import create_runner
from apache_beam.runners.dataflow.internal import apiclient
from tfx import v1 as tfx
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import channel_utils

from components.evaluator.component import Evaluator
from components.evaluator.eval_config import BEAM_ARGUMENTS, make_eval_config
from components.genome_example_gen.component import GenomeExampleGen
from pipeline.configs import PROJECT, Settings
from tests.datasets.tiny_genome import build_tiny_genome
from tests.evaluator import tiny_model

VALUES = {"PROJECT": "my-project", "REGION": "us-central1", "BUCKET": "bucket", "WORKER": "my/image:1"}


@pytest.fixture(autouse=True)
def _nobody_is_asked_about_the_bucket(monkeypatch):
    monkeypatch.setattr(GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda *_: None)


def documented(where):
    (line,) = re.findall(
        rf"^\| {where} \| `(.*?)` \|", (PROJECT / "docs" / "beam.md").read_text(), re.MULTILINE
    )
    for name, value in VALUES.items():
        line = line.replace(name, value)
    return [*Settings.beam_arguments, *shlex.split(line)]


@pytest.mark.parametrize("where", ["Flink", "Dataflow"])
def test_flags_are_known_and_valid(where):
    options = PipelineOptions(documented(where))
    known = options.get_all_options()
    assert options.get_all_options(retain_unknown_options=True) == known
    runner = create_runner(known["runner"])
    assert type(runner).__name__ == f"{where}Runner"
    assert PipelineOptionsValidator(options, runner).validate() == []


def evaluator(folder):
    models = {"model": tiny_model.TRUTH, "baseline_model": tiny_model.WEAKER}
    inputs = {name: tfx.types.standard_artifacts.Model() for name in models}
    for name, weights in models.items():
        inputs[name].uri = tiny_model.write_saved_model(folder / name, weights)
    inputs["examples"] = tfx.types.standard_artifacts.Examples()
    inputs["examples"].uri = tiny_model.write_examples(folder / "data")
    inputs["examples"].split_names = tiny_model.SPLIT_NAMES
    component = Evaluator(
        **{name: channel_utils.as_channel([artifact]) for name, artifact in inputs.items()},
        example_splits=["test"],
        eval_config=make_eval_config([tiny_model.head()], {"pearson_r": 0.1}, max_drop=0.01),
    ).with_beam_pipeline_args(list(BEAM_ARGUMENTS))
    return component, inputs


def example_gen(folder):
    return GenomeExampleGen(build_tiny_genome(folder).path, "f"), {}


@pytest.mark.parametrize("make", [example_gen, evaluator])
def test_dataflow_would_get_a_job(make, tmp_path, monkeypatch):
    class SentError(Exception):
        pass

    def send(options, pipeline):
        del options
        raise SentError(pipeline)

    monkeypatch.setattr(apiclient, "Job", send)
    component, inputs = make(tmp_path)
    flags = [*documented("Dataflow"), *component.executor_spec.beam_pipeline_args]
    context = BaseBeamExecutor.Context(flags, tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    outputs = {name: [channel.type()] for name, channel in component.outputs.items()}
    for name, (artifact,) in outputs.items():
        artifact.uri = str(tmp_path / "outputs" / name)
    executor = component.executor_spec.executor_class(context)
    with pytest.raises(SentError) as sent:
        executor.Do({name: [one] for name, one in inputs.items()}, outputs, dict(component.exec_properties))
    (pipeline,) = sent.value.args
    images = [
        beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image
        for environment in pipeline.components.environments.values()
    ]
    assert images == [VALUES["WORKER"]]
