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
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import pydantic

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from kubeflow.cron import Cron, parse_cron  # noqa: E402
from kubeflow.package import KubeflowError, Package, read_package, read_yaml  # noqa: E402
from kubeflow.server import Server, add_flags, connect  # noqa: E402

FOLDER = Path(__file__).parent
# No time of the schedule may be nearer than this to its replacement: the server looks every ten seconds.
MARGIN = datetime.timedelta(seconds=15)


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
        KubeflowError: the file cannot be read or a field is wrong.
    """
    content = read_yaml(config, "write it")
    if not isinstance(content, dict) or not isinstance(content.get("schedule"), dict):
        raise KubeflowError(f"{config}: has no mapping `schedule`; add one with name, experiment and cron")
    try:
        return Schedule.model_validate(content["schedule"])
    except pydantic.ValidationError as error:
        problems = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()]
        raise KubeflowError("\n".join(f"{config}: schedule.{at}: {what}" for at, what in problems)) from error


def create(server: Server, schedule: Schedule, package: Package) -> None:
    """Makes the recurring run, or makes it what the schedule says.

    A recurring run cannot be changed, so another takes its place: made without running, when no time of either
    is near; then the old one is disabled, the new one enabled, and the old one deleted. So two are never
    enabled, and since the server counts from a recurring run's making, a time that falls in between is made up
    for. Where a step fails, the new one is deleted and the old one enabled again. What a killed command leaves,
    the next one clears away; killed between the two, it leaves the schedule paused. A paused schedule stays so.

    Args:
        server: where.
        schedule: what is wanted.
        package: the compiled pipeline.

    Raises:
        KubeflowError: a step failed.
    """
    pipeline, version = server.upload(package)
    experiment = server.experiment(schedule.experiment)
    root = package.root or ""
    wanted = _settings(schedule.cron, version, schedule.parameters, root, at_a_time=1, catches_up=False)
    found = server.recurring_runs(schedule.experiment, schedule.name)
    make = functools.partial(
        server.create,
        *(schedule.name, schedule.cron, schedule.parameters, package.root),
        pipeline=pipeline,
        version=version,
        experiment=experiment,
    )
    if not found:
        new = make(enabled=True)
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
        new = make(enabled=False)
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
        except KubeflowError as second:
            raise KubeflowError(f"{error}\n{second}\nit may be paused now: `create`, then `resume`") from second
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
    cron: str, version: str, parameters: dict[str, Any], root: str, *, at_a_time: int, catches_up: bool
) -> dict[str, Any]:
    return {
        "cron": cron,
        "pipeline version": version,
        "parameters": parameters,
        "pipeline root": root,
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
        (config and config.pipeline_root) or "",
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
    add_flags(parser)
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except KubeflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    schedule = read_schedule(options.config)
    package = None
    if options.action == "create":
        package = read_package(options.pipeline)
        package.check(schedule.parameters, "schedule.parameters")
    server = connect(options)
    if package:
        try:
            create(server, schedule, package)
        except KubeflowError as error:
            if not server.stays:
                raise
            stays = f"stays on the server, for the next `create`: {', '.join(server.stays)}"
            raise KubeflowError(f"{error}\n{stays}") from error
        return
    found = server.recurring_runs(schedule.experiment, schedule.name)
    if not found:
        raise KubeflowError(
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
