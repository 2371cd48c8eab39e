"""A namespace of Kubernetes, as far as the test on a cluster needs it: claims, and pods that end.

Through the ordinary Python client, which reads the same settings as `kubectl` does.
"""

import base64
import contextlib
import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes
import urllib3

# What the manifests of Kubeflow Pipelines write on pods, and Argo too.
RUN_LABEL = "pipeline/runid"
NODE_ANNOTATION = "workflows.argoproj.io/node-name"
EXECUTOR = re.compile(r"\.root\.([^.]+)\.executor(?:\(\d+\))?$")
POLL_S = 2
GIVEN = "/given"


class NamespaceError(Exception):
    """Kubernetes does not do what was asked; the message says what, and why."""


class Namespace:
    """A namespace.

    Args:
        name: its name.
        client: of the cluster; None for the one that `kubectl` would ask.

    Raises:
        NamespaceError: there is none.
    """

    def __init__(self, name: str, client: kubernetes.client.ApiClient | None = None) -> None:
        self.name = name
        if client is None:
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # it tells where it has looked
                    kubernetes.config.load_config()
            except (kubernetes.config.ConfigException, OSError) as error:
                raise NamespaceError(f"no cluster is set up for kubectl here ({error})") from error
        self._core = kubernetes.client.CoreV1Api(client)

    def check(self) -> None:
        """Raises NamespaceError if pods of the namespace cannot be listed."""
        self.pods("none")

    def claim(self, name: str, size: str, access: str, storage_class: str | None) -> bool:
        """Makes a PersistentVolumeClaim, unless it is there.

        Args:
            name: its name.
            size: of its volume, as Kubernetes writes quantities.
            access: such as `ReadWriteMany`.
            storage_class: None for the cluster's own.

        Returns:
            Whether it was made.
        """
        try:
            self._core.read_namespaced_persistent_volume_claim(name, self.name)
            return False
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise self._refused(f"read claim {name}", error) from error
        spec = {"accessModes": [access], "resources": {"requests": {"storage": size}}}
        if storage_class:
            spec["storageClassName"] = storage_class
        body = {"metadata": {"name": name}, "spec": spec}
        with self._doing(f"make claim {name}"):
            self._core.create_namespaced_persistent_volume_claim(self.name, body)
        return True

    def remove_claim(self, name: str) -> None:
        """Removes a claim."""
        with self._doing(f"remove claim {name}"):
            self._core.delete_namespaced_persistent_volume_claim(name, self.name)

    def execute(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        mounts: Mapping[str, str],
        *,
        given: Path | None = None,
        pull_secrets: Sequence[str] = (),
        limit_s: float = 900,
    ) -> str:
        """Runs a command in a pod of its own, and removes the pod.

        Args:
            name: of the pod, and of the ConfigMap.
            image: that it has.
            command: what it runs.
            mounts: claim -> folder.
            given: a file that the command finds in `GIVEN`; less than 1 MB.
            pull_secrets: that the image's registry asks for.
            limit_s: how long to wait for its end.

        Returns:
            What it printed.

        Raises:
            NamespaceError: it failed, or did not end.
        """
        volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in mounts]
        mounted = [{"name": claim, "mountPath": folder} for claim, folder in mounts.items()]
        with contextlib.ExitStack() as made:
            if given:
                content = base64.b64encode(given.read_bytes()).decode()
                body = {"metadata": {"name": name}, "binaryData": {given.name: content}}
                with self._doing(f"make ConfigMap {name}"):
                    self._core.create_namespaced_config_map(self.name, body)
                made.callback(self._remove, self._core.delete_namespaced_config_map, name)
                volumes.append({"name": "given", "configMap": {"name": name}})
                mounted.append({"name": "given", "mountPath": GIVEN})
            # As strict as a namespace may ask for; the image's user is 1000.
            container = {
                "name": "main",
                "image": image,
                "command": list(command),
                "volumeMounts": mounted,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
            }
            pod = {
                "metadata": {"name": name, "annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [container],
                    "volumes": volumes,
                    "imagePullSecrets": [{"name": secret} for secret in pull_secrets],
                },
            }
            with self._doing(f"make pod {name}"):
                self._core.create_namespaced_pod(self.name, pod)
            made.callback(self._remove, self._core.delete_namespaced_pod, name)
            return self._wait_for(name, limit_s)

    def _wait_for(self, name: str, limit_s: float) -> str:
        begun = time.monotonic()
        while True:
            with self._doing(f"look at pod {name}"):
                status = self._core.read_namespaced_pod(name, self.name).status
            if status.phase == "Succeeded":
                return self.log(name)
            if status.phase == "Failed":
                raise NamespaceError(f"pod {name} failed: {status.message or ''}\n{self.log(name)[-3000:]}")
            if time.monotonic() - begun > limit_s:
                waits = [
                    state.state.waiting.reason
                    for state in status.container_statuses or []
                    if state.state and state.state.waiting
                ]
                reasons = [one.message for one in status.conditions or [] if one.message]
                why = "; ".join([*waits, *reasons]) or "no reason is given"
                raise NamespaceError(f"pod {name} is {status.phase} after {limit_s:g} seconds: {why}")
            time.sleep(POLL_S)

    def pods(self, run: str) -> dict[str, list[Any]]:
        """Finds the pods in which the tasks of a run have run.

        Args:
            run: its identifier.

        Returns:
            Task -> its pods, the oldest first; tasks from the cache have none.
        """
        with self._doing("list pods"):
            found = self._core.list_namespaced_pod(self.name, label_selector=f"{RUN_LABEL}={run}").items
        tasks: dict[str, list[Any]] = {}
        for pod in sorted(found, key=lambda pod: pod.metadata.creation_timestamp):
            node = EXECUTOR.search((pod.metadata.annotations or {}).get(NODE_ANNOTATION, ""))
            if node:
                tasks.setdefault(node[1], []).append(pod)
        return tasks

    def log(self, pod: str) -> str:
        """Reads what a pod's main container has printed; empty where it has not begun, or is gone."""
        try:
            return self._core.read_namespaced_pod_log(pod, self.name, container="main") or ""
        except kubernetes.client.ApiException as error:
            if error.status in (400, 404):
                return ""
            raise self._refused(f"read the log of pod {pod}", error) from error

    def delete(self, pod: str) -> None:
        """Deletes a pod at once, as a node's failure does: to Argo, an error."""
        with self._doing(f"delete pod {pod}"):
            self._core.delete_namespaced_pod(pod, self.name, grace_period_seconds=0)

    def end(self, pod: str) -> None:
        """Lets a pod's time be over: its process is killed, and the pod has failed; to Argo, a failure."""
        with self._doing(f"end pod {pod}"):
            self._core.patch_namespaced_pod(pod, self.name, {"spec": {"activeDeadlineSeconds": 1}})

    def _remove(self, delete: Any, name: str) -> None:
        try:
            delete(name, self.name)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise self._refused(f"remove {name}", error) from error

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except kubernetes.client.ApiException as error:
            raise self._refused(what, error) from error
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise NamespaceError(f"namespace {self.name}: could not {what}: {error}") from error

    def _refused(self, what: str, error: Any) -> NamespaceError:
        return NamespaceError(
            f"namespace {self.name}: could not {what}: {error.status} {error.reason} {str(error.body)[:500]}"
        )
