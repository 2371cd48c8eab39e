"""`enformer predict`: tracks of regions, whole contigs, or sequences of one's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enformer_command.about import about
from enformer_command.beam_options import BeamOptions, beam_options
from enformer_command.options import (
    AveragingOptions,
    GenomeOptions,
    ModelOptions,
    OutputOptions,
    averaging_options,
    model_options,
    output_options,
)
from enformer_command.parts import asked_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enformer_keras.prediction.windows import Frame


@click.command(short_help="Tracks along the genome, or of sequences.")
@model_options
@click.argument("regions", nargs=-1)
@click.option("--fasta", type=click.Path(path_type=Path), help="The genome.")
@click.option("--alias", multiple=True, metavar="CONTIG=NAME", help="Another name of a contig in the input.")
@click.option("--all", "whole", is_flag=True, help="Every contig of the genome.")
@click.option(
    "--sequences",
    type=click.Path(path_type=Path),
    metavar="FASTA",
    help="Predict these sequences, each as long as the window, instead of regions.",
)
@click.option("--pad", is_flag=True, help="Put N on both sides of sequences that are shorter.")
@click.option("--centred", is_flag=True, help="One window about each region's centre, in the order given.")
@averaging_options
@beam_options
@output_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["bigwig", "bedgraph", "bedgraph.gz", "h5", "npz"]),
    help="Of the files; may be given more than once.  [default: bigwig; h5 for windows of their own]",
)
def predict(
    model: ModelOptions,
    regions: tuple[str, ...],
    fasta: Path | None,
    alias: tuple[str, ...],
    whole: bool,
    sequences: Path | None,
    pad: bool,
    centred: bool,
    averaging: AveragingOptions,
    beam: BeamOptions,
    output: OutputOptions,
    formats: tuple[str, ...],
) -> None:
    """Predict REGIONS: contigs, stretches such as chr1:1,001-2,000 (from 1, with both ends), BED files.

    Regions are covered by windows whose bins abut, at multiples of the bin size from the contig's start: a
    bin's value does not depend on which other regions are asked for. FOLDER gets a file for each track (bigwig,
    bedgraph; predict.json beside them says how they were made), or predict.h5 or predict.npz, a row for each
    window: preds [windows, bins, tracks], and chrom, start and end of its bins.

    With --centred each region has a window about its centre and so a row of its own; with --sequences each
    sequence has. These may overlap, so they are no bigWig.
    """
    shifts = averaging.shifts
    _check_question(regions, fasta, alias, whole, sequences, pad, shifts)
    beam.check()

    from enformer_keras.formats.regions import find_regions
    from enformer_keras.prediction.predictor import strands_of
    from enformer_keras.prediction.tile_jobs import TilesJob
    from enformer_keras.prediction.track_files import file_names, takes_overlaps, write_tracks

    centred = centred or sequences is not None
    formats = formats or (("h5",) if centred else ("bigwig",))
    gapless = [kind for kind in formats if not takes_overlaps(kind)]
    if centred and gapless:
        raise click.UsageError(
            f"--format {gapless[0]}: windows of their own may overlap; give h5 or npz, or leave --centred out"
        )
    # All that can be known before the model is loaded, which takes long.
    output.check([name for some in file_names(formats, None).values() for name in some])
    source = GenomeOptions(fasta or sequences or Path(), alias)
    with source.open() as genome:
        lengths = genome.contig_lengths
        found = find_regions(regions or tuple(lengths), lengths, source.aliases)
        if sequences is not None:  # they are no contigs of the model's genome
            model = dataclasses.replace(model, any_genome=True)
        predictor = model.open(genome, source.aliases)
        frame, chosen = predictor.frame, model.tracks(predictor)
        if sequences is not None:
            _check_lengths(sequences, lengths, frame, pad)
        kept = [predictor.tracks[index] for index in chosen]
        names = [name for some in file_names(formats, kept).values() for name in some]
        output.check(names)

        said = about(
            model,
            predictor,
            None if sequences else source,
            averaging,
            windows="one about each centre" if centred else "tiles of the contigs' grids",
            **(
                {"sequences": str(sequences)} if sequences else {"regions": ", ".join(regions) or "all contigs"}
            ),
        )
        job = TilesJob.of(
            asked_of(model, predictor, source, genome, chosen, averaging), found, centred=centred, said=said
        )
        count = job.num_items
        if output.dry_run:
            windows = count * len(shifts) * len(strands_of(averaging.strands))
            minutes = windows * predictor.seconds_per_window() / 60
            click.echo(f"{count} rows or tiles, {len(kept)} tracks, {len(names)} files")
            click.echo(f"{windows} windows, {minutes:.1f} min; nothing was written")
            return
        with (
            parts_of(job, output, beam, unit="windows") as parts,
            write_tracks(output.folder, formats, kept, frame, lengths, count, said) as append,
        ):
            for tile, bins in job.read(parts):
                append(tile, bins)
    click.echo(f"{count} windows, {len(kept)} tracks, {len(names)} files")


def _check_question(
    regions: tuple[str, ...],
    fasta: Path | None,
    alias: tuple[str, ...],
    whole: bool,
    sequences: Path | None,
    pad: bool,
    shifts: list[int],
) -> None:
    """Checks that it is clear what is asked.

    Raises:
        click.UsageError: it is not.
    """
    if bool(regions) + whole + (sequences is not None) != 1:
        raise click.UsageError("give regions, or --all, or --sequences")
    if sequences is None and fasta is None:
        raise click.UsageError("regions are read from a genome: give --fasta")
    if sequences is None and pad:
        raise click.UsageError("--pad is for --sequences; past the ends of contigs there comes N in any case")
    if sequences is not None and (fasta is not None or alias):
        raise click.UsageError("--sequences are read from no genome: leave --fasta and --alias out")
    if sequences is not None and shifts != [0]:
        raise click.UsageError("--shifts need the bases beside a window, which --sequences have not")


def _check_lengths(path: Path, lengths: Mapping[str, int], frame: Frame, pad: bool) -> None:
    """Checks that sequences are as long as the window, or shorter where they are padded."""
    window = frame.window_length
    for name, length in lengths.items():
        if length > window or (length < window and not pad):
            cure = "cut it" if length > window else "give --pad to put N on both sides, or whole sequences"
            raise ValueError(f"{path}: {name} has {length} bp, the model reads {window}: {cure}")
