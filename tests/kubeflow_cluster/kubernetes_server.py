"""Kubernetes' API, as far as the test on a cluster asks it; a pod that has a command is a process here.

Claims and ConfigMaps are folders. A folder of the container among the arguments of the command becomes the one
that stands for it. Names, sizes, the fields of a claim and the `restricted` standard for pods are held to what
Kubernetes' reference says; everything else is taken as it comes.
"""

import base64
import datetime
import itertools
import json
import re
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
PATH = re.compile(r"/api/v1/namespaces/(?P<namespace>[\w-]+)/(?P<kind>\w+)(/(?P<name>[\w-]+))?(?P<log>/log)?")
KINDS = {"persistentvolumeclaims": "claims", "configmaps": "config_maps", "pods": "pods"}
PLURAL = {"persistentvolumeclaims": "PersistentVolumeClaim", "configmaps": "ConfigMap", "pods": "Pod"}
LARGEST_CONFIG_MAP = 1_048_576


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class KubernetesServer(ThreadingHTTPServer):
    """A cluster of one namespace.

    Args:
        folder: for what lies on claims.
        namespace: its name.

    Attributes:
        claims, config_maps, pods: name -> object.
        logs: pod -> what it has printed.
        folders: claim or ConfigMap -> the folder that stands for it.
        ended: the pods that were deleted or whose deadline was set, as (pod, how).
        forbidden: (method, kind) pairs that are answered with 403.
    """

    daemon_threads = True

    def __init__(self, folder, namespace="kubeflow"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.namespace = folder, namespace
        self.claims, self.config_maps, self.pods = {}, {}, {}
        self.logs, self.folders, self.ended, self.forbidden = {}, {}, [], set()
        self._seconds = itertools.count()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add_pod(self, name, run, node, log="", phase="Succeeded"):
        """Adds a pod of a run, as Argo does."""
        metadata = {
            "name": name,
            "labels": {"pipeline/runid": run},
            "annotations": {"workflows.argoproj.io/node-name": node},
        }
        self.pods[name] = self._stamped({"metadata": metadata, "status": {"phase": phase}})
        self.logs[name] = log

    def _stamped(self, body):
        moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            seconds=next(self._seconds)
        )
        body["metadata"]["creationTimestamp"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        body["metadata"]["namespace"] = self.namespace
        return body

    def answer(self, method, kind, name, query, body):
        """Carries out a request."""
        collection = getattr(self, KINDS[kind])
        if (method, kind) in self.forbidden:
            raise RefusedError(403, f"{kind} is forbidden")
        if name is not None and name not in collection:
            raise RefusedError(404, f'{kind} "{name}" not found')
        if method == "GET" and name is None:
            label, _, value = query["labelSelector"].partition("=")
            found = [
                one for one in collection.values() if one["metadata"].get("labels", {}).get(label) == value
            ]
            return {"kind": f"{PLURAL[kind]}List", "apiVersion": "v1", "items": found}
        if method == "GET":
            return collection[name]
        if method == "POST":
            return self._create(kind, collection, body)
        if method == "DELETE":
            self.ended.append((name, "deleted"))
            return collection.pop(name)
        if method == "PATCH":
            if not isinstance(body["spec"]["activeDeadlineSeconds"], int):
                raise RefusedError(422, "activeDeadlineSeconds")
            self.ended.append((name, "ended"))
            return collection[name]
        raise RefusedError(405, method)

    def _create(self, kind, collection, body):
        name = body["metadata"]["name"]
        if not NAME.fullmatch(name) or len(name) > 63:
            raise RefusedError(422, f"{name}: not a DNS label")
        if name in collection:
            raise RefusedError(409, f"{name} exists")
        getattr(self, f"_create_{kind}")(name, body)
        collection[name] = self._stamped(body)
        return body

    def _create_persistentvolumeclaims(self, name, body):
        spec = body["spec"]
        if not set(spec["accessModes"]) <= {"ReadWriteOnce", "ReadWriteMany"} or spec.keys() - {
            "accessModes",
            "resources",
            "storageClassName",
        }:
            raise RefusedError(422, "spec")
        self.folders[name] = self.folder / name
        self.folders[name].mkdir()

    def _create_configmaps(self, name, body):
        self.folders[name] = self.folder / name
        self.folders[name].mkdir()
        if sum(map(len, body["binaryData"].values())) > LARGEST_CONFIG_MAP:
            raise RefusedError(413, "too large")
        for file, content in body["binaryData"].items():
            (self.folders[name] / file).write_bytes(base64.b64decode(content, validate=True))

    def _create_pods(self, name, body):
        [container] = body["spec"]["containers"]
        security = container["securityContext"]
        strict = security["runAsNonRoot"] and not security["allowPrivilegeEscalation"]
        if not strict or security["capabilities"] != {"drop": ["ALL"]}:
            raise RefusedError(403, "violates PodSecurity restricted")
        sources = {}
        for volume in body["spec"]["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            sources[volume["name"]] = claim or volume["configMap"]["name"]
        mounts = {
            mount["mountPath"]: self.folders[sources[mount["name"]]] for mount in container["volumeMounts"]
        }
        command = [sys.executable if part == "python" else part for part in container["command"]]
        for place, folder in mounts.items():
            command[3:] = [part.replace(place, str(folder), 1) for part in command[3:]]
        body["status"] = {"phase": "Pending"}

        def work():
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            self.logs[name] = done.stdout
            body["status"]["phase"] = "Failed" if done.returncode else "Succeeded"

        threading.Thread(target=work).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def _serve(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = "application/json"
        try:
            found = PATH.fullmatch(url.path)
            if not found or found["kind"] not in KINDS or found["namespace"] != self.server.namespace:
                raise RefusedError(404, f"no such resource: {url.path}")
            body = json.loads(content) if content else None
            if found["log"]:
                pod = self.server.pods.get(found["name"])
                if pod is None:
                    raise RefusedError(404, "no such pod")
                if pod["status"]["phase"] == "Pending":
                    raise RefusedError(400, "container is waiting to start")
                status, text, kind = 200, self.server.logs[found["name"]].encode(), "text/plain"
            else:
                answer = self.server.answer(self.command, found["kind"], found["name"], query, body)
                status, text = 200, json.dumps(answer).encode()
        except RefusedError as refused:
            status = refused.status
            text = json.dumps({"kind": "Status", "message": str(refused), "code": status}).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815
