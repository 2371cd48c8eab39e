"""Compiles the pipeline for Kubeflow Pipelines 2 (`make kubeflow`).

`create_pipeline` and `config.yaml` give `pipeline.yaml`. TFX compiles for Vertex AI; what differs on Kubeflow
is changed here, in the compiled document, so that there is one definition of the pipeline:

- runtime parameters (`runtime_parameters.py`);
- paths of this checkout become those of the image, and the image's name stands for the code's fingerprint;
- texts too long for a command's argument (128 KiB on Linux) go into files beside `pipeline.yaml`, and so into
  the image;
- names, types, resources, retries and caching as Kubeflow wants them.
"""

import copy
import dataclasses
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import yaml  # noqa: E402
from tfx.dsl.components.base import executor_spec  # noqa: E402
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner  # noqa: E402

from enformer_keras.formats.errors import DatasetError  # noqa: E402
from kubeflow.cluster import add_needs, pod_needs  # noqa: E402
from kubeflow.config import Config, ConfigError, load_config  # noqa: E402
from kubeflow.entrypoint import (  # noqa: E402
    LOCAL_PATHS,
    PARAMETERS,
    PIPELINE_ROOT,
    WORKERS_STORAGE,
    WORKERS_VOLUME,
)
from kubeflow.errors import CompileError  # noqa: E402
from kubeflow.lengths import check_lengths  # noqa: E402
from kubeflow.package import PIPELINE  # noqa: E402
from kubeflow.runtime_parameters import (  # noqa: E402
    DATA_FINGERPRINT,
    WARM_START,
    WARM_START_FINGERPRINT,
    add_root_parameter,
    leave_open,
    make_runtime_parameter,
    runtime_parameters,
)
from kubeflow.workers import pool_of  # noqa: E402
from pipeline.configs import PROJECT, Settings, on_tpu, small  # noqa: E402
from pipeline.pipeline import create_pipeline  # noqa: E402

