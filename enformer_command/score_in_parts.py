"""`enformer score` by parts of 1,000 alleles: a run that was ended goes on, and machines share one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enformer_command.beam_options import BeamOptions
from enformer_command.options import OutputOptions
from enformer_command.parts import on_beam
from enformer_command.progress import counting
from enformer_command.score_question import ScoreQuestion

if TYPE_CHECKING:
    from enformer_keras.prediction.parts import PartsFolder
    from enformer_keras.prediction.score_job import ScoreJob
    from enformer_keras.prediction.variant_rows import VariantRows


def score_in_parts(
    asked: ScoreQuestion, output: OutputOptions, beam: BeamOptions, shard: tuple[int, int] | None
) -> None:
    """Scores, or does a shard of it.

    Args:
        asked: what is scored.
        output: where to.
        beam: who does it.
        shard: which of how many machines; `None`: there is but this one, which writes the files, too.
    """
    from enformer_keras.formats.variants import VcfRecords
    from enformer_keras.prediction.parts import PARTS, WRITTEN, sweep, work
    from enformer_keras.prediction.score_files import file_names
    from enformer_keras.prediction.score_parts import ScoreFiles, parts_of
    from enformer_keras.prediction.variant_rows import gather_rows

    sweep(output.folder / PARTS)
    # Files of a run that was ended while they took their places are its own.
    if shard is None and not (output.folder / PARTS / WRITTEN).exists():
        output.check(file_names(asked.formats))
    if asked.background is not None:
        from enformer_keras.prediction.background import read_background

        read_background(asked.background)
    if "vcf" in asked.formats:
        VcfRecords(str(asked.variants))
    which = shard or (1, 1)
    with gather_rows(asked.given, output.folder) as rows:
        job = _job(asked, rows)
        job.check()
        said = asked.about(job.predictor, job.read_genes())
        # Of a run's folder the pushed version that is open here: a newer one may come meanwhile.
        path = job.predictor.card.path or asked.model.path
        job.open_model = dataclasses.replace(asked.model, path=Path(path)).open
        with parts_of(job, output.folder, which, anew=output.overwrite) as parts, _told(parts, which):
            files = ScoreFiles.of(job, asked.formats, said, asked.background)
            files.check()
            mine = parts.of_shard(which)
            missing = set(parts.missing(which))
            done = sum(rows.length(index) for index in mine if index not in missing)
            if done:
                click.echo(
                    f"goes on: {len(mine) - len(missing)} of {len(mine)} parts are there already", err=True
                )
            total = sum(map(rows.length, mine))
            with counting(unit="variants", total=total, done=done, quiet=output.quiet) as tell:
                if beam.is_asked:
                    for index in on_beam(job, parts, beam, which):
                        tell(rows.length(index))
                else:
                    job.told = tell
                    for _ in work(job, parts, which):
                        pass
            if shard is not None:
                files.save(parts.folder / f"shard-{shard[0]}-of-{shard[1]}.json")
                click.echo(
                    f"{parts.folder}: the {len(mine)} parts of shard {shard[0]}/{shard[1]} are done; once all "
                    "shards are: enformer merge FOLDER... --output OUTPUT"
                )
                return
            counts = files.write(output.folder, map(parts.read, range(parts.num_parts)), parts.folder / WRITTEN)
            parts.remove()
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))


def _job(asked: ScoreQuestion, rows: VariantRows) -> ScoreJob:
    from enformer_keras.prediction.score_job import OfGenes, ScoreJob

    model, genes = asked.model, asked.genes
    return ScoreJob(
        rows,
        asked.genome.fasta,
        model.open,
        options={
            "dtype": model.dtype or "as saved",
            "sum_strand_pairs": model.sum_strand_pairs,
            "unscale": model.unscale,
            "full_passes": model.full_passes,
        },
        tracks=model.tracks,
        genes=None
        if genes.gtf is None
        else OfGenes(genes.read, genes.part, asked.distance, genes.each_start, genes.sense),
        statistics=asked.statistics,
        width=asked.width,
        strands=asked.averaging.strands,
        shifts=asked.averaging.shifts,
        reference_policy=asked.policy,
        contig_aliases=asked.genome.aliases,
        share_windows=asked.share_windows,
    )


@contextlib.contextmanager
def _told(parts: PartsFolder, shard: tuple[int, int]) -> Iterator[None]:
    """Says of a run that is ended how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        mine, missing = len(parts.of_shard(shard)), len(parts.missing(shard))
        click.echo(
            f"enformer: ended; {mine - missing} of {mine} parts are done: the same command goes on", err=True
        )
        raise
