"""Runs a compiled pipeline as Kubeflow Pipelines' backend does; a process is a pod, a folder the bucket.

Written after the backend's own sources: driver (`backend/src/v2/driver`: inputs, cache), launcher
(`component/launcher_v2.go`: placeholders, files) and cache key (`cacheutils/cache.go`).

Each attempt of a task gets a pod: a new folder that goes when it ends, with its working directory, its
temporary files and copies of its inputs; a new process; and of the environment what image and task say. The
image is this checkout, the storage a folder, and claims are mounted where they lie already.
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

PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")
# What a container has of the image, whatever the task.
IMAGE_ENVIRONMENT = {"PATH": os.environ["PATH"], "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}


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
    """

    state: str
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


class Cluster:
    """A namespace with Kubeflow Pipelines: its bucket, its cache, and the runs.

    Args:
        folder: for the bucket and the pods.

    Attributes:
        bucket: where the files of s3://bucket lie.
        faults: (task, number of the attempt from 1 on) -> what happens to it: `evicted` before its process
            starts, or its `upload` breaks off after the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.bucket = folder / "bucket"
        self._pods = folder / "pods"
        self._cache: dict[str, Task] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self.faults: dict[tuple[str, int], str] = {}

    def run(self, package: str, **arguments: Any) -> dict[str, Task]:
        """Runs a pipeline to its end.

        Args:
            package: the compiled documents, PipelineSpec and PlatformSpec.
            **arguments: values of root parameters.

        Returns:
            Task -> what became of it.
        """
        spec, platform = yaml.safe_load_all(package)
        definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        unknown = arguments.keys() - definitions.keys()
        assert not unknown, f"the pipeline has no parameter {unknown}"
        root = {name: one.get("defaultValue") for name, one in definitions.items()} | arguments
        run = _Run(self, spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"], root)
        return run.walk()

    def key(self, uri: str) -> Path:
        """The place of a URI in the bucket."""
        return self.bucket / uri.removeprefix("s3://bucket/")

    def new_name(self) -> str:
        """What metadata call a new artifact."""
        with self._lock:
            return str(next(self._ids))


class _Run:
    def __init__(self, cluster: Cluster, spec: dict, kubernetes: dict, root: Mapping[str, Any]) -> None:
        self._cluster, self._spec, self._kubernetes, self._root = cluster, spec, kubernetes, root
        self._folder = f"s3://bucket/{spec['pipelineInfo']['name']}/{uuid.uuid4()}"
        self._tasks = spec["root"]["dag"]["tasks"]
        self._done: dict[str, Task] = {}

    def walk(self) -> dict[str, Task]:
        needs = {name: self._needed_by(task) for name, task in self._tasks.items()}
        running: dict[concurrent.futures.Future, str] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pods:
            while len(self._done) < len(needs):
                for name in needs.keys() - self._done.keys() - set(running.values()):
                    if not needs[name] <= self._done.keys():
                        continue
                    if {self._done[one].state for one in needs[name]} & {"failed", "skipped"}:
                        self._done[name] = Task("skipped")
                    else:
                        running[pods.submit(self._run_task, name)] = name
                ended, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in ended:
                    self._done[running.pop(future)] = future.result()
        return self._done

    @staticmethod
    def _needed_by(task: dict) -> set[str]:
        """Tasks that come before: those that are named, and those whose outputs are inputs."""
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

    def _run_task(self, name: str) -> Task:
        task = self._tasks[name]
        component = self._spec["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = self._spec["deploymentSpec"]["executors"][label]["container"]
        invocation = {
            "inputs": self._resolve_inputs(task, component),
            "outputs": self._provision_outputs(task, component),
        }
        key = self._cache_key(invocation, component, container, self._kubernetes.get(label, {}))
        caching = task["cachingOptions"].get("enableCache", False)
        if caching and key in self._cluster._cache:
            return dataclasses.replace(self._cluster._cache[key], state="cached", attempts=[])
        done = Task("failed")
        for number in range(1 + task.get("retryPolicy", {}).get("maxRetryCount", 0)):
            pod = _Pod(self._cluster, name, number + 1, copy.deepcopy(invocation), container)
            if pod.run(done):
                done.state = "succeeded"
                break
        if done.state == "succeeded" and caching:
            self._cluster._cache[key] = done
        return done

    def _resolve_inputs(self, task: dict, component: dict) -> dict[str, Any]:
        """The driver's part: values of parameters, and artifacts as metadata know them."""
        parameters = {}
        for name, source in task["inputs"].get("parameters", {}).items():
            if "runtimeValue" in source:
                parameters[name] = source["runtimeValue"]["constant"]
            elif "componentInputParameter" in source:
                parameters[name] = self._root[source["componentInputParameter"]]
            else:
                output = source["taskOutputParameter"]
                parameters[name] = self._done[output["producerTask"]].parameters[output["outputParameterKey"]]
        artifacts = {}
        for name, source in task["inputs"].get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            artifact = self._done[output["producerTask"]].artifacts[output["outputArtifactKey"]]
            # Metadata do not give the schema back.
            artifacts[name] = {"artifacts": [copy.deepcopy(artifact) | {"type": {"instanceSchema": ""}}]}
        assert parameters.keys() == component.get("inputDefinitions", {}).get("parameters", {}).keys()
        assert artifacts.keys() == component.get("inputDefinitions", {}).get("artifacts", {}).keys()
        return {"parameterValues": parameters, "artifacts": artifacts}

    def _provision_outputs(self, task: dict, component: dict) -> dict[str, Any]:
        folder = f"{self._folder}/{task['taskInfo']['name']}/{uuid.uuid4()}"
        definitions = component.get("outputDefinitions", {})
        return {
            "artifacts": {
                name: {
                    "artifacts": [
                        {
                            "type": artifact["artifactType"],
                            "uri": f"{folder}/{name}",
                            "metadata": artifact.get("metadata", {}),
                        }
                    ]
                }
                for name, artifact in definitions.get("artifacts", {}).items()
            },
            # The launcher's paths, from the pod's root on.
            "parameters": {
                name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in definitions.get("parameters", {})
            },
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        }

    @staticmethod
    def _cache_key(invocation: dict, component: dict, container: dict, kubernetes: dict) -> str:
        """As `GenerateCacheKey`: input artifacts by name, outputs without their URIs, the container."""
        key = {
            "inputs": {
                name: [artifact["name"] for artifact in artifacts["artifacts"]]
                for name, artifacts in invocation["inputs"]["artifacts"].items()
            },
            "parameters": invocation["inputs"]["parameterValues"],
            "outputs": component.get("outputDefinitions", {}),
            "container": {name: container.get(name) for name in ("image", "command", "args", "env")},
            "claims": sorted({mount["constant"] for mount in kubernetes.get("pvcMount", ())}),
        }
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


