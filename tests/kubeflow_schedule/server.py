"""A server of Kubeflow Pipelines' REST API that keeps to its published description, and holds its client to it.

It stands in for a cluster. What a request may be is in v2beta1.yaml, not taken from the client under test. What
a run's parameters may be is in the package that was uploaded, as the server of 2.17 has it (v2_template.go): it
takes any number for a whole one.
"""

import datetime
import email
import functools
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import yaml

SPECIFICATION = yaml.safe_load(Path(__file__).with_name("v2beta1.yaml").read_text())


@functools.cache
def validator(name):
    """Returns what holds a value to a definition or parameter; fields that are in no definition are refused."""
    definitions = {
        key: {"type": "object", "additionalProperties": False} | schema if "properties" in schema else schema
        for key, schema in SPECIFICATION["definitions"].items()
    }
    start = SPECIFICATION["parameters"].get(name, {"$ref": f"#/definitions/{name}"})
    return jsonschema.Draft7Validator(
        start | {"definitions": definitions}, format_checker=jsonschema.FormatChecker()
    )


def check(value, name):
    """Raises a ValidationError where a value is not what the description says."""
    validator(name).validate(value)


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status, message=""):
        super().__init__(message)
        self.status = status


class Instantly:
    """A backend in which all runs have succeeded as soon as they are looked at."""

    def start(self, run):
        """Begins nothing."""

    def look(self, run):
        """Ends it."""
        run["state"] = "SUCCEEDED"


