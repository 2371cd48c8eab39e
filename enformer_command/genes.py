"""`enformer genes`: what a model predicts of genes."""

from __future__ import annotations

import click

from enformer_command.about import about
from enformer_command.beam_options import BeamOptions, beam_options
from enformer_command.options import (
    AveragingOptions,
    GeneOptions,
    GenomeOptions,
    ModelOptions,
    OutputOptions,
    averaging_options,
    gene_options,
    genome_options,
    model_options,
    output_options,
)
from enformer_command.parts import asked_of, parts_of


@click.command(short_help="Expression of genes.")
@model_options
@genome_options
@gene_options
@averaging_options
@beam_options
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
def genes(
    model: ModelOptions,
    genome: GenomeOptions,
    genes: GeneOptions,
    averaging: AveragingOptions,
    beam: BeamOptions,
    output: OutputOptions,
    formats: tuple[str, ...],
) -> None:
    """Predict the expression of genes (--gtf): of each track the sum over the bins of the gene.

    The window of a gene lies about its start (TSS; of a gene on the minus strand its end). FOLDER gets
    genes.h5, a row for each gene: expression [genes, tracks], and which gene it is; covered is the share of the
    exons, or of the span, that the model predicts from there, num_bins how many bins are summed. Where it
    predicts nothing of them, expression is not a number.
    """
    shifts, aliases = averaging.shifts, genome.aliases
    beam.check()

    from enformer_keras.prediction.asking import strands_of
    from enformer_keras.prediction.gene_jobs import GenesJob
    from enformer_keras.prediction.gene_windows import gene_windows
    from enformer_keras.prediction.genes import EXPRESSION_FORMULA, PREDICTED_GENE_COLUMNS, cells_of_genes
    from enformer_keras.prediction.row_files import write_rows

    output.check([f"genes.{kind}" for kind in formats])
    with genome.open() as opened:
        found = genes.read(opened, aliases)
        predictor = model.open(opened, aliases)
        chosen = model.tracks(predictor)
        windows = gene_windows(
            predictor,
            opened,
            found,
            part=genes.part,
            each_start=genes.each_start,
            strands=averaging.strands,
            shifts=shifts,
        )
        seen = [window for window in windows if len(window.bins)]
        told = f"{len(windows)} genes"
        if genes.part == "exons":
            told += "".join(
                f", exons of {count} from {kind}" for kind, count in genes.exons_from(found).items()
            )
        told += f", {sum(window.covered < 1 for window in seen)} covered in part"
        told += f", {len(windows) - len(seen)} not covered"
        if output.dry_run:
            passes = len(seen) * len(strands_of(averaging.strands)) * len(shifts)
            minutes = passes * predictor.seconds_per_window() / 60
            click.echo(f"{told}\n{passes} windows, {minutes:.1f} min; nothing was written")
            return
        kept = [predictor.tracks[index] for index in chosen]
        said = about(model, predictor, genome, averaging, **genes.said(found))
        formulas = {"expression": EXPRESSION_FORMULA}
        job = GenesJob.of(
            asked_of(model, predictor, genome, opened, chosen, averaging),
            found,
            part=genes.part,
            each_start=genes.each_start,
            sense=genes.sense,
            said=said,
        )
        with (
            parts_of(job, output, beam, unit="genes") as parts,
            write_rows(output.folder, "genes", formats, PREDICTED_GENE_COLUMNS, kept, formulas, said) as append,
        ):
            for some in job.read(parts):
                append(cells_of_genes(some.windows), {"expression": some.sums})
    click.echo(told)
