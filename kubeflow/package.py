"""What `make kubeflow` has compiled, as far as those who start runs of it must know."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PIPELINE = Path(__file__).with_name("pipeline.yaml")
_TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


class KubeflowError(Exception):
    """A command cannot do what it was asked; the message says why, and what stays on the server."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        file: pipeline.yaml.
        name: the pipeline's.
        root: the pipeline root that its runs must be given; None for the installation's.
        parameters: runtime parameter -> its definition in the PipelineSpec.
        tasks: their names.
    """

    file: Path
    name: str
    root: str | None
    parameters: Mapping[str, Mapping[str, Any]]
    tasks: tuple[str, ...]

    def check(self, values: Mapping[str, Any], where: str) -> None:
        """Checks what a run is to be given.

        Args:
            values: of runtime parameters, by name.
            where: what gives them, for messages.

        Raises:
            KubeflowError: a parameter is not the pipeline's, is of another type, or is missing.
        """
        for name, value in values.items():
            if name not in self.parameters:
                raise KubeflowError(f"{where}: {self.file} has no {name}; it has {', '.join(self.parameters)}")
            wanted = self.parameters[name]["parameterType"]
            is_truth = isinstance(value, bool) and wanted != "BOOLEAN"  # to Python a bool is an int
            if is_truth or not isinstance(value, _TYPES[wanted]):
                raise KubeflowError(f"{where}: {name} is {value!r}, {self.file} takes a {wanted}")
        for name, definition in self.parameters.items():
            optional = "defaultValue" in definition or definition.get("isOptional", False)
            if not optional and name not in values:
                raise KubeflowError(f"{where}: {self.file} has no default for {name}; add it")

    def parse(self, name: str, text: str) -> Any:
        """Makes of a parameter's text, as on a command line, a value of its type.

        Args:
            name: of the parameter.
            text: the value; JSON, but for a STRING.

        Returns:
            The value; the text itself if it is none, which `check` will refuse.
        """
        if self.parameters.get(name, {}).get("parameterType", "STRING") == "STRING":
            return text
        try:
            return json.loads(text)
        except ValueError:
            return text


def read_package(file: Path = PIPELINE) -> Package:
    """Reads a compiled pipeline.

    Args:
        file: pipeline.yaml.

    Returns:
        What is in it.

    Raises:
        KubeflowError: the file cannot be read, or is no compiled pipeline.
    """
    spec = read_yaml(file, "run `make kubeflow`")
    try:
        root = spec["root"]
        return Package(
            file,
            spec["pipelineInfo"]["name"],
            spec.get("defaultPipelineRoot") or None,
            root.get("inputDefinitions", {}).get("parameters", {}),
            tuple(root["dag"]["tasks"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise KubeflowError(f"{file}: is no compiled pipeline; run `make kubeflow`") from error


def read_yaml(path: Path, cure: str) -> Any:
    """Reads the first document of a YAML file.

    Args:
        path: of the file.
        cure: what to do if it is not there.

    Returns:
        Its content.

    Raises:
        KubeflowError: it cannot be read.
    """
    try:
        # A compiled pipeline is followed by a second document, of the platform.
        return next(yaml.safe_load_all(path.read_text(encoding="utf-8")), None)
    except FileNotFoundError as error:
        raise KubeflowError(f"{path}: is not there; {cure}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise KubeflowError(f"{path}: cannot be read: {error}") from error
