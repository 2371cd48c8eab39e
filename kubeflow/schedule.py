"""Runs the pipeline on a schedule: makes, shows, pauses and deletes its recurring run on Kubeflow Pipelines.

    python kubeflow/schedule.py create|show|pause|resume|delete

What is to run, and when, is `schedule` in config.yaml: the recurring run's name, the experiment that collects
its runs, a cron expression of six fields, and runtime parameters of pipeline.yaml. The server is `--endpoint`
or KFP_ENDPOINT, a user's namespace `--namespace` or KFP_NAMESPACE, and a bearer token KFP_EXISTING_TOKEN, as
for the `kfp` command. There is no flag for the token: every user of the machine could see it.

Runs go one at a time, and of several times that were missed only the last is made up for.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import yaml

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from kubeflow.cron import Cron, parse_cron  # noqa: E402

FOLDER = Path(__file__).parent
# No time of the schedule may be nearer than this to its replacement: the server looks every ten seconds.
MARGIN = datetime.timedelta(seconds=15)
PARAMETER_TYPES: dict[str, type | tuple[type, ...]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


class ScheduleError(Exception):
    """The command cannot do what it was asked; the message says why, and what stays on the server."""


class Schedule(pydantic.BaseModel):
    """What `schedule` in config.yaml says.

    Attributes:
        name: the recurring run's, and the one by which it is found again.
        experiment: the experiment that collects its runs.
        cron: when it runs, in the server's time zone.
        parameters: runtime parameters of the pipeline by name; the others have the pipeline's defaults.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str = pydantic.Field(min_length=1)
    experiment: str = pydantic.Field(min_length=1)
    cron: str
    parameters: dict[str, Any] = {}

    @pydantic.field_validator("cron")
    @classmethod
    def _is_cron(cls, cron: str) -> str:
        parse_cron(cron)
        return cron


def read_schedule(config: Path) -> Schedule:
    """Reads the schedule.

    Args:
        config: the YAML file.

    Returns:
        What it says under `schedule`.

    Raises:
        ScheduleError: the file cannot be read or a field is wrong.
    """
    content = _read_yaml(config, "write it")
    if not isinstance(content, dict) or not isinstance(content.get("schedule"), dict):
        raise ScheduleError(f"{config}: has no mapping `schedule`; add one with name, experiment and cron")
    try:
        return Schedule.model_validate(content["schedule"])
    except pydantic.ValidationError as error:
        problems = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()]
        raise ScheduleError("\n".join(f"{config}: schedule.{at}: {what}" for at, what in problems)) from error


def read_pipeline_name(package: Path, parameters: dict[str, Any]) -> str:
    """Reads a compiled pipeline's name, and checks what a run of it is to be given.

    Args:
        package: pipeline.yaml.
        parameters: runtime parameters by name.

    Returns:
        The pipeline's name.

    Raises:
        ScheduleError: the file is no compiled pipeline, or a parameter is not its, is of another type, or is
            missing.
    """
    spec = _read_yaml(package, "run `make kubeflow`")
    try:
        name = spec["pipelineInfo"]["name"]
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    except (KeyError, TypeError, AttributeError) as error:
        raise ScheduleError(f"{package}: is no compiled pipeline; run `make kubeflow`") from error
    for parameter, value in parameters.items():
        if parameter not in known:
            raise ScheduleError(f"schedule.parameters: {package} has no {parameter}; it has {', '.join(known)}")
        wanted = known[parameter]["parameterType"]
        is_truth = isinstance(value, bool) and wanted != "BOOLEAN"  # to Python a bool is an int
        if is_truth or not isinstance(value, PARAMETER_TYPES[wanted]):
            raise ScheduleError(f"schedule.parameters: {parameter} is {value!r}, {package} takes a {wanted}")
    for parameter, definition in known.items():
        optional = "defaultValue" in definition or definition.get("isOptional", False)
        if not optional and parameter not in parameters:
            raise ScheduleError(f"schedule.parameters: {package} has no default for {parameter}; add it")
    return name


