"""`enformer ism`: what every substitution of regions does, or every deletion of some bp."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import click

from enformer_command.about import about
from enformer_command.options import (
    AveragingOptions,
    GenomeOptions,
    ModelOptions,
    OutputOptions,
    averaging_options,
    genome_options,
    length_option,
    model_options,
    output_options,
    width_option,
)
from enformer_command.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from enformer_keras.formats.intervals import Interval


@click.command(short_help="What every substitution of a region does.")
@model_options
@click.argument("regions", nargs=-1)
@genome_options
@click.option("--variants", metavar="FILE", help="Regions are what lies about these: VCF, BCF, table, -.")
@click.option(
    "--flank",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="BP",
    help="On either side of a variant's first base.",
)
@length_option
@click.option("--statistics", default="SAD", show_default=True, help="Scores, separated by commas.")
@width_option
@click.option(
    "--deletions",
    "deletion",
    type=click.IntRange(1),
    metavar="BP",
    help="Leave out BP from each base on, instead of substitutions.",
)
@click.option(
    "--window-per-base",
    is_flag=True,
    help="Put each change in the middle of a window of its own, as score does; takes twice as long.",
)
@click.option(
    "--screen",
    type=click.IntRange(1),
    metavar="N",
    help="Score only the N substitutions of a region that gradients say do most to a track and statistic.",
)
@averaging_options
@output_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["h5", "tsv"]),
    default=("h5",),
    show_default=True,
    help="Of the files; may be given more than once.",
)
def ism(
    model: ModelOptions,
    regions: tuple[str, ...],
    genome: GenomeOptions,
    variants: str | None,
    flank: int,
    length: int | None,
    statistics: str,
    width: int | None,
    deletion: int | None,
    window_per_base: bool,
    screen: int | None,
    averaging: AveragingOptions,
    output: OutputOptions,
    formats: tuple[str, ...],
) -> None:
    """Score all substitutions of REGIONS: contigs, stretches such as chr1:1,001-2,000, BED files.

    Instead of regions, --variants gives what lies about variants; the background is the genome, whatever their
    alleles. All changes of a region are seen in one window about its middle, so a score is that of the same
    variant in that window; with --window-per-base it is the one that score gives. FOLDER gets ism.h5 (of each
    statistic [regions, bp, A C G T, tracks], 0 at the genome's own base, NaN at N), for which regions have one
    length, or ism.tsv, a row for each change. Scores: see score.

    With --screen every substitution has an estimate of first order, STATISTIC_first_order, from one gradient
    for each of --tracks, statistic and strand; those with the largest have the exact score, the others NaN.
    """
    if bool(regions) == (variants is not None):
        raise click.UsageError("give regions, or --variants")
    if screen is not None and not model.asked_tracks:
        raise click.UsageError("--screen takes a gradient for each track: name them by --tracks")
    names = [name.strip() for name in statistics.split(",")]
    shifts, aliases = averaging.shifts, genome.aliases

    from enformer_keras.formats.regions import find_regions
    from enformer_keras.prediction.contribution_files import MUTAGENESIS_FILES, write_mutagenesis
    from enformer_keras.prediction.mutagenesis import check_region
    from enformer_keras.prediction.screening import check_screen, seconds_per_gradient
    from enformer_keras.prediction.statistics import check_statistics, first_order_of

    # All that can be known before the model is loaded, which takes long.
    try:
        check_statistics(names)
        if screen is not None:
            check_screen(screen, names, deletion, window_per_base)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    output.check([MUTAGENESIS_FILES[kind] for kind in formats])
    with genome.open() as opened:
        asked = (
            find_regions(regions, opened.contig_lengths, aliases)
            if variants is None
            else _about_variants(variants, flank, opened.contig_lengths, aliases)
        )
        if length is not None:
            asked = [region.resize(length) for region in asked]
        other = next((region for region in asked if region.width != asked[0].width), None)
        if other is not None and "h5" in formats:
            raise ValueError(
                f"{asked[0]} has {asked[0].width} bp, {other} {other.width}; ism.h5 holds regions of one "
                "length: give --length, or --format tsv"
            )
        predictor = model.open(opened, aliases)
        chosen = model.tracks(predictor)
        for region in asked:
            check_region(region, opened.contig_lengths, predictor.frame, deletion)
        predictor.frame.central_bins(width)
        changes = [3 * r.width if deletion is None else r.width - deletion + 1 for r in asked]
        layouts = len(shifts) * (2 if averaging.strands == "both" else 1)
        gradients = len(asked) * layouts * len(chosen) * len(names)
        if screen is not None:
            changes = [min(of_region, screen * len(chosen) * len(names)) for of_region in changes]
        total = sum(changes)
        if output.dry_run:
            # A deletion is predicted from both sides; references are there once in each window.
            windows = total * (1 if deletion is None else 2) + (total if window_per_base else len(asked))
            windows = (windows + (len(asked) if screen else 0)) * layouts
            seconds = windows * predictor.seconds_per_window()
            more = ""
            if screen is not None:
                seconds += gradients * seconds_per_gradient(predictor)
                more = f" and {gradients} gradients"
            click.echo(f"{len(asked)} regions, {'up to ' if screen else ''}{total} changes")
            click.echo(f"up to {windows} windows{more}, {seconds / 60:.1f} min; nothing was written")
            return
        said = about(
            model,
            predictor,
            genome,
            averaging,
            regions=", ".join(regions) or f"{flank} bp on either side of {variants}",
            width=width or 0,
            deletion=deletion or 0,
            windows="one for each change" if window_per_base else "one about each region's middle",
            **(
                {}
                if screen is None
                else {
                    "screen": screen,
                    "scored": "of each region what is among the `screen` largest abs(first order) of a "
                    "statistic and track; the other scores are NaN",
                }
            ),
        )
        written = names if screen is None else [*names, *map(first_order_of, names)]
        kept = [predictor.tracks[index] for index in chosen]
        with (
            progress(range(total), unit="changes", total=total, quiet=output.quiet) as told,
            write_mutagenesis(output.folder, formats, kept, written, said, deletion) as append,
        ):
            left = iter(told)
            scored = 0

            def advance(count: int) -> None:
                nonlocal scored
                scored += count
                _pass_over(left, count)

            for made in predictor.saturation_mutagenesis(
                asked,
                opened,
                statistics=names,
                tracks=chosen,
                width=width,
                strands=averaging.strands,
                shifts=shifts,
                deletion=deletion,
                window_per_base=window_per_base,
                screen=screen,
                contig_aliases=aliases,
                advance=advance,
            ):
                append(made)
            _pass_over(left, total)  # where the genome has N, nothing is done
    what = f"{total} changes" if screen is None else f"{scored} changes scored"
    click.echo(f"{len(asked)} regions, {what}, {len(chosen)} tracks")


def _pass_over(items: Iterator[object], count: int) -> None:
    """Takes the next items, so that their progress is told."""
    for _ in itertools.islice(items, count):
        pass


def _about_variants(
    source: str,
    flank: int,
    contig_lengths: Mapping[str, int],
    aliases: Mapping[str, Sequence[str]],
) -> list[Interval]:
    """Lays a region about the first base of each variant; about several alleles of one place, one."""
    from enformer_keras.formats.contig_names import ContigNames
    from enformer_keras.formats.errors import DatasetError
    from enformer_keras.formats.intervals import Interval
    from enformer_keras.formats.variants import read_variants

    names = ContigNames(contig_lengths, aliases)
    found: dict[Interval, None] = {}
    for variant in read_variants(source):
        contig = names.find(variant.chrom)
        if contig is None or not 0 <= variant.start < contig_lengths[contig]:
            raise DatasetError(
                f"{source}: {variant} does not lie on the genome; leave it out, use the genome of the same "
                "assembly, or give --alias"
            )
        found[Interval(contig, variant.start, variant.start + 1).extend(flank)] = None
    if not found:
        raise DatasetError(f"{source}: holds no variant; give another file")
    return list(found)