class KubeflowServer(ThreadingHTTPServer):
    """A server in memory.

    Attributes:
        requests: (method, path) of each request, in order.
        violations: what requests had that the description forbids.
        hanging: set once a request hangs.
        enabled: after each request, how many recurring runs are enabled.
        backend: makes runs: `start(run)` when one is made, and `look(run)` whenever one is asked for, which may
            change it; a recurring run starts its first when runs are listed.
        token: the bearer token that is asked for, or None.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests, self.violations, self.enabled = [], [], []
        self.token, self.multi_user = None, False
        self._failures = []
        self.hanging, self.released = threading.Event(), threading.Event()
        self.pipelines, self.versions, self.experiments, self.recurring_runs = {}, {}, {}, {}
        self.files, self.deleted, self.runs = {}, [], {}
        self.backend = Instantly()
        self._count = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def new(self, kind, collection, **fields):
        """Adds a resource with an identifier and a time of its own."""
        self._count += 1
        created = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self._count)
        identifier = f"{kind}-{self._count}"
        collection[identifier] = {f"{kind}_id": identifier, "created_at": created.isoformat(), **fields}
        return collection[identifier]

    def fail(self, method, path, how, times=1):
        """Lets requests fail.

        Args:
            method: theirs.
            path: pattern of the whole path.
            how: a status; "hang": no answer; "lose": done, but no answer; "page": a web page.
            times: how many of them, the next ones.
        """
        self._failures += [(method, path, how)] * times

    def next_failure(self, method, path):
        """Takes the failure that is due for a request, if there is one."""
        for failure in self._failures:
            if failure[0] == method and re.fullmatch(failure[1], path):
                self._failures.remove(failure)
                return failure[2]
        return None

    def answer(self, method, path, query, body):
        """Carries out a request that the description allows."""
        match method.lower(), path.removeprefix("/apis/v2beta1/").split("/"):
            case "get", ["healthz"]:
                return {"multi_user": self.multi_user}
            case "get", ["pipelines"]:
                return self._page("pipelines", self.pipelines, query)
            case "post", ["pipelines"]:
                if any(pipeline["name"] == body["name"] for pipeline in self.pipelines.values()):
                    raise RefusedError(409, "the pipeline exists")
                return self.new("pipeline", self.pipelines, **{"display_name": body["name"], **body})
            case "post", ["pipelines", "upload_version"]:
                if query.get("pipelineid") not in self.pipelines:
                    raise RefusedError(404, "no such pipeline")
                names = {"name": query["name"], "display_name": query.get("display_name", query["name"])}
                made = self.new("pipeline_version", self.versions, pipeline_id=query["pipelineid"], **names)
                self.files[made["pipeline_version_id"]] = body
                return made
            case "get", ["pipelines", pipeline, "versions"]:
                versions = {key: each for key, each in self.versions.items() if each["pipeline_id"] == pipeline}
                return self._page("pipeline_versions", versions, query)
            case "delete", ["pipelines", pipeline]:
                if any(each["pipeline_id"] == pipeline for each in self.versions.values()):
                    raise RefusedError(400, "the pipeline has versions")
                return self._delete(self.pipelines, pipeline)
            case "delete", ["pipelines", _, "versions", version]:
                return self._delete(self.versions, version)
            case "delete", ["experiments", experiment]:
                return self._delete(self.experiments, experiment)
            case "get", ["runs"]:
                for recurring in [run for run in self.recurring_runs.values() if run["status"] == "ENABLED"]:
                    identifier = recurring["recurring_run_id"]
                    if not any(run.get("recurring_run_id") == identifier for run in self.runs.values()):
                        kept = ("experiment_id", "display_name", "pipeline_version_reference", "runtime_config")
                        self._start({key: recurring[key] for key in kept if key in recurring}, identifier)
                runs = {
                    key: run for key, run in self.runs.items() if run["experiment_id"] == query["experiment_id"]
                }
                return self._page("runs", runs, query)
            case "post", ["runs"]:
                return self._start(body)
            case "get", ["runs", identifier]:
                if identifier not in self.runs:
                    raise RefusedError(404, "no such run")
                self.backend.look(self.runs[identifier])
                return self.runs[identifier]
            case "delete", ["runs", identifier]:
                return self._delete(self.runs, identifier)
            case "get", ["experiments"]:
                return self._page("experiments", self.experiments, query)
            case "post", ["experiments"]:
                return self.new("experiment", self.experiments, storage_state="AVAILABLE", **body)
            case "get", ["recurringruns"]:
                own = {
                    key: run
                    for key, run in self.recurring_runs.items()
                    if run["experiment_id"] == query.get("experiment_id", run["experiment_id"])
                }
                return self._page("recurringRuns", own, query)
            case "post", ["recurringruns"]:
                reference = body["pipeline_version_reference"]
                if reference["pipeline_version_id"] not in self.versions:
                    raise RefusedError(404, "no such version")
                if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
                    raise RefusedError(400, "cron")
                self._check_parameters(body)
                status = body["mode"] + "D"
                return self.new("recurring_run", self.recurring_runs, **body, status=status)
            case "post", ["recurringruns", action]:
                identifier, _, verb = action.partition(":")
                self._run(identifier)["status"] = verb.upper() + "D"
                return {}
            case "delete", ["recurringruns", identifier]:
                self._run(identifier)
                self.deleted.append((identifier, query.get("propagation_policy")))
                del self.recurring_runs[identifier]
                return {}
        raise RefusedError(404, "no such operation")

    def _start(self, body, recurring_run=None):
        reference = body["pipeline_version_reference"]
        if reference["pipeline_version_id"] not in self.versions:
            raise RefusedError(404, "no such version")
        self._check_parameters(body)
        more = {"recurring_run_id": recurring_run} if recurring_run else {}
        run = self.new("run", self.runs, **body, **more, state="PENDING")
        self.backend.start(run)
        return run

    def _check_parameters(self, body):
        spec = self.spec(body["pipeline_version_reference"]["pipeline_version_id"])
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body.get("runtime_config", {}).get("parameters", {})
        for name, value in given.items():
            if name not in known:
                raise RefusedError(400, f"parameter {name} provided is not required")
            kind = known[name]["parameterType"]
            wanted = {"STRING": str, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}.get(kind, (int, float))
            if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "BOOLEAN"):
                raise RefusedError(400, f"input parameter {name} requires type {kind}")
        for name, definition in known.items():
            if name not in given and "defaultValue" not in definition and not definition.get("isOptional"):
                raise RefusedError(400, f"parameter {name} is not optional")

    def spec(self, version):
        """The PipelineSpec of a version."""
        return next(yaml.safe_load_all(self.files[version]))

    def _delete(self, collection, identifier):
        if identifier not in collection:
            raise RefusedError(404, "nothing of that name")
        del collection[identifier]
        return {}

    def _run(self, identifier):
        if identifier not in self.recurring_runs:
            raise RefusedError(404, "no such recurring run")
        return self.recurring_runs[identifier]

    def _page(self, field, collection, query):
        found = list(collection.values())
        if "filter" in query:
            for predicate in json.loads(query["filter"])["predicates"]:
                wanted = predicate.get("string_value", predicate.get("stringValue"))
                found = [each for each in found if each[predicate["key"]] == wanted]
        start = int(query.get("page_token") or 0)
        page = found[start : start + 1]  # one to a page, so that clients that read only the first are found out
        more = {"next_page_token": str(start + 1)} if start + 1 < len(found) else {}
        return {field: page, "total_size": len(found), **more}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece, or the network waits

    def log_message(self, *_):
        pass

    def _serve(self):
        server, url = self.server, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.requests.append((self.command, url.path))
        failure = server.next_failure(self.command, url.path)
        try:
            operation = self._operation(url.path)
            body = self._checked(operation, query, content)
            if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                raise RefusedError(401, "Unauthenticated")
            if failure == "hang":
                server.hanging.set()
                server.released.wait(30)
                self.close_connection = True
                return
            if isinstance(failure, int):
                raise RefusedError(failure, "as the test wants")
            status, answer = 200, server.answer(self.command, url.path, query, body)
            if "response" in operation:
                check(answer, operation["response"])
            server.enabled.append(sum(run["status"] == "ENABLED" for run in server.recurring_runs.values()))
            if failure == "lose":
                self.close_connection = True
                return
        except RefusedError as refused:
            status, answer = refused.status, {"error": str(refused), "code": 2, "message": str(refused)}
        text = json.dumps(answer).encode()
        kind = "application/json"
        if failure == "page":
            status, text, kind = 200, b"<html>sign in</html>", "text/html"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def _operation(self, path):
        for template, methods in SPECIFICATION["paths"].items():
            pattern = re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(template))
            if re.fullmatch(pattern, path) and self.command.lower() in methods:
                return methods[self.command.lower()]
        return self._violation(f"{self.command} {path} is no operation")

    def _checked(self, operation, query, content):
        for name, value in query.items():
            try:
                if name not in operation.get("query", []):
                    raise jsonschema.ValidationError(f"{name} is no parameter of {self.command} {self.path}")
                if name == "filter":
                    if value:
                        check(json.loads(value), "Filter")
                else:
                    check(value, name)
            except jsonschema.ValidationError as error:
                self._violation(error.message)
        if "file" in operation:
            kind = self.headers["Content-Type"]
            message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content)
            parts = {
                part.get_param("name", header="Content-Disposition"): part for part in message.get_payload()
            }
            if set(parts) != {operation["file"]}:
                self._violation(f"the form's parts are {set(parts)}")
            return parts[operation["file"]].get_payload(decode=True)
        if "body" not in operation:
            if content and json.loads(content):
                self._violation(f"{self.command} {self.path} takes no body")
            return None
        body = json.loads(content)
        try:
            check(body, operation["body"])
            missing = [field for field in operation["required"] if field not in body]
            if missing:
                raise jsonschema.ValidationError(f"{operation['body']} lacks {missing}")
        except jsonschema.ValidationError as error:
            self._violation(error.message)
        return body

    def _violation(self, message):
        self.server.violations.append(message)
        raise RefusedError(400, message)
