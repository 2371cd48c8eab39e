"""Values that each run may give: where in the compiled pipeline they stand, and how they are left open.

TFX has runtime parameters for whole properties of a component only, and the values wanted are parts of JSON
texts. Where they are is found by compiling with two values.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from components.trainer.warm_start import LAST_BLESSED
from kubeflow.errors import CompileError
from pipeline.configs import Settings

DATA_FINGERPRINT = "data_fingerprint"
WARM_START, WARM_START_FINGERPRINT = "warm_start", "warm_start_fingerprint"

# For each type of a runtime parameter, Kubeflow's name.
_TYPES = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE"}


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


def runtime_parameters(settings: Settings, data_fingerprint: str) -> Iterator[RuntimeParameter]:
    """Gives the values that each run may give: data, weights to start from, steps, and thresholds.

    Args:
        settings: of the pipeline.
        data_fingerprint: that it was compiled with.

    Yields:
        Each, with another value that differs from the first wherever it stands.
    """
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


def make_runtime_parameter(
    spec: dict[str, Any], base: dict[str, Any], other: dict[str, Any], parameter: RuntimeParameter
) -> None:
    """Lets the run decide, in `spec`, what differs between `base` and the pipeline with the other value.

    Args:
        spec: PipelineSpec, which is changed.
        base: the pipeline with the parameter's default.
        other: with its other value.
        parameter: what the run may give.

    Raises:
        CompileError: the value stands nowhere, or something that is made of it does.
    """
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
        leave_open(spec, component, (name, *inside), parameter.name, kind, source)
    if not differences:
        raise CompileError(f"{parameter.name} cannot be a parameter of the run: nothing depends on it")
    add_root_parameter(spec, parameter.name, kind, parameter.default)


def leave_open(
    spec: dict[str, Any], component: str, place: tuple[Any, ...], name: str, kind: str, source: dict[str, Any]
) -> None:
    """Leaves a value to the run: a whole parameter of a component, or what lies at a place inside of it.

    Args:
        spec: PipelineSpec, whose parameters that are JSON texts are parsed; it is changed.
        component: whose parameter it is.
        place: the parameter's name, and keys and indices inside of it.
        name: under which the component gets the value, where it lies inside.
        kind: its type, as Kubeflow names it.
        source: of the value, as a PipelineSpec has it.
    """
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


def add_root_parameter(spec: dict[str, Any], name: str, kind: str, default: str | float) -> None:
    """Adds a parameter to those of the run, in `spec`.

    Args:
        spec: PipelineSpec.
        name: of the parameter.
        kind: its type, as Kubeflow names it.
        default: of runs that give none.
    """
    definitions = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    definitions[name] = {"parameterType": kind, "defaultValue": default, "isOptional": True}
