"""Work in parts: it goes on where a run ended before, here or on Beam."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from enformer_command.beam_options import BeamOptions
from enformer_command.options import AveragingOptions, GenomeOptions, ModelOptions, OutputOptions
from enformer_command.progress import counting

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.prediction.jobs import Asked, SlicedJob
    from enformer_keras.prediction.parts import Job, PartsFolder
    from enformer_keras.prediction.predictor import Predictor

_Job = TypeVar("_Job", bound="SlicedJob")


def asked_of(
    model: ModelOptions,
    predictor: Predictor,
    source: GenomeOptions,
    genome: Genome,
    tracks: Sequence[int],
    averaging: AveragingOptions,
) -> Asked:
    """Returns what is asked of a model and a genome, which are open."""
    from enformer_keras.prediction.jobs import Asked, Opened

    return Asked(
        predictor.card.path or model.path,
        source.fasta,
        model.arguments,
        source.aliases,
        tuple(tracks),
        averaging.strands,
        tuple(averaging.shifts),
        opened=Opened(predictor, genome),
    )


@contextlib.contextmanager
def parts_of(job: SlicedJob, output: OutputOptions, beam: BeamOptions, *, unit: str) -> Iterator[PartsFolder]:
    """Does what is missing of a job.

    Args:
        job: the work; model and genome are open.
        output: where the parts are until the results are.
        beam: who does it.
        unit: what its items are, for the progress.

    Yields:
        The parts, which are there until the block ends without an error.

    Raises:
        ValueError: the folder has parts of another question; a worker of Beam's failed.
        OSError: a file cannot be written.
    """
    from enformer_keras.prediction.parts import PARTS, PartsFolder, sweep

    folder = output.folder / PARTS
    sweep(folder)
    parts = PartsFolder(folder, job.question, job.num_parts, anew=output.overwrite)
    with parts.held():
        parts.check()
        yield from _done(job, parts, output, beam, unit)


def _done(
    job: SlicedJob, parts: PartsFolder, output: OutputOptions, beam: BeamOptions, unit: str
) -> Iterator[PartsFolder]:
    from enformer_keras.prediction.parts import work

    missing = set(parts.missing())
    there = [index for index in range(job.num_parts) if index not in missing]
    if there:
        click.echo(f"goes on: {len(there)} of {job.num_parts} parts are there", err=True)
    try:
        done = sum(len(job.items(index)) for index in there)
        with counting(unit=unit, total=job.num_items, done=done, quiet=output.quiet) as count:
            if beam.is_asked:
                for index in on_beam(job, parts, beam):
                    count(len(job.items(index)))
            else:
                for _ in work(_telling(job, count), parts):
                    pass
        yield parts
    except BaseException:
        left = job.num_parts - len(parts.missing())
        if left:
            click.echo(
                f"{left} of {job.num_parts} parts are done; the same command goes on with them", err=True
            )
        else:
            parts.remove()
        raise
    parts.remove()


def on_beam(job: Job, parts: PartsFolder, beam: BeamOptions, shard: tuple[int, int] = (1, 1)) -> Iterator[int]:
    """Does what is missing of a job on Beam (`beam.work_on_beam`)."""
    from enformer_keras.prediction.beam import work_on_beam

    if not (click.get_current_context().find_root().obj or {}).get("traceback"):
        # Of what a worker fails at, Beam tells pages; the error has it in a line.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    yield from work_on_beam(job, parts, beam.flags, beam.place, shard)


def _telling(job: _Job, tell: Callable[[int], object]) -> _Job:
    """Returns a job that tells of each item as it is predicted, not only of parts."""
    opened = job.asked.opened
    if opened is None:
        return job
    return dataclasses.replace(job, asked=dataclasses.replace(job.asked, opened=opened._replace(tell=tell)))
