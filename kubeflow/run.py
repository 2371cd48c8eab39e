"""Runs the pipeline once on Kubeflow Pipelines: uploads it, starts it, and tells of its tasks until it ends.

    python kubeflow/run.py [PARAMETER=VALUE ...]     such as steps=2000 warm_start=last_blessed

The parameters are those of pipeline.yaml; others have its defaults. Unlike `kfp run create` it gives the run
the pipeline root of the configuration, and refuses a value that the tasks could not use. Server, namespace and
token come as schedule.py takes them. The exit status is 0 if all tasks succeeded.
"""

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from kubeflow.package import KubeflowError, Package, read_package  # noqa: E402
from kubeflow.server import SUCCEEDED, Progress, add_flags, connect  # noqa: E402


def read_values(texts: Sequence[str], package: Package) -> dict[str, Any]:
    """Reads the parameters of a run.

    Args:
        texts: `PARAMETER=VALUE` each.
        package: the compiled pipeline.

    Returns:
        Parameter -> value of its type.

    Raises:
        KubeflowError: a text is none, or the pipeline does not take it.
    """
    values = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not given:
            raise KubeflowError(f"{text!r} is no PARAMETER=VALUE")
        values[name] = package.parse(name, value)
    package.check(values, "this run")
    return values


def report(package: Package, ended: Progress) -> str:
    """Makes a line of how a run ended.

    Args:
        package: what it ran.
        ended: its end.

    Returns:
        The line; more if it failed.
    """
    succeeded = sum(state == SUCCEEDED for state in ended.tasks.values())
    count = f"{succeeded} of {len(package.tasks)} tasks, {ended.cached} of them from the cache"
    line = f"{ended.state.lower()}: {count}"
    if ended.state == SUCCEEDED:
        return line
    others = [f"  {task}: {ended.tasks.get(task, 'not begun').lower()}" for task in package.tasks]
    return "\n".join([line, *([ended.error] if ended.error else []), *others])


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: as on the command line; None takes those.

    Returns:
        The exit status: 0 if the run succeeded, or was started and is not waited for.
    """
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("values", nargs="*", metavar="PARAMETER=VALUE")
    parser.add_argument("--experiment", default="enformer", help="collects runs (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=24 * 7, help="to wait (default: %(default)s)")
    parser.add_argument("--detach", action="store_true", help="start it and do not wait")
    add_flags(parser)
    options = parser.parse_args(arguments)
    try:
        package = read_package(options.pipeline)
        values = read_values(options.values, package)
        server = connect(options)
        pipeline, version = server.upload(package)
        experiment = server.experiment(options.experiment)
        name = f"{package.name} {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S}"
        run = server.run(name, values, package.root, pipeline=pipeline, version=version, experiment=experiment)
        print(f"{name}: run {run}", flush=True)
        if options.detach:
            return 0
        ended = server.wait(run, package, lambda line: print(f"  {line}", flush=True), options.hours * 3600)
    except KubeflowError as error:
        print(error, file=sys.stderr)
        return 1
    print(report(package, ended))
    return int(ended.state != SUCCEEDED)


if __name__ == "__main__":
    sys.exit(main())
