"""Runs a compiled pipeline as Kubeflow Pipelines' backend does; a process is a pod, a folder the object store.

Written after the backend's own sources: driver (`backend/src/v2/driver`: inputs, cache), launcher
(`component/launcher_v2.go`: placeholders, files) and cache key (`cacheutils/cache.go`). Held against Kubeflow
Pipelines 2.17.0 with Argo Workflows 4.0.8 on Kubernetes 1.34.4: what the driver hands the launcher for each
of 15 tasks is that of tests/fixtures/kubeflow, but for identifiers (test_walker.py), and what that cluster
refused is refused here.

Each attempt of a task gets a pod: a new folder that goes when it ends, with the image's /app as its working
directory, its temporary files and copies of its inputs; a new process, with a umask of 0; and of the
environment what image and task say. The image is this checkout, the store a folder, and claims are mounted
where they lie already.

What it does not do: another user (uid 1000, gid 0) and a file system of its own, by which the image could not
be written and other paths would not be seen; limits of CPU and memory, node selection, secrets, pull secrets;
waiting between attempts, and retries of the DAG's levels, as `Always` has them; the store's credentials;
nested DAGs, conditions, loops and importers, which the pipeline has not.
"""

import concurrent.futures
import copy
import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.configs import PROJECT
from tests.kubeflow import rules

PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")
INPUT_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}")
# Where outputs go if a run is given no pipeline root; the one in the PipelineSpec is not read.
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
# The launcher's folder for each scheme.
FOLDERS = {"minio": "minio", "s3": "s3", "gs": "gcs"}
# What the manifests' PUBLISH_LOGS=true adds to the outputs of every component.
LOGS = "executor-logs"
LOGS_TYPE = {"schemaTitle": "system.Artifact"}
STORE = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "seaweedfs.kubeflow:9000",
        "fromEnv": "false",
        "maxRetries": "5",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}
