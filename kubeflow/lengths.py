"""How long a text Argo hands to a task's pod, which Linux limits."""

import json
from typing import Any

from kubeflow.errors import CompileError

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
