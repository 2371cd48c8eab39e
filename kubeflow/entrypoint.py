"""Runs a TFX executor in a container of Kubeflow Pipelines 2.

TFX's own entrypoint knows Vertex AI. Between it and Kubeflow this one

- gives input artifacts the types that they arrive without;
- turns URIs (s3://, gs://, minio://) into the folders to which Kubeflow's launcher copied the inputs and from
  which it takes the outputs, and back: no executor needs to know the storage;
- leaves out an input that its producer said is none, as TFX does where a Resolver found nothing;
- puts into the parameters what `compile.py` took out of them: values of the run, and texts too long for a
  command.

The executors run unchanged.
"""

import argparse
import contextlib
import hashlib
import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from components.handover.files import handed_over, rename_all  # noqa: E402

PARAMETERS = Path(__file__).with_name("parameters")
# What stands in a parameter for a value of the run, and for a long text.
RUNTIME_VALUE = re.compile(r"<runtime parameter (\w+)>")
LONG_TEXT = re.compile(r"<kubeflow/parameters/([0-9a-f]{64})>")
# What compile.py adds to the arguments of TFX's entrypoint: the launcher's folders of all artifacts, and where
# Beam's workers find those if they are not in this container: on a volume, or in the storage itself.
LOCAL_PATHS = "--local_paths"
WORKERS_VOLUME = "--workers_volume"
WORKERS_STORAGE = "--workers_storage"
_TFX_ENTRYPOINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"


def read_long_text(digest: str) -> str:
    """Reads a parameter that `compile.py` put beside pipeline.yaml.

    Args:
        digest: SHA-256 of the text, in hex.

    Returns:
        The text.

    Raises:
        SystemExit: this image does not have it.
    """
    file = PARAMETERS / digest
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"{file} is not in this image, or damaged: build the image after `make kubeflow`")
    return content.decode()


def fill_in(text: str, values: dict[str, Any]) -> str:
    """Puts a parameter together again.

    Args:
        text: a parameter as compiled.
        values: runtime parameter -> value.

    Returns:
        The parameter as `create_pipeline` made it, but for the values of the run.
    """
    long_text = LONG_TEXT.fullmatch(text)
    if long_text:
        text = read_long_text(long_text[1])
    return re.sub(f'"{RUNTIME_VALUE.pattern}"', lambda token: json.dumps(values[token[1]]), text)


def cure(invocation: dict[str, Any], spec: dict[str, Any], folders: dict[str, str]) -> dict[str, str]:
    """Makes of Kubeflow's ExecutorInput what TFX expects.

    Args:
        invocation: the ExecutorInput, as JSON; changed in place.
        spec: the component's `inputDefinitions`.
        folders: `inputs.<name>` and `outputs.<name>` -> folder that takes the place of the artifact's URI.

    Returns:
        Folder -> URI, of inputs and outputs.
    """
    inputs = invocation.setdefault("inputs", {})
    parameters = inputs.get("parameterValues", {})
    types = {name: one["parameterType"] for name, one in spec.get("parameters", {}).items()}
    values = {
        name: int(value) if types.get(name) == "NUMBER_INTEGER" else value for name, value in parameters.items()
    }
    for name, value in parameters.items():
        if isinstance(value, str):
            parameters[name] = fill_in(value, values)
    uris = {}
    for name, artifacts in inputs.get("artifacts", {}).items():
        for artifact in artifacts["artifacts"]:
            artifact["type"] = spec["artifacts"][name]["artifactType"]
            folder = folders.get(f"inputs.{name}")
            if folder:
                uris[folder] = artifact["uri"]
                artifact["uri"] = folder
        if any(artifact.get("metadata", {}).get("absent") for artifact in artifacts["artifacts"]):
            artifacts["artifacts"] = []
    for name, artifacts in invocation["outputs"].get("artifacts", {}).items():
        for artifact in artifacts["artifacts"]:
            folder = folders.get(f"outputs.{name}")
            if folder:
                Path(folder).mkdir(parents=True, exist_ok=True)  # as TFX's own launcher does
                uris[folder] = artifact["uri"]
                artifact["uri"] = folder
    return uris


@contextlib.contextmanager
def on_volume(paths: dict[str, str], volume: Path) -> Iterator[dict[str, str]]:
    """Puts inputs and outputs where Beam's workers in other pods see them, for the time that they work.

    Args:
        paths: `inputs.<name>` and `outputs.<name>` -> folder in this container.
        volume: folder that the workers mount at the same place.

    Yields:
        The same names -> folders on the volume, of `files.handed_over`.
    """
    inputs, outputs = (
        [path for name, path in paths.items() if name.startswith(side)] for side in ("inputs.", "outputs.")
    )
    with handed_over(inputs, outputs, str(volume)) as folders:
        yield {name: folders[path] for name, path in paths.items()}


def restore_uris(output_file: Path, uris: dict[str, str]) -> None:
    """Writes into the ExecutorOutput where artifacts lie for others, for where they lie in this container.

    Args:
        output_file: what TFX's entrypoint wrote.
        uris: folder -> URI.
    """
    output_file.write_text(rename_all(output_file.read_text(), uris))


def main() -> None:
    """Cures the arguments, runs TFX's entrypoint on them, and restores the URIs in what it writes."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--json_serialized_invocation_args", type=json.loads, required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    parser.add_argument(LOCAL_PATHS, type=json.loads, required=True)
    parser.add_argument(WORKERS_VOLUME, type=Path)
    parser.add_argument(WORKERS_STORAGE, action="store_true")
    arguments, rest = parser.parse_known_args()
    places: contextlib.AbstractContextManager[dict[str, str]]
    if arguments.workers_storage:
        places = contextlib.nullcontext({})
    elif arguments.workers_volume:
        places = on_volume(arguments.local_paths, arguments.workers_volume)
    else:
        places = contextlib.nullcontext(arguments.local_paths)
    invocation = arguments.json_serialized_invocation_args
    with places as folders:
        uris = cure(invocation, json.loads(arguments.json_serialized_inputs_spec_args), folders)
        sys.argv[1:] = [
            f"--json_serialized_invocation_args={json.dumps(invocation)}",
            f"--json_serialized_inputs_spec_args={arguments.json_serialized_inputs_spec_args}",
            *rest,
        ]
        try:
            runpy.run_module(_TFX_ENTRYPOINT, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise
        restore_uris(Path(invocation["outputs"]["outputFile"]), uris)


if __name__ == "__main__":
    main()