class _Pod:
    """One attempt, as the launcher makes it."""

    def __init__(self, cluster: Cluster, task: str, number: int, invocation: dict, container: dict) -> None:
        self._cluster = cluster
        self._invocation, self._container = invocation, container
        self._fault = cluster.faults.get((task, number))
        self._root = cluster._pods / uuid.uuid4().hex
        for file in (invocation["outputs"], *invocation["outputs"]["parameters"].values()):
            file["outputFile"] = f"{self._root}{file['outputFile']}"

    def run(self, task: Task) -> bool:
        """Runs the container; says whether it succeeded, and notes everything in the task."""
        try:
            for folder in ("work", "home", "tmp"):
                (self._root / folder).mkdir(parents=True)
            for artifact in self._artifacts("inputs").values():
                if self._cluster.key(artifact["uri"]).exists():
                    shutil.copytree(self._cluster.key(artifact["uri"]), self._path(artifact["uri"]))
            for artifact in self._artifacts("outputs").values():
                self._path(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
            if self._fault == "evicted":
                task.attempts.append(Attempt([], -9, "evicted"))
                return False
            command = [self._fill_in(part) for part in (*self._container["command"], *self._container["args"])]
            done = subprocess.run(
                [
                    sys.executable if part == "python" else part.replace("/app/", f"{PROJECT}/")
                    for part in command[:2]
                ]
                + command[2:],
                cwd=self._root / "work",
                env=IMAGE_ENVIRONMENT
                | {"HOME": str(self._root / "home"), "TMPDIR": str(self._root / "tmp")}
                | {one["name"]: one["value"] for one in self._container.get("env", ())},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            task.attempts.append(Attempt(command, done.returncode, done.stdout))
            if done.returncode:
                return False
            return self._publish(task)
        finally:
            shutil.rmtree(self._root)

    def _publish(self, task: Task) -> bool:
        """Uploads the outputs and records what the task says of them."""
        outputs = self._invocation["outputs"]
        file = Path(outputs["outputFile"])
        said = json.loads(file.read_text()) if file.exists() else {}
        for name, artifact in self._artifacts("outputs").items():
            for one in said.get("artifacts", {}).get(name, {}).get("artifacts", ())[:1]:
                artifact["uri"] = one.get("uri") or artifact["uri"]
                artifact["metadata"] |= one.get("metadata", {})
            for source in sorted(self._path(artifact["uri"]).rglob("*")):
                if not source.is_file():
                    continue
                target = self._cluster.key(artifact["uri"]) / source.relative_to(self._path(artifact["uri"]))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                if self._fault == "upload":
                    task.attempts[-1].log += f"\nthe upload broke off after {target}"
                    return False
            task.artifacts[name] = {
                "name": self._cluster.new_name(),
                "uri": artifact["uri"],
                "metadata": json.loads(json.dumps(artifact["metadata"]), parse_int=float),
            }
        for name, parameter in outputs["parameters"].items():
            task.parameters[name] = Path(parameter["outputFile"]).read_text()
        return True

    def _artifacts(self, side: str) -> dict[str, dict[str, Any]]:
        return {name: one["artifacts"][0] for name, one in self._invocation[side]["artifacts"].items()}

    def _path(self, uri: str) -> Path:
        """The launcher's folder for a URI: /s3/<bucket>/<key>, from the pod's root on."""
        return self._root / "s3" / uri.removeprefix("s3://")

    def _fill_in(self, part: str) -> str:
        """Puts values for placeholders, as the launcher's `getPlaceholders` has them."""
        values = {"": json.dumps(self._invocation)}
        for side in ("inputs", "outputs"):
            for name, artifact in self._artifacts(side).items():
                values[f".{side}.artifacts['{name}'].uri"] = artifact["uri"]
                values[f".{side}.artifacts['{name}'].path"] = str(self._path(artifact["uri"]))
        for name, value in self._invocation["inputs"]["parameterValues"].items():
            values[f".inputs.parameters['{name}']"] = value if isinstance(value, str) else json.dumps(value)
        for name, parameter in self._invocation["outputs"]["parameters"].items():
            values[f".outputs.parameters['{name}'].output_file"] = parameter["outputFile"]
        return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), part)
