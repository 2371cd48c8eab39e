"""A Kubeflow Pipelines API server, asked through its ordinary client, and no answer waited for without an end.

What schedule.py and run.py have in common.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubeflow.package import PIPELINE, KubeflowError, Package

# A run's states in which nothing more will happen, and the one that is wanted.
SUCCEEDED = "SUCCEEDED"
ENDED = (SUCCEEDED, "FAILED", "CANCELED", "SKIPPED")
# Seconds between two looks at a run.
POLL_S = 5


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a command that asks a server.

    Args:
        parser: of the command.
    """
    parser.add_argument("--pipeline", type=Path, default=PIPELINE, help="(default: %(default)s)")
    parser.add_argument(
        "--endpoint", default=os.environ.get("KFP_ENDPOINT"), help="such as http://localhost:8888"
    )
    parser.add_argument("--namespace", default=os.environ.get("KFP_NAMESPACE"), help="yours, of several users")
    parser.add_argument(
        "--timeout", type=_above_0, default=60, help="seconds for each answer (default: %(default)s)"
    )


def _above_0(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number of seconds above 0")
    return seconds


def connect(options: argparse.Namespace) -> "Server":
    """Finds the server that the flags name.

    Args:
        options: with the flags of `add_flags`.

    Returns:
        The server.

    Raises:
        KubeflowError: they name none, or it does not answer as Kubeflow Pipelines does.
    """
    if not options.endpoint:
        raise KubeflowError("which server? set --endpoint or KFP_ENDPOINT, such as http://localhost:8888")
    token = os.environ.get("KFP_EXISTING_TOKEN")
    return Server(options.endpoint, options.namespace, token, options.timeout)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        state: the run's, a RuntimeState of the API.
        tasks: task -> its state; those that have not begun are missing.
        cached: how many tasks were taken from the cache.
        error: what the server says of a failure.
    """

    state: str
    tasks: Mapping[str, str]
    cached: int
    error: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


class Server:
    """A Kubeflow Pipelines API server.

    Args:
        endpoint: its address.
        namespace: a user's namespace where the server has several users; others have no use for it.
        token: a bearer token, or None.
        timeout: seconds to wait for each answer.

    Raises:
        KubeflowError: it does not answer as Kubeflow Pipelines does.
    """

    def __init__(self, endpoint: str, namespace: str | None, token: str | None, timeout: float) -> None:
        # Here, because it takes seconds: --help and bad files do without.
        import kfp
        import kfp_server_api
        import urllib3

        class Client(kfp.Client):
            """Asks for the server's health once; kfp's own tries for half a minute, whatever the answer."""

            def get_kfp_healthz(self, sleep_duration: int = 0) -> kfp_server_api.V2beta1GetHealthzResponse:
                answer = self.healthzs.healthz_service_get_healthz(_preload_content=False)
                try:
                    health = json.loads(answer.data)
                except ValueError as error:
                    raise ValueError("it answers with a page, as to sign in; set KFP_EXISTING_TOKEN") from error
                return kfp_server_api.V2beta1GetHealthzResponse(multi_user=health.get("multi_user", False))

        logging.getLogger("urllib3").setLevel(logging.ERROR)  # not a warning of each attempt
        self._refusal = kfp_server_api.ApiException
        self._failures = (urllib3.exceptions.HTTPError, OSError, ValueError)
        self._models = kfp_server_api
        self._endpoint, self._namespace, self._token, self._timeout = endpoint, namespace, token, timeout
        self.stays: list[str] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that it speaks version 2 alone
            self._client = self._ask(
                "reach it", Client, host=endpoint, namespace=namespace, existing_token=token
            )
        several = self._ask("reach it", self._client.get_kfp_healthz).multi_user
        if several and not namespace:
            raise KubeflowError(f"{endpoint} has several users: set --namespace or KFP_NAMESPACE to yours")
        if not several:
            self._namespace = None

    def upload(self, package: Package) -> tuple[str, str]:
        """Uploads a compiled pipeline, unless it is there: a version is named by its content.

        Args:
            package: what to upload.

        Returns:
            Identifiers of the pipeline and of the version.
        """
        name = package.name
        pipelines = self._named("pipelines", self._client.list_pipelines, name, namespace=self._namespace)
        if pipelines:
            pipeline = pipelines[0].pipeline_id
        else:
            # Not by an upload, whose first version would be named like the pipeline.
            model = self._models.V2beta1Pipeline(name=name, display_name=name, namespace=self._namespace)
            create = self._client.pipelines.pipeline_service_create_pipeline
            pipeline = self._ask("create the pipeline", create, model).pipeline_id
            self.stays.append(f"pipeline {name}")
        content = hashlib.sha256(package.file.read_bytes()).hexdigest()[:16]
        version = f"{name}-{content}"
        list_versions = self._client.list_pipeline_versions
        versions = self._named("pipeline_versions", list_versions, version, pipeline_id=pipeline)
        if versions:
            return pipeline, versions[0].pipeline_version_id
        upload = self._client.upload_pipeline_version
        uploaded = self._ask("upload the pipeline", upload, str(package.file), version, pipeline_id=pipeline)
        self.stays.append(f"version {version}")
        return pipeline, uploaded.pipeline_version_id

    def experiment(self, name: str) -> str:
        """Finds an experiment, or creates it.

        Args:
            name: the experiment's.

        Returns:
            Its identifier.
        """
        create = self._client.create_experiment
        return self._ask("create the experiment", create, name, namespace=self._namespace).experiment_id

    def recurring_runs(self, experiment: str, name: str) -> list[Any]:
        """Finds the recurring runs that a schedule has made: one, or more where a replacement was cut off.

        Args:
            experiment: name of the experiment that they are in.
            name: theirs.

        Returns:
            The recurring runs, newest first.
        """
        list_experiments, list_runs = self._client.list_experiments, self._client.list_recurring_runs
        runs = []
        for found in self._named("experiments", list_experiments, experiment, namespace=self._namespace):
            runs += self._named("recurring_runs", list_runs, name, experiment_id=found.experiment_id)
        return sorted(runs, key=lambda run: run.created_at, reverse=True)

    def create(
        self,
        name: str,
        cron: str,
        parameters: Mapping[str, Any],
        root: str | None,
        *,
        pipeline: str,
        version: str,
        experiment: str,
        enabled: bool,
    ) -> Any:
        """Makes a recurring run.

        Args:
            name: its name.
            cron: its times.
            parameters: of its runs, by name.
            root: pipeline root of its runs; None for the installation's.
            pipeline: identifier of the pipeline.
            version: identifier of its version.
            experiment: identifier of the experiment.
            enabled: whether it runs; else it waits until it is resumed.

        Returns:
            The recurring run.
        """
        return self._ask(
            "create the recurring run",
            self._client.create_recurring_run,
            experiment,
            name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(parameters),
            pipeline_root=root,
            pipeline_id=pipeline,
            version_id=version,
            enabled=enabled,
        )

    def run(
        self,
        name: str,
        parameters: Mapping[str, Any],
        root: str | None,
        *,
        pipeline: str,
        version: str,
        experiment: str,
    ) -> str:
        """Starts a run.

        Args:
            name: its name.
            parameters: of the run, by name.
            root: its pipeline root; None for the installation's.
            pipeline: identifier of the pipeline.
            version: identifier of its version.
            experiment: identifier of the experiment.

        Returns:
            Its identifier.
        """
        run = self._ask(
            "start the run",
            self._client.run_pipeline,
            experiment,
            name,
            params=dict(parameters),
            pipeline_root=root,
            pipeline_id=pipeline,
            version_id=version,
        )
        return run.run_id

    def progress(self, run: str, package: Package) -> Progress:
        """Asks how far a run has come.

        Args:
            run: its identifier.
            package: what it runs.

        Returns:
            Where it is.
        """
        found = self._ask(f"ask for run {run}", self._client.get_run, run)
        details = (found.run_details and found.run_details.task_details) or []
        # Argo's nodes, by their names alone: a task's is named as in the pipeline, and that of its container
        # `executor`, which is skipped where the cache has what it would make.
        states = [(one.display_name or "", one.state or "") for one in details]
        return Progress(
            found.state or "",
            {name: state for name, state in states if name in package.tasks},
            sum(name == "executor" and state == "SKIPPED" for name, state in states),
            found.error.message if found.error else "",
        )

    def wait(self, run: str, package: Package, say: Callable[[str], None], limit_s: float) -> Progress:
        """Waits for a run to end, and tells of each step.

        Args:
            run: its identifier.
            package: what it runs.
            say: takes a line for every change.
            limit_s: how long to wait.

        Returns:
            Where it ended.

        Raises:
            KubeflowError: it has not ended in time; it goes on.
        """
        told: dict[str, str] = {}
        begun = time.monotonic()
        while True:
            now = self.progress(run, package)
            for task, state in now.tasks.items():
                if told.get(task) != state:
                    say(f"{task}: {state.lower()}")
            told = dict(now.tasks)
            if now.has_ended:
                return now
            if time.monotonic() - begun > limit_s:
                raise KubeflowError(
                    f"{self._endpoint}: run {run} has not ended in {limit_s:g} seconds, and goes on; its "
                    f"tasks: {told or 'none has begun'}"
                )
            time.sleep(POLL_S)

    def runs_of(self, recurring: str, experiment: str) -> list[str]:
        """Lists the runs that a recurring run has started.

        Args:
            recurring: its identifier.
            experiment: identifier of the experiment.

        Returns:
            Their identifiers.
        """
        runs = self._all("runs", self._client.list_runs, experiment_id=experiment)
        return [run.run_id for run in runs if run.recurring_run_id == recurring]

    def remove(self, kind: str, *identifiers: str) -> None:
        """Removes something for good.

        Args:
            kind: `run`, `pipeline`, `pipeline_version` or `experiment`.
            *identifiers: its own; of a version, after that of its pipeline.
        """
        self._ask(f"delete {kind} {identifiers[-1]}", getattr(self._client, f"delete_{kind}"), *identifiers)

    def pause(self, run: Any) -> None:
        """Disables a recurring run; what it has started goes on."""
        disable = self._client.disable_recurring_run
        self._ask(f"pause recurring run {run.recurring_run_id}", disable, run.recurring_run_id)

    def resume(self, run: Any) -> None:
        """Enables a recurring run."""
        enable = self._client.enable_recurring_run
        self._ask(f"resume recurring run {run.recurring_run_id}", enable, run.recurring_run_id)

    def delete(self, run: Any) -> None:
        """Deletes a recurring run; what it has started goes on, which needs a server of 2.16 or later."""
        identifier = run.recurring_run_id
        delete = self._client.recurring_runs.recurring_run_service_delete_recurring_run
        self._ask(f"delete recurring run {identifier}", delete, identifier, propagation_policy="ORPHAN")

    def _named(self, field: str, function: Callable[..., Any], name: str, **arguments: Any) -> list[Any]:
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        return self._all(field, function, filter=json.dumps({"predicates": [predicate]}), **arguments)

    def _all(self, field: str, function: Callable[..., Any], **arguments: Any) -> list[Any]:
        arguments |= {"page_size": 100, "page_token": ""}
        found: list[Any] = []
        while True:
            page = self._ask(f"list {field.replace('_', ' ')}", function, **arguments)
            found += getattr(page, field) or []
            arguments["page_token"] = page.next_page_token
            if not page.next_page_token:
                return found

    def _ask(self, doing: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        failed = f"{self._endpoint}: could not {doing}"
        try:
            return _within(self._timeout, lambda: function(*arguments, **named))
        except _LateError as error:
            raise KubeflowError(f"{failed}: no answer in {self._timeout:g} seconds; it may be done") from error
        except self._refusal as error:
            raise KubeflowError(f"{failed}: {self._reason(error)}") from error
        except self._failures as error:
            raise KubeflowError(f"{failed}: {error}") from error

    def _reason(self, error: Any) -> str:
        where = f"namespace {self._namespace}" if self._namespace else "this server"
        cures = {
            401: "KFP_EXISTING_TOKEN is refused; is it out of date?"
            if self._token
            else "it wants credentials; set KFP_EXISTING_TOKEN",
            403: f"these credentials may not do that in {where}",
            404: "not found; is the endpoint Kubeflow Pipelines' own, of version 2?",
            409: "it exists already; if nobody else is at it, run this again",
        }
        try:
            said = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            said = error.reason
        other = "it is refused" if error.status < 500 else "the server failed"
        return f"{error.status}, {cures.get(error.status, other)} ({str(said).strip()[:500]})"


class _LateError(Exception):
    """There was no answer in time."""


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """Returns what a request is answered, or raises its error; `_LateError` where neither comes in time.

    The client has no such setting, and a socket's would begin anew with every byte that drips in. The request
    has a thread of its own, in which one that is late goes on: an exception thrown into it, as a signal's
    handler can, may leave a lock taken for ever.
    """
    answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # for who waits for it
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    done, _ = concurrent.futures.wait([answer], timeout=seconds)
    if not done:
        raise _LateError
    return answer.result()