def _read_yaml(path: Path, cure: str) -> Any:
    try:
        # A compiled pipeline is followed by a second document, of the platform.
        return next(yaml.safe_load_all(path.read_text(encoding="utf-8")), None)
    except FileNotFoundError as error:
        raise ScheduleError(f"{path}: is not there; {cure}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ScheduleError(f"{path}: cannot be read: {error}") from error


class Server:
    """A Kubeflow Pipelines API server.

    Args:
        endpoint: its address.
        namespace: a user's namespace where the server has several users, else None.
        token: a bearer token, or None.
        timeout: seconds to wait for each answer.

    Raises:
        ScheduleError: it does not answer as Kubeflow Pipelines does.
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
        if self._ask("reach it", self._client.get_kfp_healthz).multi_user and not namespace:
            raise ScheduleError(f"{endpoint} has several users: set --namespace or KFP_NAMESPACE to yours")

    def upload(self, package: Path, name: str) -> tuple[str, str]:
        """Uploads a compiled pipeline, unless it is there: a version is named by its content.

        Args:
            package: pipeline.yaml.
            name: the pipeline's.

        Returns:
            Identifiers of the pipeline and of the version.
        """
        pipelines = self._named("pipelines", self._client.list_pipelines, name, namespace=self._namespace)
        if pipelines:
            pipeline = pipelines[0].pipeline_id
        else:
            # Not by an upload, whose first version would be named like the pipeline.
            model = self._models.V2beta1Pipeline(name=name, display_name=name, namespace=self._namespace)
            create = self._client.pipelines.pipeline_service_create_pipeline
            pipeline = self._ask("create the pipeline", create, model).pipeline_id
            self.stays.append(f"pipeline {name}")
        content = hashlib.sha256(package.read_bytes()).hexdigest()[:16]
        version = f"{name}-{content}"
        list_versions = self._client.list_pipeline_versions
        versions = self._named("pipeline_versions", list_versions, version, pipeline_id=pipeline)
        if versions:
            return pipeline, versions[0].pipeline_version_id
        upload = self._client.upload_pipeline_version
        uploaded = self._ask("upload the pipeline", upload, str(package), version, pipeline_id=pipeline)
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

    def recurring_runs(self, schedule: Schedule) -> list[Any]:
        """Finds the recurring runs that a schedule has made: one, or more where a replacement was cut off.

        Args:
            schedule: its name and experiment are looked for.

        Returns:
            The recurring runs, newest first.
        """
        list_experiments, list_runs = self._client.list_experiments, self._client.list_recurring_runs
        runs = []
        for experiment in self._named(
            "experiments", list_experiments, schedule.experiment, namespace=self._namespace
        ):
            identifier = experiment.experiment_id
            runs += self._named("recurring_runs", list_runs, schedule.name, experiment_id=identifier)
        return sorted(runs, key=lambda run: run.created_at, reverse=True)

    def create(self, schedule: Schedule, pipeline: str, version: str, experiment: str, enabled: bool) -> Any:
        """Makes a recurring run.

        Args:
            schedule: name, times and parameters.
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
            schedule.name,
            cron_expression=schedule.cron,
            max_concurrency=1,
            no_catchup=True,
            params=schedule.parameters,
            pipeline_id=pipeline,
            version_id=version,
            enabled=enabled,
        )

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
        arguments |= {"filter": json.dumps({"predicates": [predicate]}), "page_size": 100, "page_token": ""}
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
            with _time_limit(self._timeout):
                return function(*arguments, **named)
        except _LateError as error:
            raise ScheduleError(f"{failed}: no answer in {self._timeout:g} seconds; it may be done") from error
        except self._refusal as error:
            raise ScheduleError(f"{failed}: {self._reason(error)}") from error
        except self._failures as error:
            raise ScheduleError(f"{failed}: {error}") from error

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
    """No TimeoutError, which the client would take for a socket's, and try again."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    # The client has no such setting, and a socket's would begin anew with every byte that drips in.
    def stop(*_: Any) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def create(server: Server, schedule: Schedule, package: Path, pipeline_name: str) -> None:
    """Makes the recurring run, or makes it what the schedule says.

    A recurring run cannot be changed, so another takes its place: made without running, when no time of either
    is near; then the old one is disabled, the new one enabled, and the old one deleted. So two are never
    enabled, and since the server counts from a recurring run's making, a time that falls in between is made up
    for. Where a step fails, the new one is deleted and the old one enabled again. What a killed command leaves,
    the next one clears away; killed between the two, it leaves the schedule paused. A paused schedule stays so.

    Args:
        server: where.
        schedule: what is wanted.
        package: pipeline.yaml.
        pipeline_name: the name in it.

    Raises:
        ScheduleError: a step failed.
    """
    pipeline, version = server.upload(package, pipeline_name)
    experiment = server.experiment(schedule.experiment)
    wanted = _settings(schedule.cron, version, schedule.parameters, at_a_time=1, catches_up=False)
    found = server.recurring_runs(schedule)
    if not found:
        new = server.create(schedule, pipeline, version, experiment, enabled=True)
        print(f"{schedule.name}: made, recurring run {new.recurring_run_id}")
        return
    running = [run for run in found if _is_enabled(run)]
    # One that was left disabled while another ran would run the last time that it missed.
    kept = [run for run in running or found if _settings_of(run) == wanted]
    if kept:
        new, what = kept[0], "unchanged"
    else:
        before = _settings_of((running or found)[0])
        what = f"replaced ({', '.join(key for key in wanted if before[key] != wanted[key])})"
        if running:
            _wait_for_quiet([schedule.cron, *(_settings_of(run)["cron"] for run in running)])
        new = server.create(schedule, pipeline, version, experiment, enabled=False)
        if running:
            _hand_over(server, running, new)
    for run in found:
        if run is not new:
            server.delete(run)
    state = "" if running else ", paused as before: `resume` starts it"
    print(f"{schedule.name}: {what}, recurring run {new.recurring_run_id}{state}")


def _hand_over(server: Server, running: list[Any], new: Any) -> None:
    try:
        for run in running:
            server.pause(run)
        server.resume(new)
    except BaseException as error:
        try:
            server.delete(new)  # first, lest two run where an answer was lost
            for run in running:
                server.resume(run)
        except ScheduleError as second:
            raise ScheduleError(f"{error}\n{second}\nit may be paused now: `create`, then `resume`") from second
        raise


def _wait_for_quiet(crons: list[str]) -> None:
    times = []
    for text in crons:
        with contextlib.suppress(ValueError):  # of a recurring run that this command has not made
            times.append(parse_cron(text))
    for _ in range(60):
        if is_quiet(times, datetime.datetime.now(datetime.UTC)):
            return
        time.sleep(1)
    print("it runs so often that a time may be run twice, or by neither, as it is replaced", file=sys.stderr)


def is_quiet(crons: list[Cron], now: datetime.datetime) -> bool:
    """Says whether no time of a schedule can be within `MARGIN` of a moment.

    Args:
        crons: the schedule's times, before and after.
        now: the moment.

    Returns:
        Whether the schedule can be replaced now.
    """
    margin = int(MARGIN.total_seconds())
    near = [now + datetime.timedelta(seconds=second) for second in range(-margin, margin + 1)]
    return not any(cron.may_fall_on(moment) for cron in crons for moment in near)


def _settings(
    cron: str, version: str, parameters: dict[str, Any], at_a_time: int, catches_up: bool
) -> dict[str, Any]:
    return {
        "cron": cron,
        "pipeline version": version,
        "parameters": parameters,
        "at a time": at_a_time,
        "catches up": catches_up,
    }


def _settings_of(run: Any) -> dict[str, Any]:
    cron = run.trigger and run.trigger.cron_schedule and run.trigger.cron_schedule.cron
    reference, config = run.pipeline_version_reference, run.runtime_config
    return _settings(
        cron or "",
        reference.pipeline_version_id if reference else "",
        (config and config.parameters) or {},
        at_a_time=int(run.max_concurrency or 0),
        catches_up=not run.no_catchup,
    )


def _is_enabled(run: Any) -> bool:
    return run.status == "ENABLED"


def show(run: Any) -> None:
    """Prints a recurring run, a line for each setting."""
    state = "enabled" if _is_enabled(run) else "paused"
    print(f"{run.display_name}: recurring run {run.recurring_run_id}, {state}")
    for key, value in _settings_of(run).items():
        print(f"  {key}: {json.dumps(value)}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: as on the command line; None takes those.

    Returns:
        The exit status: 0, or 1 if it could not do what it was asked.
    """
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["create", "show", "pause", "resume", "delete"])
    parser.add_argument("--config", type=Path, default=FOLDER / "config.yaml", help="(default: %(default)s)")
    parser.add_argument(
        "--pipeline", type=Path, default=FOLDER / "pipeline.yaml", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--endpoint", default=os.environ.get("KFP_ENDPOINT"), help="such as http://localhost:8888"
    )
    parser.add_argument("--namespace", default=os.environ.get("KFP_NAMESPACE"), help="yours, of several users")
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds for each answer (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.timeout <= 0:
        parser.error("--timeout must be above 0")
    try:
        _run(options)
    except ScheduleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    schedule = read_schedule(options.config)
    pipeline_name = ""
    if options.action == "create":
        pipeline_name = read_pipeline_name(options.pipeline, schedule.parameters)
    if not options.endpoint:
        raise ScheduleError("which server? set --endpoint or KFP_ENDPOINT, such as http://localhost:8888")
    server = Server(options.endpoint, options.namespace, os.environ.get("KFP_EXISTING_TOKEN"), options.timeout)
    if options.action == "create":
        try:
            create(server, schedule, options.pipeline, pipeline_name)
        except ScheduleError as error:
            if not server.stays:
                raise
            stays = f"stays on the server, for the next `create`: {', '.join(server.stays)}"
            raise ScheduleError(f"{error}\n{stays}") from error
        return
    found = server.recurring_runs(schedule)
    if not found:
        raise ScheduleError(
            f"{options.endpoint}: experiment {schedule.experiment} has no {schedule.name}; `create` it"
        )
    if options.action == "show":
        for run in found:
            show(run)
    elif options.action == "resume":
        server.resume(found[0])
        print(f"{schedule.name}: resumed")
    else:
        act, done = (server.pause, "paused") if options.action == "pause" else (server.delete, "deleted")
        for run in found:
            act(run)
        print(f"{schedule.name}: {done}")


if __name__ == "__main__":
    sys.exit(main())
