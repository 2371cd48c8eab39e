"""What Kubeflow's own compiler and Argo demand of a compiled pipeline, beyond what the protos do.

After the sources of Kubeflow Pipelines 2.17 (`backend/src/v2/compiler/argocompiler`, `apiserver/template`)
and Argo Workflows 4.0 (`workflow/validate`), and what a cluster with both refused or ended with; the words
are theirs where they have some.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

# Argo's names of templates, tasks and parameters; Kubernetes' name of what the workflow is called after.
ARGO_NAME = re.compile(r"[a-zA-Z0-9](-?[a-zA-Z0-9])*")
ARGO_LONGEST_NAME = 128
ARGO_PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
WORKFLOW_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# A label's value, less the hyphen and five characters that make the workflow's name its own.
LONGEST_WORKFLOW_NAME = 63 - 6
SECONDS = re.compile(r"[1-9]\d*s")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[KMGTP]i?)?")
# Beyond this Argo wants to make a ConfigMap: "configmaps is forbidden".
LONGEST_ROOT, LONGEST_PATCH = 95_000, 50_000
VALUES = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}


def violations(spec: dict[str, Any], platform: dict[str, Any]) -> list[str]:
    """Lists what would be refused, or would end a run.

    Args:
        spec: the PipelineSpec.
        platform: the PlatformSpec.

    Returns:
        A line for each; none if all is well.
    """
    executors = spec["deploymentSpec"]["executors"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return [
        *_of_the_whole(spec),
        *_of_tasks(spec, executors),
        *_of_containers(spec, executors),
        *(f"platform: executor with label {label!r} not found" for label in pods.keys() - executors.keys()),
    ]


def _of_the_whole(spec: dict[str, Any]) -> Iterator[str]:
    if spec["schemaVersion"] != "2.1.0":
        yield f"KFP only supports schema version 2.1.0, not {spec['schemaVersion']}"
    name = spec["pipelineInfo"]["name"]
    if not WORKFLOW_NAME.fullmatch(name) or len(name) > LONGEST_WORKFLOW_NAME:
        yield f"a workflow cannot be called after the pipeline: {name!r}"
    if len(_json(spec["root"])) > LONGEST_ROOT:
        yield f"configmaps is forbidden: components-root has {len(_json(spec['root']))} bytes"
    for parameter, definition in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items():
        wanted = VALUES.get(definition["parameterType"])
        if wanted is None:
            yield f"input parameter {parameter} has unspecified type"
        elif "defaultValue" in definition and not isinstance(definition["defaultValue"], wanted):
            yield f"input parameter {parameter} requires type {definition['parameterType']}"


def _of_tasks(spec: dict[str, Any], executors: dict[str, Any]) -> Iterator[str]:
    tasks = spec["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        component = task["componentRef"]["name"]
        for one in (name, f"{name}-driver", component, f"exit-hook-root-{name}"):
            if not ARGO_NAME.fullmatch(one) or len(one) > ARGO_LONGEST_NAME:
                yield f"{name}: {one!r} is no name of a template or task"
        if not ARGO_PARAMETER.fullmatch(f"kubernetes-{component}"):
            yield f"{name}: {component!r} makes no name of a parameter"
        if component not in spec["components"]:
            yield f"component spec for {component!r} not found"
            continue
        label = spec["components"][component].get("executorLabel")
        if label not in executors:
            yield f"executor with label {label!r} not found"
        sources = [
            source
            for kind in ("artifacts", "parameters")
            for source in task.get("inputs", {}).get(kind, {}).values()
        ]
        producers = [
            source[kind]["producerTask"]
            for source in sources
            for kind in ("taskOutputArtifact", "taskOutputParameter")
            if kind in source
        ]
        for producer in {*producers, *task.get("dependentTasks", ())} - tasks.keys():
            yield f"{name}: unknown producer task {producer!r} in DAG"
        for source in sources:
            root = source.get("componentInputParameter")
            if root and root not in spec["root"]["inputDefinitions"]["parameters"]:
                yield f"{name}: the pipeline has no parameter {root}"
        yield from (f"{name}: {line}" for line in of_retries(task.get("retryPolicy")))


def of_retries(policy: dict[str, Any] | None) -> Iterator[str]:
    """Lists what would keep a task from being retried.

    Args:
        policy: the task's `retryPolicy`, or None.

    Yields:
        A line for each.
    """
    if policy is None:
        return
    if not isinstance(policy.get("maxRetryCount"), int):
        yield f"value '{policy.get('maxRetryCount')}' cannot be resolved to an int (maxRetryCount)"
    factor = policy.get("backoffFactor", 0)
    if factor != int(factor):
        yield f"value '{factor}' cannot be resolved to an int (backoffFactor)"
    if not SECONDS.fullmatch(policy.get("backoffDuration", "")):
        yield f"backoffDuration {policy.get('backoffDuration')!r} is no whole number of seconds"
    if not SECONDS.fullmatch(policy.get("backoffMaxDuration", "")):
        yield "Max duration limit exceeded (backoffMaxDuration is 0 where there is none)"


def _of_containers(spec: dict[str, Any], executors: dict[str, Any]) -> Iterator[str]:
    # The compiler stores a component under its container's hash: of two with one container, it loses one.
    seen: dict[str, str] = {}
    for name, component in spec["components"].items():
        executor = executors.get(component.get("executorLabel"), {})
        if executor.keys() != {"container"}:
            yield f"{name}: no container; resolver executors not implemented"
            continue
        container = executor["container"]
        same = seen.setdefault(_json(container), name)
        if _json(spec["components"][same]) != _json(component):
            yield f"{name} and {same} have the same container and are not the same component"
        if not container.get("command"):
            yield f"{name}: the launcher needs a command; it does not see the image's"
        for field, amount in container.get("resources", {}).items():
            if field != "accelerator" and not QUANTITY.fullmatch(amount):
                yield f"{name}: quantities must match the regular expression: {field} {amount!r}"
        count = container.get("resources", {}).get("accelerator", {}).get("resourceCount", "1")
        if not count.isdecimal():
            yield f"{name}: {count!r} devices"


def of_patch(patch: dict[str, Any]) -> Iterator[str]:
    """Lists what would keep a pod from being made.

    Args:
        patch: what the driver adds to the pod's specification, with all that the container is given.

    Yields:
        A line for each.
    """
    # Argo's template holds it twice, as a parameter and as a patch, and each time as a text.
    if 2 * len(json.dumps(_json(patch))) > 2.5 * LONGEST_PATCH:
        yield f"configmaps is forbidden: the pod's patch has {len(_json(patch))} bytes"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
