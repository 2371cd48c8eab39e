"""`enformer plot`: a picture of a locus."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enformer_command.about import about
from enformer_command.options import (
    AveragingOptions,
    GenomeOptions,
    ModelOptions,
    averaging_options,
    genome_options,
    model_options,
)

if TYPE_CHECKING:
    import numpy as np

    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.intervals import Interval
    from enformer_keras.prediction.predictor import Predictor

# A picture of more panels is taller than a page.
_MOST_TRACKS = 12


@click.command(short_help="A picture of a locus.")
@model_options
@click.argument("where", metavar="WHERE")
@genome_options
@averaging_options
@click.option(
    "--span", type=click.IntRange(1), metavar="BP", help="Draw only BP about the variant or the middle."
)
@click.option("--gtf", type=click.Path(path_type=Path), help="Draw the genes of this GTF or GFF3 file.")
@click.option(
    "--letters",
    type=click.IntRange(1),
    metavar="BP",
    help="Draw what BP about the variant or the middle contribute, as letters (gradient x input of SADR).",
)
@click.option(
    "--width", type=click.IntRange(1), metavar="BP", help="Of --letters: only bins within BP are explained."
)
@click.option("--dpi", type=click.IntRange(20), default=150, show_default=True, help="Of a PNG.")
@click.option(
    "--output", "file", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A .png or .svg."
)
@click.option("--overwrite", is_flag=True, help="Replace the picture if it is there.")
def plot(
    model: ModelOptions,
    where: str,
    genome: GenomeOptions,
    averaging: AveragingOptions,
    span: int | None,
    gtf: Path | None,
    letters: int | None,
    width: int | None,
    dpi: int,
    file: Path,
    overwrite: bool,
) -> None:
    """Draw WHERE: a variant such as chr1:12345:A>C, or a stretch such as chr1:1,001-2,000.

    Of a variant both alleles are predicted as `enformer score` compares them: REF grey, ALT as a line, and
    below each track their difference. Of a stretch the reference is drawn, as `enformer predict` predicts it.
    """
    if file.suffix not in (".png", ".svg"):
        raise click.UsageError(f"--output {file}: must end in .png or .svg")
    if file.exists() and not overwrite:
        raise click.UsageError(f"{file}: is there; give another --output, or --overwrite")
    if width is not None and letters is None:
        raise click.UsageError("--width: is about --letters, which is not given")
    shifts, aliases = averaging.shifts, genome.aliases

    from enformer_keras.formats.genes import read_genes
    from enformer_keras.formats.intervals import Interval
    from enformer_keras.formats.regions import find_regions
    from enformer_keras.formats.variants import Variant
    from enformer_keras.formats.whole_files import whole_files
    from enformer_keras.prediction.locus_plot import plot_locus

    with genome.open() as opened:
        variant = Variant.parse(where) if ">" in where else None
        region = None if variant else find_regions([where], opened.contig_lengths, aliases)[0]
        genes = [] if gtf is None else read_genes(gtf, opened.contig_lengths, aliases)
        predictor = model.open(opened, aliases)
        columns = model.tracks(predictor)
        if len(columns) > _MOST_TRACKS:
            raise click.UsageError(
                f"{len(columns)} tracks do not fit into a picture; choose up to {_MOST_TRACKS} by --tracks"
            )
        drawn: np.ndarray | None
        if variant is not None:
            both = predictor.predict_variant(
                variant,
                opened,
                tracks=columns,
                strands=averaging.strands,
                shifts=shifts,
                contig_aliases=aliases,
            )
            interval, reference, drawn = both.interval, both.reference, both.alternate
            marked = Interval(interval.chrom, variant.start, variant.start + len(variant.reference))
            middle = (marked.start + marked.end) // 2
        else:
            assert region is not None
            interval, reference = _predict_stretch(predictor, region, opened, columns, averaging)
            drawn, marked = None, None
            middle = (region.start + region.end) // 2
        contributions = None
        if letters is not None:
            explained = Interval(interval.chrom, middle, middle + 1).resize(letters)
            (contributions,) = predictor.contributions(
                [explained], opened, tracks=columns, width=width, strands=averaging.strands, shifts=shifts
            )
        if span is not None:
            interval, bins = _zoom(interval, middle, span, predictor.frame.bin_size)
            reference, drawn = reference[bins], None if drawn is None else drawn[bins]
        figure = plot_locus(
            interval,
            [f"{track.identifier} {track.description}" for track in (predictor.tracks[c] for c in columns)],
            reference,
            drawn,
            marked=marked,
            genes=genes,
            contributions=contributions,
            title=where,
        )
        said = {name: str(value) for name, value in about(model, predictor, genome, averaging).items()}
        with whole_files(file.parent, [file.name]) as paths:
            # Both formats have a description; PNG has any names.
            text = {"Description": "; ".join(f"{name}: {value}" for name, value in said.items())}
            figure.savefig(paths[file.name], dpi=dpi, metadata=text)
    click.echo(f"{file}: {interval.chrom}:{interval.start + 1}-{interval.end}, {len(columns)} tracks")


def _predict_stretch(
    predictor: Predictor, region: Interval, genome: Genome, columns: list[int], averaging: AveragingOptions
) -> tuple[Interval, np.ndarray]:
    """Predicts the bins of the contig's grid that a region shares a bp with."""
    import numpy as np

    from enformer_keras.formats.intervals import Interval
    from enformer_keras.prediction.tiling import grid_tiles, predict_tiles

    tiles = grid_tiles([region], genome.contig_lengths, predictor.frame)
    pieces: list[tuple[Interval, np.ndarray]] = []
    for tile, bins in predict_tiles(
        predictor, tiles, genome, tracks=columns, strands=averaging.strands, shifts=averaging.shifts
    ):
        pieces.extend((place, bins[run]) for place, run in tile.stretches(predictor.frame.bin_size))
    found = np.concatenate([bins for _, bins in pieces])
    start = pieces[0][0].start  # the last bin may reach past the contig's end
    return Interval(region.chrom, start, start + len(found) * predictor.frame.bin_size), found


def _zoom(interval: Interval, middle: int, span: int, bin_size: int) -> tuple[Interval, slice]:
    """Returns the bins that lie within so many bp about a position."""
    first = max(0, (middle - span // 2 - interval.start) // bin_size)
    last = min(interval.width // bin_size, -(-(middle + span // 2 - interval.start) // bin_size))
    start, end = interval.start + first * bin_size, interval.start + last * bin_size
    return dataclasses.replace(interval, start=start, end=end), slice(first, last)
