"""What the cluster is told of each task, from `config.yaml`."""

from typing import Any

from kubeflow.config import Config, ConfigError, Task

# Components that a pipeline may do without, whatever is said of them.
_NOT_ALWAYS = {"VariantScorer"}


def add_needs(spec: dict[str, Any], config: Config, uncached: str) -> None:
    """Writes what tasks need into the PipelineSpec: resources, environment, retries, caching.

    Args:
        spec: as TFX names things; changed in place.
        config: what they need.
        uncached: the task that is never taken from the cache.

    Raises:
        ConfigError: the configuration names a component that there is not.
    """
    tasks = spec["root"]["dag"]["tasks"]
    unknown = sorted(config.components.keys() - tasks.keys() - _NOT_ALWAYS)
    if unknown:
        raise ConfigError(f"components: there is no {', '.join(unknown)}; the components are {sorted(tasks)}")
    for name, task in tasks.items():
        wants = config.task(name)
        container = spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]
        container["resources"] = {
            "resourceCpuRequest": wants.cpu,
            "resourceCpuLimit": wants.cpu_limit or wants.cpu,
            "resourceMemoryRequest": wants.memory,
            "resourceMemoryLimit": wants.memory_limit or wants.memory,
        }
        if wants.accelerator:
            container["resources"]["accelerator"] = {
                "resourceType": wants.accelerator.type,
                "resourceCount": str(wants.accelerator.count),
            }
        env = wants.env
        if wants.accelerator and wants.accelerator.is_tpu:
            env = {
                "TPU_NAME": "local"
            } | env  # chips that do not answer are an error, and not a training on CPUs
        if env:
            container["env"] = [{"name": key, "value": value} for key, value in sorted(env.items())]
        cached = wants.cache and name != uncached
        task["cachingOptions"] = {"enableCache": True} if cached else {}
        if wants.retries.count:
            task["retryPolicy"] = {
                "maxRetryCount": wants.retries.count,
                "backoffDuration": f"{wants.retries.wait_s}s",
                "backoffFactor": wants.retries.factor,
                # Without it Kubeflow's compiler writes 0, and Argo gives up at the first failure.
                "backoffMaxDuration": f"{wants.retries.deadline_s}s",
            }


def pod_needs(task: Task, config: Config) -> dict[str, Any]:
    """Makes what Kubernetes must know of a task's pod.

    Args:
        task: what the task needs.
        config: what all tasks need.

    Returns:
        A KubernetesExecutorConfig, as kfp-kubernetes 2.16 writes it: with old and new fields of one meaning.
    """
    wants = {
        "imagePullSecret": [_secret(name) for name in config.image_pull_secrets],
        "pvcMount": [
            {"mountPath": volume.mount, "constant": volume.claim, "pvcNameParameter": _constant(volume.claim)}
            for volume in config.volumes
        ],
        "nodeSelector": {"labels": dict(task.node_selector)} if task.node_selector else {},
        "tolerations": [
            toleration.model_dump(exclude_none=True, exclude_defaults=True) | {"operator": toleration.operator}
            for toleration in task.tolerations
        ],
        "secretAsEnv": [
            _secret(secret.name)
            | {"keyToEnv": [{"envVar": variable, "secretKey": key} for variable, key in secret.env.items()]}
            for secret in task.secrets
            if secret.env
        ],
        "secretAsVolume": [
            _secret(secret.name) | {"mountPath": secret.mount} for secret in task.secrets if secret.mount
        ],
    }
    return {name: value for name, value in wants.items() if value}


def _secret(name: str) -> dict[str, Any]:
    return {"secretName": name, "secretNameParameter": _constant(name)}


def _constant(value: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}