IMAGE_ROOT = "/app"
# Id of the task that `first_look.py` is, for config.yaml.
FIRST_LOOK = "FirstLook"
# Bytes beyond which a parameter goes into a file.
LONGEST_PARAMETER = 16_384
_CODE_FINGERPRINT = re.compile(r"(code_fingerprint\W+)[0-9a-f]{64}")
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The pipeline as Kubeflow takes it.

    Attributes:
        spec: PipelineSpec 2.1.
        platform: PlatformSpec, with what Kubernetes must know of each task.
        long_texts: SHA-256 -> parameter too long for a command.
    """

    spec: dict[str, Any]
    platform: dict[str, Any]
    long_texts: dict[str, str]

    def text(self) -> str:
        """Returns both documents as YAML, texts of several lines as such."""
        heading = (
            "# Written by `make kubeflow` from pipeline/pipeline.py and kubeflow/config.yaml; do not edit.\n"
        )
        return heading + yaml.dump_all(
            [self.spec, self.platform], Dumper=_Dumper, width=112, allow_unicode=True
        )

    def write(self, file: Path = PIPELINE, folder: Path = PARAMETERS) -> None:
        """Writes the documents, and the long texts beside them.

        Args:
            file: of the documents.
            folder: of the long texts; others are removed.
        """
        shutil.rmtree(folder, ignore_errors=True)
        for digest, text in self.long_texts.items():
            folder.mkdir(exist_ok=True)
            (folder / digest).write_text(text)
        partial = file.with_suffix(".partial")
        partial.write_text(self.text())
        partial.rename(file)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def compile_pipeline(settings: Settings, config: Config) -> Compiled:
    """Compiles the pipeline.

    Args:
        settings: what to train, from fresh weights unless a run says otherwise; paths within this checkout
            become those of the image.
        config: what the cluster must know.

    Returns:
        The documents.

    Raises:
        CompileError: what a task is given is too long, a parameter of the run cannot be one, or Kubeflow does
            not take the pipeline's name.
        ConfigError: the configuration names a component that there is not.
    """
    _check_name(settings.name)
    fingerprint = "0" * 64
    base = _compile(settings, fingerprint, config)
    spec = copy.deepcopy(base)
    for parameter in runtime_parameters(settings, fingerprint):
        other = _compile(parameter.settings, parameter.data_fingerprint, config)
        make_runtime_parameter(spec, base, other, parameter)
    _add_first_look(spec, settings, config)
    long_texts = _unparse_parameters(spec)
    _finish_arguments(spec, config.pipeline_root)
    add_needs(spec, config, uncached=FIRST_LOOK)
    pods = {
        f"exec-{_kebab(task)}": pod_needs(config.task(task), config) for task in spec["root"]["dag"]["tasks"]
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}
    _rename(spec)
    check_lengths(spec)
    if config.pipeline_root:
        spec["defaultPipelineRoot"] = (
            config.pipeline_root
        )  # for run.py and schedule.py; Kubeflow reads it nowhere
    return Compiled(spec, platform, long_texts)


def _compile(settings: Settings, data_fingerprint: str, config: Config) -> dict[str, Any]:
    """What TFX makes of the pipeline, with parameters that are JSON texts parsed."""
    pipeline = create_pipeline(settings, data_fingerprint)
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=config.image,
            default_commands=["python", f"{IMAGE_ROOT}/kubeflow/entrypoint.py"],
            use_pipeline_spec_2_1=True,
        )
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    # TFX's entrypoint takes the title of a type that it does not know for the path of its class.
    classes = {
        channel.type.TYPE_NAME: f"{channel.type.__module__}.{channel.type.__qualname__}"
        for component in pipeline.components
        for channel in component.outputs.values()
        if channel.type.__module__.startswith("components.")
    }
    for component in spec["components"].values():
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values():
            schema = yaml.safe_load(artifact["artifactType"]["instanceSchema"])
            schema["title"] = classes.get(schema["title"], schema["title"])
            artifact["artifactType"]["instanceSchema"] = yaml.safe_dump(schema, sort_keys=False)
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"].pop("lifecycle", None)  # ExampleGen's driver, which Kubeflow does not run
    workers = {
        "pod": [],
        "volume": [WORKERS_VOLUME, _in_image(settings.run / "handover")],
        "storage": [WORKERS_STORAGE],
    }
    for component in pipeline.components:
        if isinstance(component.executor_spec, executor_spec.BeamExecutorSpec):
            container = spec["deploymentSpec"]["executors"][f"{component.id}_executor"]["container"]
            container["args"] += workers[config.beam.files]
    for task in spec["root"]["dag"]["tasks"].values():
        for parameter in task["inputs"].get("parameters", {}).values():
            parameter["runtimeValue"]["constant"] = _portable(parameter["runtimeValue"]["constant"], config)
        # Kubeflow's cache sees the image.
        task["inputs"].get("parameters", {}).pop("code_fingerprint", None)
    for component in spec["components"].values():
        component.get("inputDefinitions", {}).get("parameters", {}).pop("code_fingerprint", None)
    return spec


def _portable(value: str | float, config: Config) -> Any:
    """A parameter without what is of this checkout alone, parsed if it is a JSON text."""
    if not isinstance(value, str):
        return value
    value = _CODE_FINGERPRINT.sub(rf"\g<1>{config.image}", _in_image(value))
    return json.loads(value) if value.startswith(("{", "[")) else value


def _in_image(path: str | Path) -> str:
    return str(path).replace(str(PROJECT), IMAGE_ROOT)


def _add_first_look(spec: dict[str, Any], settings: Settings, config: Config) -> None:
    """Adds the task that looks at data and weights, and hands its fingerprints to all that depend on them."""
    answers = {
        name: {"taskOutputParameter": {"producerTask": FIRST_LOOK, "outputParameterKey": name}}
        for name in (DATA_FINGERPRINT, WARM_START_FINGERPRINT)
    }
    tasks = spec["root"]["dag"]["tasks"]
    for task in tasks.values():
        parameters = task["inputs"].get("parameters", {})
        if DATA_FINGERPRINT in parameters:
            parameters[DATA_FINGERPRINT] = answers[DATA_FINGERPRINT]
            task["dependentTasks"] = sorted([*task.get("dependentTasks", []), FIRST_LOOK])
    place = ("custom_config", WARM_START_FINGERPRINT)
    leave_open(spec, "Trainer", place, place[-1], "STRING", answers[WARM_START_FINGERPRINT])
    given = (DATA_FINGERPRINT, WARM_START)
    regions = {organism: dataclasses.asdict(file) for organism, file in settings.region_files.items()}
    variants = {organism: dataclasses.asdict(file) for organism, file in settings.variant_files.items()}
    pool = pool_of([*settings.beam_arguments])
    tasks[FIRST_LOOK] = {
        "taskInfo": {"name": FIRST_LOOK},
        "componentRef": {"name": FIRST_LOOK},
        "inputs": {"parameters": {name: {"componentInputParameter": name} for name in given}},
    }
    text = {"parameterType": "STRING"}
    spec["components"][FIRST_LOOK] = {
        "executorLabel": f"{FIRST_LOOK}_executor",
        "inputDefinitions": {"parameters": dict.fromkeys(given, text)},
        "outputDefinitions": {"parameters": dict.fromkeys(answers, text)},
    }
    spec["deploymentSpec"]["executors"][f"{FIRST_LOOK}_executor"] = {
        "container": {
            "image": config.image,
            "command": ["python", f"{IMAGE_ROOT}/kubeflow/first_look.py"],
            "args": [
                *("--dataset", _in_image(settings.dataset)),
                *("--digests", _in_image(settings.digests)),
                *("--regions", _in_image(json.dumps(regions))),
                *("--variants", _in_image(json.dumps(variants))),
                *(("--workers", pool) if pool else ()),
                *(f"--{name}={{{{$.inputs.parameters['{name}']}}}}" for name in given),
                *(f"{{{{$.outputs.parameters['{name}'].output_file}}}}" for name in answers),
            ],
        }
    }
    add_root_parameter(spec, DATA_FINGERPRINT, "STRING", "")  # a run gives one only if it knows better
    add_root_parameter(spec, WARM_START, "STRING", config.pipeline.warm_start)


def _unparse_parameters(spec: dict[str, Any]) -> dict[str, str]:
    """Makes texts of the parsed parameters again, and takes out those that are too long."""
    long_texts = {}
    for task in spec["root"]["dag"]["tasks"].values():
        for parameter in task["inputs"].get("parameters", {}).values():
            value = parameter.get("runtimeValue", {}).get("constant")
            if isinstance(value, dict | list):
                value = json.dumps(value, indent=1 if isinstance(value, dict) else None)
                parameter["runtimeValue"]["constant"] = value
            if isinstance(value, str) and len(value.encode()) > LONGEST_PARAMETER:
                digest = hashlib.sha256(value.encode()).hexdigest()
                long_texts[digest] = value
                parameter["runtimeValue"]["constant"] = f"<kubeflow/parameters/{digest}>"
    return long_texts


def _finish_arguments(spec: dict[str, Any], root: str | None) -> None:
    """Tells each container its final inputs, the launcher's folders of all artifacts, and the pipeline root."""
    for component in spec["components"].values():
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
        if _INPUTS_SPEC not in container["args"]:
            continue  # the first look
        position = container["args"].index(_INPUTS_SPEC) + 1
        folders = {
            f"{side}.{name}": f"{{{{$.{side}.artifacts['{name}'].path}}}}"
            for side, definitions in (("inputs", inputs), ("outputs", outputs))
            for name in definitions.get("artifacts", {})
        }
        container["args"][position : position + 1] = [
            json.dumps(inputs, indent=1, sort_keys=True),
            LOCAL_PATHS,
            json.dumps(folders, indent=1, sort_keys=True),
            *([PIPELINE_ROOT, root] if root else []),
        ]


