"""Compiles the pipeline for Kubeflow Pipelines 2 (`make kubeflow`).

`create_pipeline` and `config.yaml` give `pipeline.yaml`. TFX compiles for Vertex AI; what differs on Kubeflow
is changed here, in the compiled document, so that there is one definition of the pipeline:

- runtime parameters. TFX has them for whole properties of a component only, and the values wanted are parts of
  JSON texts. Where they are is found by compiling with two values;
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import yaml  # noqa: E402
from tfx.dsl.components.base import executor_spec  # noqa: E402
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner  # noqa: E402

from components.trainer.warm_start import LAST_BLESSED  # noqa: E402
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
from kubeflow.workers import pool_of  # noqa: E402
from pipeline.configs import PROJECT, Settings, on_tpu, small  # noqa: E402
from pipeline.pipeline import create_pipeline  # noqa: E402

PIPELINE = Path(__file__).with_name("pipeline.yaml")
IMAGE_ROOT = "/app"
DATA_FINGERPRINT = "data_fingerprint"
WARM_START, WARM_START_FINGERPRINT = "warm_start", "warm_start_fingerprint"
# Id of the task that `first_look.py` is, for config.yaml.
FIRST_LOOK = "FirstLook"
# Bytes beyond which a parameter goes into a file.
LONGEST_PARAMETER = 16_384
# Bytes of an argument or a variable that Linux takes (MAX_ARG_STRLEN). Argo hands a pod its whole template as
# a variable, in which what belongs to a task stands twice, escaped. A longer one it would put into a ConfigMap,
# and its role in Kubeflow's manifests does not let it make one.
LONGEST_VARIABLE = 131_072
# Of that, what the templates have beside it: that of the executor's pod, and that of the driver of all tasks,
# with what a run gives them (parameters, its name, certificates and proxies of the installation).
TEMPLATE_OF_EXECUTOR, TEMPLATE_OF_DRIVER = 12_000, 8_000
# By which the tasks together grow in the driver's template; measured on a cluster.
DRIVER_GROWTH = 1.3
# Bytes that an input and an output have in it beside their types: URI, properties, the session of the store.
LONGEST_INPUT, LONGEST_OUTPUT = 1_500, 500

# For each type of a runtime parameter, Kubeflow's name.
_TYPES = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE"}
_CODE_FINGERPRINT = re.compile(r"(code_fingerprint\W+)[0-9a-f]{64}")
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"


class CompileError(ValueError):
    """The pipeline cannot run on Kubeflow as it is."""


@dataclasses.dataclass(frozen=True)
class RuntimeParameter:
    """A value that may be given to each run.

    Attributes:
        name: of the parameter.
        default: its value in the settings, and in runs that give none.
        other: another value.
        settings: with `other` in the place of `default`.
        data_fingerprint: the same of the data.
    """

    name: str
    default: str | int | float
    other: str | int | float
    settings: Settings
    data_fingerprint: str


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
    for parameter in _runtime_parameters(settings, fingerprint):
        other = _compile(parameter.settings, parameter.data_fingerprint, config)
        _make_runtime_parameter(spec, base, other, parameter)
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


def _runtime_parameters(settings: Settings, data_fingerprint: str) -> Iterator[RuntimeParameter]:
    other = "1" * len(data_fingerprint)
    yield RuntimeParameter(DATA_FINGERPRINT, data_fingerprint, other, settings, other)
    steps = settings.training.steps
    changed = dataclasses.replace(settings, warm_start=LAST_BLESSED)
    yield RuntimeParameter(WARM_START, settings.warm_start, LAST_BLESSED, changed, data_fingerprint)
    training = dataclasses.replace(settings.training, steps=2 * steps)
    changed = dataclasses.replace(settings, training=training)
    yield RuntimeParameter("steps", steps, 2 * steps, changed, data_fingerprint)
    for key, least in settings.thresholds.items():
        name = "threshold_" + re.sub(r"\W+", "_", key).lower()
        changed = dataclasses.replace(settings, thresholds={**settings.thresholds, key: least + 1})
        yield RuntimeParameter(name, least, least + 1, changed, data_fingerprint)


def _differences(
    one: Any, other: Any, path: tuple[Any, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Where two JSON values differ: path, and both leaves."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from _differences(one[key], other[key], (*path, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(left, right, (*path, index))
    elif one != other:
        yield path, one, other


def _make_runtime_parameter(
    spec: dict[str, Any], base: dict[str, Any], other: dict[str, Any], parameter: RuntimeParameter
) -> None:
    """Lets the run decide, in `spec`, what differs between `base` and the pipeline with the other value."""
    kind = _TYPES[type(parameter.default)]
    differences = list(_differences(base, other))
    for path, old, new in differences:
        if path[:3] != ("root", "dag", "tasks") or (old, new) != (parameter.default, parameter.other):
            raise CompileError(
                f"{parameter.name} cannot be a parameter of the run: {'.'.join(map(str, path))} depends on it "
                f"and is not its value ({old!r}, and {new!r} if it is {parameter.other!r})"
            )
        component, _, _, name, _, _, *inside = path[3:]
        source = {"componentInputParameter": parameter.name}
        _leave_open(spec, component, (name, *inside), parameter.name, kind, source)
    if not differences:
        raise CompileError(f"{parameter.name} cannot be a parameter of the run: nothing depends on it")
    _add_root_parameter(spec, parameter.name, kind, parameter.default)


def _leave_open(
    spec: dict[str, Any], component: str, place: tuple[Any, ...], name: str, kind: str, source: dict[str, Any]
) -> None:
    """Leaves a value to the run: a whole parameter of a component, or what lies at a place inside of it."""
    parameters = spec["root"]["dag"]["tasks"][component]["inputs"]["parameters"]
    if len(place) == 1:
        parameters[place[0]] = source
        return
    value = parameters[place[0]]["runtimeValue"]["constant"]
    for key in place[1:-1]:
        value = value[key]
    value[place[-1]] = f"<runtime parameter {name}>"
    parameters[name] = source
    spec["components"][component]["inputDefinitions"]["parameters"][name] = {"parameterType": kind}


def _add_root_parameter(spec: dict[str, Any], name: str, kind: str, default: str | float) -> None:
    definitions = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    definitions[name] = {"parameterType": kind, "defaultValue": default, "isOptional": True}


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
    _leave_open(spec, "Trainer", place, place[-1], "STRING", answers[WARM_START_FINGERPRINT])
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
    _add_root_parameter(spec, DATA_FINGERPRINT, "STRING", "")  # a run gives one only if it knows better
    _add_root_parameter(spec, WARM_START, "STRING", config.pipeline.warm_start)


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


def check_lengths(spec: dict[str, Any]) -> None:
    """Refuses what Argo would have to put into a ConfigMap.

    Args:
        spec: PipelineSpec, finished.

    Raises:
        CompileError: a task, or all of them together, are too long.
    """
    tasks = spec["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        length = variable_of(task, component, container)
        if length > LONGEST_VARIABLE:
            parameters = {
                key: len(json.dumps(value)) for key, value in task["inputs"].get("parameters", {}).items()
            }
            longest = max(parameters, key=parameters.__getitem__)
            raise CompileError(
                f"{name}: Argo would hand it a variable of {length} bytes, and Linux takes {LONGEST_VARIABLE}. "
                f"The longest of its parameters is {longest}, {parameters[longest]} bytes: let the component "
                "read that from an artifact"
            )
    length = int(len(_dense(spec["root"])) * DRIVER_GROWTH) + TEMPLATE_OF_DRIVER
    if length > LONGEST_VARIABLE:
        longest = max(tasks, key=lambda name: len(_dense(tasks[name])))
        raise CompileError(
            f"Argo would hand the driver of all tasks a variable of {length} bytes, and Linux takes "
            f"{LONGEST_VARIABLE}. The longest task is {longest}, {len(_dense(tasks[longest]))} bytes: let its "
            "component read its parameters from an artifact"
        )


def variable_of(task: dict[str, Any], component: dict[str, Any], container: dict[str, Any]) -> int:
    """Estimates the bytes of the variable in which Argo hands a task's pod its template.

    Args:
        task: of the PipelineSpec.
        component: that it runs.
        container: of the component.

    Returns:
        At least the bytes that a run will need, unless its parameters or the artifacts' properties are long.
    """
    parameters = {
        name: source.get("runtimeValue", {}).get("constant", "")
        for name, source in task["inputs"].get("parameters", {}).items()
    }
    outputs = component.get("outputDefinitions", {}).get("artifacts", {})
    executor_input = {"inputs": {"parameterValues": parameters}, "outputs": outputs}
    arguments = [_dense(executor_input), _dense(component), *container["command"], *container["args"]]
    patch = _dense({"args": arguments, "env": container.get("env", [])})
    artifacts = LONGEST_INPUT * len(task["inputs"].get("artifacts", {})) + LONGEST_OUTPUT * (1 + len(outputs))
    return 2 * (len(json.dumps(patch)) + artifacts) + TEMPLATE_OF_EXECUTOR


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


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
