"""Runs a TFX executor in a container of Kubeflow Pipelines 2.

TFX's own entrypoint knows Vertex AI. Between it and Kubeflow this one

- gives input artifacts the types that they arrive without;
- leaves out outputs that the component does not have: where the installation keeps logs (`PUBLISH_LOGS`),
  Kubeflow's driver adds `executor-logs`, of a type that TFX cannot import;
- turns URIs (s3://, gs://, minio://) into the folders to which Kubeflow's launcher copied the inputs and from
  which it takes the outputs, and back: no executor needs to know the storage;
- leaves out an input that its producer said is none, as TFX does where a Resolver found nothing;
- puts into the parameters what `compile.py` took out of them: values of the run, and texts too long for a
  command;
- refuses to write to another pipeline root than the one that the pipeline was compiled for;
- takes back the right of everybody to change what it writes on volumes, which Argo's umask of 0 gives.

The executors run unchanged.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import runpy
import sys
from collections.abc import Collection, Iterator
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
# The pipeline root for which it was compiled. Among the arguments, so that Kubeflow's cache goes by it: an
# input that lies in another store cannot be fetched with the credentials of this one.
PIPELINE_ROOT = "--pipeline_root"
# Of what a task writes, also on volumes: for its own user alone to change.
UMASK = 0o022
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


def check_root(invocation: dict[str, Any], root: str) -> None:
    """Refuses a run whose outputs go elsewhere than where the pipeline was compiled to put them.

    Kubeflow does not read the root in pipeline.yaml: who starts a run gives it, and `kfp run create` cannot.

    Args:
        invocation: the ExecutorInput, as JSON.
        root: the pipeline root in the configuration.

    Raises:
        SystemExit: the outputs are not under it.
    """
    under = root.partition("?")[0].rstrip("/") + "/"
    for artifacts in invocation["outputs"].get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            if not artifact["uri"].startswith(under):
                sys.exit(
                    f"this run writes to {artifact['uri']}, and the pipeline was compiled for the "
                    f"pipeline_root {root}: start it with kubeflow/run.py or kubeflow/schedule.py, which give "
                    "a run its root"
                )


def cure(
    invocation: dict[str, Any], spec: dict[str, Any], folders: dict[str, str], outputs: Collection[str]
) -> dict[str, str]:
    """Makes of Kubeflow's ExecutorInput what TFX expects.

    Args:
        invocation: the ExecutorInput, as JSON; changed in place.
        spec: the component's `inputDefinitions`.
        folders: `inputs.<name>` and `outputs.<name>` -> folder that takes the place of the artifact's URI.
        outputs: the artifacts that the component has; others are left out.

    Returns:
        Folder -> URI, of inputs and outputs.

    Raises:
        SystemExit: a whole number is none, or a long text is not in this image.
    """
    inputs = invocation.setdefault("inputs", {})
    parameters = inputs.get("parameterValues", {})
    types = {name: one["parameterType"] for name, one in spec.get("parameters", {}).items()}
    values = {
        name: _whole(name, value) if types.get(name) == "NUMBER_INTEGER" else value
        for name, value in parameters.items()
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
    made = invocation["outputs"].get("artifacts", {})
    for name in made.keys() - set(outputs):
        del made[name]
    for name, artifacts in made.items():
        for artifact in artifacts["artifacts"]:
            folder = folders.get(f"outputs.{name}")
            if folder:
                Path(folder).mkdir(parents=True, exist_ok=True)  # as TFX's own launcher does
                uris[folder] = artifact["uri"]
                artifact["uri"] = folder
    return uris


def _whole(name: str, value: float) -> int:
    """A whole number; Kubeflow's server takes any number for one."""
    if value != int(value):
        sys.exit(f"{name} is {value!r}, which is not a whole number: give the run another")
    return int(value)


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
    os.umask(UMASK)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--json_serialized_invocation_args", type=json.loads, required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    parser.add_argument(LOCAL_PATHS, type=json.loads, required=True)
    parser.add_argument(WORKERS_VOLUME, type=Path)
    parser.add_argument(WORKERS_STORAGE, action="store_true")
    parser.add_argument(PIPELINE_ROOT)
    arguments, rest = parser.parse_known_args()
    places: contextlib.AbstractContextManager[dict[str, str]]
    if arguments.workers_storage:
        places = contextlib.nullcontext({})
    elif arguments.workers_volume:
        places = on_volume(arguments.local_paths, arguments.workers_volume)
    else:
        places = contextlib.nullcontext(arguments.local_paths)
    invocation = arguments.json_serialized_invocation_args
    if arguments.pipeline_root:
        check_root(invocation, arguments.pipeline_root)
    outputs = [name.removeprefix("outputs.") for name in arguments.local_paths if name.startswith("outputs.")]
    with places as folders:
        uris = cure(invocation, json.loads(arguments.json_serialized_inputs_spec_args), folders, outputs)
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
