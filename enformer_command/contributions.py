"""`enformer contributions`: which bases of regions matter, and how much."""

from __future__ import annotations

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
    from enformer_keras.prediction.predictor import Predictor

_METHODS = {
    "gradient-x-input": "gradient_x_input",
    "integrated-gradients": "integrated_gradients",
    "ism": "ism",
}
_REFUSED = ("deeplift", "deepshap")


@click.command(short_help="How much each base contributes to a prediction.")
@model_options
@click.argument("regions", nargs=-1, required=True)
@genome_options
@click.option(
    "--method",
    type=click.Choice([*_METHODS, *_REFUSED]),
    default="gradient-x-input",
    show_default=True,
    metavar="|".join(_METHODS),
)
@click.option(
    "--statistic",
    type=click.Choice(["SAD", "SAR", "SADR"]),
    default="SADR",
    show_default=True,
    help="Explain what this score compares: sum(x), sum(log2(1 + x)) or log2(1 + sum(x)).",
)
@width_option
@length_option
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Of integrated gradients.",
)
@averaging_options
@output_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["h5", "npz", "bigwig"]),
    default=("h5",),
    show_default=True,
    help="Of the files; may be given more than once.",
)
def contributions(
    model: ModelOptions,
    regions: tuple[str, ...],
    genome: GenomeOptions,
    method: str,
    statistic: str,
    width: int | None,
    length: int | None,
    steps: int,
    averaging: AveragingOptions,
    output: OutputOptions,
    formats: tuple[str, ...],
) -> None:
    """Tell what each base of REGIONS contributes: contigs, stretches such as chr1:1,001-2,000, BED files.

    Explained is one number: of the prediction of the window about a region's middle, averaged over strands and
    shifts, the mean over the tracks of sum(x), sum(log2(1 + x)) or log2(1 + sum(x)), x the bins within --width.
    Of each place the mean over the four letters is taken away.

    Regions have one length; --length makes it so. FOLDER gets contributions.json, which says how they were
    made, and of each format:

    \b
    h5      contributions.h5, ChromBPNet's tree (raw/seq, shap/seq, projected_shap/seq), and regions.bed
    npz     sequences.npz and contributions.npz, for modisco motifs -s -a, and regions.bed
    bigwig  contributions.bw: at each base what it contributes
    """  # noqa: D301 (click takes the character itself)
    if method in _REFUSED:
        raise click.UsageError(
            f"--method {method}: its rules do not hold through attention, where weights and values are "
            "multiplied; use integrated-gradients"
        )
    shifts, aliases = averaging.shifts, genome.aliases

    from enformer_keras.formats.regions import find_regions
    from enformer_keras.prediction.contribution_files import ABOUT_FILE, CONTRIBUTION_FILES, write_contributions
    from enformer_keras.prediction.contributions import check_contributing
    from enformer_keras.prediction.statistics import EXPLAINED

    # All that can be known before the model is loaded, which takes long.
    output.check([*(name for kind in formats for name in CONTRIBUTION_FILES[kind]), ABOUT_FILE])
    with genome.open() as opened:
        asked = find_regions(regions, opened.contig_lengths, aliases)
        if length is not None:
            asked = [region.resize(length) for region in asked]
        of_first = asked[0].width
        other = next((region for region in asked if region.width != of_first), None)
        if other is not None:
            raise ValueError(
                f"{asked[0]} has {of_first} bp, {other} {other.width}; files of contributions hold regions of "
                "one length: give --length"
            )
        predictor = model.open(opened, aliases)
        chosen = model.tracks(predictor)
        for region in asked:
            check_contributing(region, opened.contig_lengths, predictor.frame, _METHODS[method])
        predictor.frame.central_bins(width)
        if output.dry_run:
            layouts = len(shifts) * (2 if averaging.strands == "both" else 1)
            _tell_what_would_be(predictor, len(asked), of_first, method, layouts, steps)
            return
        said = about(
            model,
            predictor,
            genome,
            averaging,
            regions=", ".join(regions),
            method=_METHODS[method],
            explained=f"mean over tracks of {EXPLAINED[statistic]} over the bins x",
            statistic=statistic,
            tracks=[predictor.tracks[index].identifier for index in chosen],
            width=width or 0,
            hypothetical="less the mean over the four letters",
            **(
                {"steps": steps, "baseline": "a quarter of each letter, 0 where there is N"}
                if method == "integrated-gradients"
                else {}
            ),
        )
        found = predictor.contributions(
            asked,
            opened,
            method=_METHODS[method],
            statistic=statistic,
            tracks=chosen,
            width=width,
            strands=averaging.strands,
            shifts=shifts,
            steps=steps,
            contig_aliases=aliases,
        )
        lengths = opened.contig_lengths
        with (
            progress(found, unit="regions", total=len(asked), quiet=output.quiet) as taken,
            write_contributions(output.folder, formats, len(asked), of_first, lengths, said) as append,
        ):
            for made in taken:
                append(made)
    click.echo(f"{len(asked)} regions of {of_first} bp, {len(chosen)} tracks")


def _tell_what_would_be(
    predictor: Predictor, regions: int, length: int, method: str, layouts: int, steps: int
) -> None:
    """Counts windows, and tells the time that they would take."""
    from enformer_keras.prediction.screening import seconds_per_gradient

    seconds = predictor.seconds_per_window()
    if method == "ism":
        windows, what = regions * (3 * length + 1) * layouts, "predictions"
    else:
        points = steps + 2 if method == "integrated-gradients" else 1
        windows, what = regions * points * layouts, "predictions and gradients"
        seconds += seconds_per_gradient(predictor)
    click.echo(f"{regions} regions of {length} bp")
    click.echo(f"{windows} {what}, {windows * seconds / 60:.1f} min; nothing was written")
