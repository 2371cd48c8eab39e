"""`enformer`: asks trained models, a subcommand for each kind of question."""

import signal
import sys
import threading
from typing import Any, NoReturn

import click

from enformer_command.calibrate import calibrate
from enformer_command.contributions import contributions
from enformer_command.genes import genes
from enformer_command.haplotypes import haplotypes
from enformer_command.info import info
from enformer_command.ism import ism
from enformer_command.merge import merge
from enformer_command.plot import plot
from enformer_command.predict import predict
from enformer_command.score import score


class _Command(click.Group):
    """A group whose errors of input are a line on the error output, and exit status 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ValueError, OSError) as error:  # DatasetError is a ValueError
            if context.obj and context.obj.get("traceback"):
                raise
            message = str(error)
            if "contig_aliases" in message and "--alias" not in message:  # the library's name of it
                message += " (here: --alias CONTIG=NAME)"
            click.echo(f"enformer: {message}", err=True)
            sys.exit(1)


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 112})
@click.option("--traceback", is_flag=True, help="Show where in the code an error arose.")
@click.version_option(package_name="enformer-keras")
@click.pass_context
def main(context: click.Context, traceback: bool) -> None:
    """Ask a trained Enformer.

    MODEL is a run's folder, a pushed version, a .keras file, a checkpoint of the authors' layout, weights of
    enformer-pytorch, or a SavedModel that answers as the published one. The exit status is 0 when all is done,
    1 after an error, 2 where the command line cannot be.
    """
    context.obj = {"traceback": traceback}
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)


def _end(*_: Any) -> NoReturn:
    """Ends the process as an error does, so that files that are not whole go; the status is a shell's."""
    sys.exit(128 + signal.SIGTERM)


for _command in (calibrate, contributions, genes, haplotypes, info, ism, merge, plot, predict, score):
    main.add_command(_command)

if __name__ == "__main__":
    main()