def _check_name(name: str) -> None:
    # Argo names the run after it, in a label of at most 63 characters of which the last six are its own.
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or len(name) > 57:
        raise CompileError(
            f"the pipeline's name is {name!r}, and Kubeflow takes at most 57 characters: lower case letters, "
            "digits and -, the first and the last no -"
        )


def _kebab(name: str) -> str:
    """The name that Kubeflow's own compiler would give: `genome-example-gen`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


def _rename(spec: dict[str, Any]) -> None:
    """Names tasks, components and executors as Kubeflow's own compiler does."""
    dag = spec["root"]["dag"]
    for task in dag["tasks"].values():
        task["componentRef"]["name"] = f"comp-{_kebab(task['componentRef']['name'])}"
        task["taskInfo"]["name"] = _kebab(task["taskInfo"]["name"])
        if "dependentTasks" in task:
            task["dependentTasks"] = sorted(map(_kebab, task["dependentTasks"]))
        for source in (
            *task["inputs"].get("artifacts", {}).values(),
            *task["inputs"].get("parameters", {}).values(),
        ):
            for producer in ("taskOutputArtifact", "taskOutputParameter"):
                if producer in source:
                    source[producer] = source[producer] | {
                        "producerTask": _kebab(source[producer]["producerTask"])
                    }
    dag["tasks"] = {_kebab(name): task for name, task in dag["tasks"].items()}
    for name, component in spec["components"].items():
        component["executorLabel"] = f"exec-{_kebab(name)}"
    spec["components"] = {f"comp-{_kebab(name)}": component for name, component in spec["components"].items()}
    executors = spec["deploymentSpec"]["executors"]
    spec["deploymentSpec"]["executors"] = {
        f"exec-{_kebab(label.removesuffix('_executor'))}": executor for label, executor in executors.items()
    }


def _in_project(variants: Path | dict[str, Path] | None) -> Path | dict[str, Path]:
    if isinstance(variants, Path):
        return PROJECT / variants
    return {organism: PROJECT / file for organism, file in (variants or {}).items()}


def settings_of(config: Config) -> Settings:
    """Makes the settings of the pipeline that the configuration names.

    Args:
        config: the configuration.

    Returns:
        The settings.
    """
    run = config.pipeline
    settings = small(
        run=PROJECT / run.run,
        dataset=PROJECT / run.dataset,
        steps=run.steps,
        seed=run.seed,
        regions=run.regions and PROJECT / run.regions,
        variants=_in_project(run.variants),
        beam_arguments=config.beam.arguments,
    )
    trainer = config.task("Trainer").accelerator
    return on_tpu(settings, trainer.count) if trainer and trainer.is_tpu else settings


def main() -> None:
    """Writes `pipeline.yaml`."""
    try:
        config = load_config()
        compile_pipeline(settings_of(config), config).write()
    except (CompileError, ConfigError, DatasetError) as error:
        sys.exit(str(error))
    print(f"wrote {PIPELINE.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