# What a container has of the image, whatever the task.
IMAGE_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(PROJECT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# The project's folders in it, as the Dockerfile's context has them.
IMAGE_CONTENT = sorted(
    name
    for name in re.findall(
        r"^!(\w+)$", (PROJECT / "kubeflow/Dockerfile.dockerignore").read_text(), re.MULTILINE
    )
    if (PROJECT / name).is_dir()
)


@dataclasses.dataclass
class Attempt:
    """A pod: its command with all placeholders filled in, how it ended, and what it printed."""

    command: list[str]
    status: int
    log: str


@dataclasses.dataclass
class Task:
    """What became of a task.

    Attributes:
        state: `succeeded`, `cached`, `failed`, or `skipped` because something that it needs failed.
        attempts: its pods.
        artifacts: output -> RuntimeArtifact as metadata keep it: a number for a name, and no type.
        parameters: output -> value.
        message: why no further attempt was made, in Argo's words.
    """

    state: str
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    message: str = ""


class Cluster:
    """A namespace with Kubeflow Pipelines: its object store, its cache, and the runs.

    Args:
        folder: for the store and the pods.
        retried: Argo's `retryPolicy` of this installation: `OnFailure`, a process that failed; `OnError`, a
            pod that was deleted; `Always`, both.
        namespace: its name.

    Attributes:
        faults: (task, number of the attempt from 1 on) -> what happens to it: its pod is `deleted` before the
            process starts, its process is `killed`, or its `upload` breaks off after the first file.
    """

    def __init__(self, folder: Path, retried: str = "OnFailure", namespace: str = "kubeflow") -> None:
        self._store, self._pods = folder / "store", folder / "pods"
        self._retried, self._namespace = retried, namespace
        self._cache: dict[tuple[str, str, str], Task] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self.faults: dict[tuple[str, int], str] = {}

    def run(self, package: str, pipeline_root: str = DEFAULT_ROOT, **arguments: Any) -> dict[str, Task]:
        """Runs a pipeline to its end.

        Args:
            package: the compiled documents, PipelineSpec and PlatformSpec.
            pipeline_root: of this run's configuration.
            **arguments: values of root parameters.

        Returns:
            Task -> what became of it.
        """
        spec, platform = yaml.safe_load_all(package)
        assert rules.violations(spec, platform) == []
        definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        unknown = arguments.keys() - definitions.keys()
        assert not unknown, f"the pipeline has no parameter {unknown}"
        for name, value in arguments.items():
            # Any number is taken for a whole one, as the server does.
            wanted = str if definitions[name]["parameterType"] == "STRING" else (int, float)
            assert isinstance(value, wanted), f"input parameter {name} requires another type than {value!r}"
        root = {name: one.get("defaultValue") for name, one in definitions.items()} | arguments
        kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        return Run(self, spec, kubernetes, root, pipeline_root).walk()

    def key(self, uri: str) -> Path:
        """The place of a URI in the store."""
        return self._store / uri.replace("://", "/", 1)

    def new_name(self) -> str:
        """What metadata call a new artifact."""
        with self._lock:
            return str(next(self._ids))


class Run:
    """A run: the driver's part, task after task.

    Args:
        cluster: where it runs; None if only inputs are asked for.
        spec: the PipelineSpec.
        kubernetes: executor -> what its pod needs.
        root: root parameter -> value.
        pipeline_root: under which its outputs go.
    """

    def __init__(
        self,
        cluster: Cluster | None,
        spec: dict,
        kubernetes: dict,
        root: Mapping[str, Any],
        pipeline_root: str = DEFAULT_ROOT,
    ) -> None:
        self._cluster, self._spec, self._kubernetes, self._root = cluster, spec, kubernetes, root
        self._bucket = "/".join(pipeline_root.split("/")[:3])
        self._folder = f"{pipeline_root.rstrip('/')}/{spec['pipelineInfo']['name']}/{uuid.uuid4()}"
        self._tasks = spec["root"]["dag"]["tasks"]
        self.done: dict[str, Task] = {}

    def walk(self) -> dict[str, Task]:
        """Runs all tasks, each after those that it needs."""
        needs = {name: self.needed_by(name) for name in self._tasks}
        running: dict[concurrent.futures.Future, str] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pods:
            while len(self.done) < len(needs):
                for name in needs.keys() - self.done.keys() - set(running.values()):
                    if not needs[name] <= self.done.keys():
                        continue
                    if {self.done[one].state for one in needs[name]} & {"failed", "skipped"}:
                        self.done[name] = Task("skipped")
                    else:
                        running[pods.submit(self._run_task, name)] = name
                ended, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in ended:
                    self.done[running.pop(future)] = future.result()
        return self.done

    def needed_by(self, name: str) -> set[str]:
        """Tasks that come before: those that are named, and those whose outputs are inputs."""
        task = self._tasks[name]
        sources = [
            *task["inputs"].get("artifacts", {}).values(),
            *task["inputs"].get("parameters", {}).values(),
        ]
        producers = {
            source[kind]["producerTask"]
            for source in sources
            for kind in ("taskOutputArtifact", "taskOutputParameter")
            if kind in source
        }
        return {*task.get("dependentTasks", ()), *producers}

    def prepare(self, name: str) -> tuple[dict[str, Any], list[str]]:
        """What the driver hands the launcher: the ExecutorInput, and the command with its input parameters."""
        task = self._tasks[name]
        component, _, container = self._parts(name)
        invocation = {
            "inputs": self._resolve_inputs(task, component),
            "outputs": self._provision_outputs(name, component),
        }
        values = invocation["inputs"].get("parameterValues", {})
        command = [
            INPUT_PARAMETER.sub(lambda found: as_text(values[found[1]]), part)
            for part in (*container["command"], *container["args"])
        ]
        return invocation, command

    def _parts(self, name: str) -> tuple[dict, str, dict]:
        component = self._spec["components"][self._tasks[name]["componentRef"]["name"]]
        label = component["executorLabel"]
        return component, label, self._spec["deploymentSpec"]["executors"][label]["container"]

    def _run_task(self, name: str) -> Task:
        task = self._tasks[name]
        component, label, container = self._parts(name)
        invocation, command = self.prepare(name)
        key = self._cache_key(invocation, component, container, self._kubernetes.get(label, {}))
        caching = task["cachingOptions"].get("enableCache", False)
        if caching and key in self._cluster._cache:
            return dataclasses.replace(self._cluster._cache[key], state="cached", attempts=[])
        done = Task("failed")
        arguments = [json.dumps(invocation), json.dumps(component), *command]
        refused = [*rules.of_patch({"args": arguments, "env": container.get("env", [])})]
        if refused:
            done.message = refused[0]
            return done
        for number in itertools.count(1):
            pod = _Pod(self._cluster, name, number, copy.deepcopy(invocation), command, container, self._bucket)
            if pod.run(done):
                done.state = "succeeded"
                break
            done.message = self._why_no_other(task.get("retryPolicy"), number, pod.was_deleted)
            if done.message:
                break
        if done.state == "succeeded" and caching:
            self._cluster._cache[key] = done
        return done

    def _why_no_other(self, policy: dict[str, Any] | None, number: int, was_deleted: bool) -> str:
        """Argo's part: why there is no other attempt; empty if there is one."""
        if policy is None:
            return "Error: pod deleted" if was_deleted else "Error (exit code 1)"
        broken = list(rules.of_retries(policy))
        if broken:
            return broken[0]
        if self._cluster._retried not in ("Always", "OnError" if was_deleted else "OnFailure"):
            return "Error: pod deleted" if was_deleted else "Error (exit code 1)"
        return "No more retries left" if number > policy["maxRetryCount"] else ""

    def _resolve_inputs(self, task: dict, component: dict) -> dict[str, Any]:
        """Values of parameters, and artifacts as metadata know them."""
        parameters = {}
        for name, source in task["inputs"].get("parameters", {}).items():
            if "runtimeValue" in source:
                value = source["runtimeValue"]["constant"]
            elif "componentInputParameter" in source:
                value = self._root[source["componentInputParameter"]]
            else:
                output = source["taskOutputParameter"]
                value = self.done[output["producerTask"]].parameters[output["outputParameterKey"]]
            parameters[name] = as_number(value)
        artifacts = {}
        for name, source in task["inputs"].get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            artifact = self.done[output["producerTask"]].artifacts[output["outputArtifactKey"]]
            # Metadata do not give the schema back.
            artifacts[name] = {"artifacts": [copy.deepcopy(artifact) | {"type": {"instanceSchema": ""}}]}
        definitions = component.get("inputDefinitions", {})
        assert parameters.keys() == definitions.get("parameters", {}).keys()
        assert artifacts.keys() == definitions.get("artifacts", {}).keys()
        return without_empty({"artifacts": artifacts, "parameterValues": parameters})

    def _provision_outputs(self, name: str, component: dict) -> dict[str, Any]:
        folder = f"{self._folder}/{name}/{uuid.uuid4()}"
        definitions = component.get("outputDefinitions", {})
        types = {
            output: artifact["artifactType"] for output, artifact in definitions.get("artifacts", {}).items()
        }
        artifacts = {
            output: {"artifacts": [{"name": output, "type": kind, "uri": f"{folder}/{output}"}]}
            for output, kind in (types | {LOGS: LOGS_TYPE}).items()
        }
        for output, artifact in definitions.get("artifacts", {}).items():
            if artifact.get("metadata"):
                artifacts[output]["artifacts"][0]["metadata"] = artifact["metadata"]
        # The launcher's paths, from the pod's root on.
        parameters = {
            output: {"outputFile": f"/tmp/kfp/outputs/{output}"} for output in definitions.get("parameters", {})
        }
        return without_empty({"artifacts": artifacts, "parameters": parameters}) | {
            "outputFile": f"{local_path(folder)}/output_metadata.json"
        }

    def _cache_key(
        self, invocation: dict, component: dict, container: dict, kubernetes: dict
    ) -> tuple[str, str, str]:
        """As `GenerateCacheKey`: input artifacts by name, outputs without their URIs, the container."""
        key = {
            "inputs": {
                name: [artifact["name"] for artifact in artifacts["artifacts"]]
                for name, artifacts in invocation["inputs"].get("artifacts", {}).items()
            },
            "parameters": invocation["inputs"].get("parameterValues", {}),
            "outputs": {
                name: {field: value for field, value in artifacts["artifacts"][0].items() if field != "uri"}
                for name, artifacts in invocation["outputs"]["artifacts"].items()
            },
            "output_parameters": component.get("outputDefinitions", {}).get("parameters", {}),
            "container": {name: container.get(name) for name in ("image", "command", "args")},
            "claims": sorted({mount["constant"] for mount in kubernetes.get("pvcMount", ())}),
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self._cluster._namespace, self._spec["pipelineInfo"]["name"], digest


class _Pod:
    """One attempt, as the launcher makes it."""

    def __init__(
        self,
        cluster: Cluster,
        task: str,
        number: int,
        invocation: dict,
        command: list[str],
        container: dict,
        bucket: str,
    ) -> None:
        self._cluster, self._bucket = cluster, bucket
        self._invocation, self._command, self._container = invocation, command, container
        self._fault = cluster.faults.get((task, number))
        self._root = cluster._pods / uuid.uuid4().hex
        self._outputs = invocation["outputs"]
        for file in (self._outputs, *self._outputs.get("parameters", {}).values()):
            file["outputFile"] = f"{self._root}{file['outputFile']}"

    @property
    def was_deleted(self) -> bool:
        """Whether the pod went, and not the process in it."""
        return self._fault == "deleted"

    def run(self, task: Task) -> bool:
        """Runs the container; says whether it succeeded, and notes everything in the task."""
        try:
            for folder in ("app", "tmp"):
                (self._root / folder).mkdir(parents=True)
            for name in IMAGE_CONTENT:
                (self._root / "app" / name).symlink_to(PROJECT / name)
            for name, artifact in self._artifacts("inputs").items():
                if not artifact["uri"].startswith(f"{self._bucket}/"):
                    log = f'failed to download input artifact "{name}" from {artifact["uri"]}: Invalid region'
                    task.attempts.append(Attempt([], 1, log))
                    return False
                if self._cluster.key(artifact["uri"]).exists():
                    shutil.copytree(self._cluster.key(artifact["uri"]), self._path(artifact["uri"]))
            for artifact in self._artifacts("outputs").values():
                self._path(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
            if self._fault in ("deleted", "killed"):
                task.attempts.append(Attempt([], -9, self._fault))
                return False
            command = [self._fill_in(part) for part in self._command]
            done = subprocess.run(
                [
                    sys.executable if part == "python" else part.replace("/app/", f"{PROJECT}/")
                    for part in command[:2]
                ]
                + command[2:],
                cwd=self._root / "app",
                env=IMAGE_ENVIRONMENT
                | {"HOME": str(self._root / "tmp"), "TMPDIR": str(self._root / "tmp")}
                | {one["name"]: one["value"] for one in self._container.get("env", ())},
                umask=0,  # Argo's emissary
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            written = sorted({path.name for path in (self._root / "app").iterdir()} - set(IMAGE_CONTENT))
            if written:
                done.stdout += f"\nthe image's user cannot write to /app: {written}"
                done.returncode = done.returncode or 1
            task.attempts.append(Attempt(command, done.returncode, done.stdout))
            logs = self._cluster.key(self._artifacts("outputs")[LOGS]["uri"])
            logs.parent.mkdir(parents=True, exist_ok=True)
            logs.write_text(done.stdout)
            return not done.returncode and self._publish(task)
        finally:
            shutil.rmtree(self._root)

    def _publish(self, task: Task) -> bool:
        """Uploads the outputs and records what the task says of them."""
        file = Path(self._outputs["outputFile"])
        said = json.loads(file.read_text()) if file.exists() else {}
        for name, artifact in self._artifacts("outputs").items():
            uri = artifact["uri"]
            for source in sorted(self._path(uri).rglob("*")):
                if not source.is_file():
                    continue
                target = self._cluster.key(uri) / source.relative_to(self._path(uri))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                if self._fault == "upload":
                    task.attempts[-1].log += f"\nthe upload broke off after {target}"
                    return False
            task.artifacts[name] = recorded(name, artifact, said, self._cluster.new_name())
        for name, parameter in self._outputs.get("parameters", {}).items():
            task.parameters[name] = Path(parameter["outputFile"]).read_text()
        return True

    def _artifacts(self, side: str) -> dict[str, dict[str, Any]]:
        artifacts = self._invocation[side].get("artifacts", {})
        return {name: one["artifacts"][0] for name, one in artifacts.items()}

    def _path(self, uri: str) -> Path:
        return Path(f"{self._root}{local_path(uri)}")

    def _fill_in(self, part: str) -> str:
        """Puts values for placeholders, as the launcher's `getPlaceholders` has them."""
        values = {"": json.dumps(self._invocation)}
        for side in ("inputs", "outputs"):
            for name, artifact in self._artifacts(side).items():
                values[f".{side}.artifacts['{name}'].uri"] = artifact["uri"]
                values[f".{side}.artifacts['{name}'].path"] = str(self._path(artifact["uri"]))
        for name, parameter in self._outputs.get("parameters", {}).items():
            values[f".outputs.parameters['{name}'].output_file"] = parameter["outputFile"]
        return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), part)


def local_path(uri: str) -> str:
    """The launcher's folder for a URI: /minio/<bucket>/<key>, from the pod's root on."""
    scheme, _, key = uri.partition("://")
    return f"/{FOLDERS[scheme]}/{key}"


def recorded(name: str, artifact: dict[str, Any], said: dict[str, Any], number: str) -> dict[str, Any]:
    """What metadata keep of an output.

    Args:
        name: of the output.
        artifact: the output, as the driver has provided it.
        said: the ExecutorOutput.
        number: its number in the metadata.
    """
    metadata = dict(artifact.get("metadata", {}))
    for one in said.get("artifacts", {}).get(name, {}).get("artifacts", ())[:1]:
        metadata |= one.get("metadata", {})
    for key, value in metadata.items():
        metadata[key] = {"struct": as_number(value)} if isinstance(value, dict) else as_number(value)
    store = json.dumps(STORE, separators=(",", ":"))
    return {
        "name": number,
        "uri": artifact["uri"],
        "metadata": metadata | {"display_name": name, "store_session_info": store},
    }


def as_number(value: Any) -> Any:
    """A value as Go writes it: numbers with six decimals, and none where they are whole."""
    if isinstance(value, dict):
        return {key: as_number(one) for key, one in value.items()}
    if isinstance(value, float):
        return int(value) if value == int(value) else round(value, 6)
    return value


def as_text(value: Any) -> str:
    """A parameter's value in a command."""
    return value if isinstance(value, str) else json.dumps(value)


def without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that are in the JSON: none that is empty."""
    return {name: value for name, value in fields.items() if value}
