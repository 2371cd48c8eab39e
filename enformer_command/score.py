"""`enformer score`: what variants do to each track."""

from __future__ import annotations

from pathlib import Path

import click

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
    shard_option,
    width_option,
)
from enformer_command.score_dry_run import tell_what_would_be
from enformer_command.score_in_parts import score_in_parts
from enformer_command.score_question import ScoreQuestion
from enformer_command.score_with_tracks import score_with_tracks


@click.command(short_help="What variants do, to tracks and to genes.")
@model_options
@click.argument("variants", required=False)
@genome_options
@click.option(
    "--variant", "spelled", multiple=True, metavar="CHR:POS:REF>ALT", help="A variant, instead of a file."
)
@click.option(
    "--statistics", help="Scores, separated by commas.  [default: SAD; with --gtf SADR, over a gene's bins]"
)
@width_option
@gene_options
@click.option(
    "--distance",
    type=click.IntRange(0),
    metavar="BP",
    help="Genes whose TSS is so near.  [default: those in whose target the variant lies]",
)
@click.option(
    "--share-windows",
    type=click.IntRange(1),
    metavar="BP",
    help="Variants of one cell of a grid of BP share the window about its middle: faster where they are dense.",
)
@averaging_options
@click.option(
    "--reference",
    "policy",
    type=click.Choice(["skip", "fail", "swap", "force"]),
    default="skip",
    show_default=True,
    help="Where REF is not the genome's.",
)
@click.option(
    "--background",
    type=click.Path(path_type=Path),
    help="Add quantiles among a background's scores (`enformer calibrate`).",
)
@click.option(
    "--tracks-out",
    type=click.Choice(["bigwig", "h5"]),
    help="Write R and A too: bigWigs of each allele and track (at most 100 alleles), or tracks.h5.",
)
@shard_option
@beam_options
@output_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["h5", "tsv", "parquet", "vcf"]),
    default=("h5",),
    show_default=True,
    help="Of the files; may be given more than once. vcf: the records of VARIANTS with scores in INFO.",
)
def score(
    model: ModelOptions,
    variants: str | None,
    genome: GenomeOptions,
    spelled: tuple[str, ...],
    statistics: str | None,
    width: int | None,
    genes: GeneOptions,
    distance: int | None,
    share_windows: int | None,
    averaging: AveragingOptions,
    policy: str,
    background: Path | None,
    tracks_out: str | None,
    shard: tuple[int, int] | None,
    beam: BeamOptions,
    output: OutputOptions,
    formats: tuple[str, ...],
) -> None:
    """Score VARIANTS: VCF or BCF, a table (.tsv) with the columns chrom, pos, ref and alt, or - for stdin.

    Of every allele, in the order of the file, FOLDER gets a row with its status; what was not scored is also in
    skipped.tsv. Scores compare two predictions, of the reference's window (R) and of the alternative's (A):

    \b
    SAD   sum(A - R)                                SAR  sum(log2(1 + A)) - sum(log2(1 + R))
    SADR  log2(1 + sum(A)) - log2(1 + sum(R))       SAX  A - R where abs(A - R) is largest
    D1    sum(abs(A - R))                           D2   sqrt(sum((A - R)^2))
    logD1, logD2: D1 and D2 of log2(1 + x)          JSD  Jensen-Shannon divergence, in bits
    REF   sum(R)                                    ALT  sum(A)

    With --gtf a window lies about the start of each gene (TSS), and there is a row for each allele and gene.

    A run goes by parts of 1,000 alleles: one that was ended goes on when the same command is given again.
    """  # noqa: D301 (click takes the character itself)
    genes.check_unused(click.get_current_context())
    if genes.gtf is not None and width is not None:
        raise click.UsageError("--width is about the variant; bins of genes are those of --part")
    if genes.gtf is not None and share_windows is not None:
        raise click.UsageError("--share-windows: with --gtf the variants of a gene share its windows already")
    if genes.gtf is not None and ("vcf" in formats or tracks_out):
        what = "--tracks-out" if tracks_out else "--format vcf"
        raise click.UsageError(f"{what} is of alleles; with --gtf there is a row for each allele and gene")
    if (variants is None) == (not spelled):
        raise click.UsageError("give a file of variants, or --variant")
    statistics = statistics or ("SAD" if genes.gtf is None else "SADR")
    names = [name.strip() for name in statistics.split(",")]

    from enformer_keras.prediction.score_files import file_names
    from enformer_keras.prediction.statistics import check_statistics

    # All that can be known before the model is loaded, which takes long.
    try:
        check_statistics(names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if "vcf" in formats and spelled:
        raise click.UsageError("--format vcf: adds to the records of a VCF or BCF; give one as VARIANTS")
    if shard is not None and (tracks_out or output.dry_run):
        what = "--tracks-out" if tracks_out else "--dry-run"
        raise click.UsageError(f"{what} is of all alleles in one run; leave --shard out")
    if beam.is_asked and tracks_out:
        raise click.UsageError("--tracks-out is not divided into parts; leave --beam out")
    beam.check()
    asked = ScoreQuestion(
        model=model,
        variants=variants,
        spelled=spelled,
        genome=genome,
        statistics=names,
        width=width,
        genes=genes,
        distance=distance,
        share_windows=share_windows,
        averaging=averaging,
        policy=policy,
        background=background,
        formats=formats,
    )
    if output.dry_run:
        tell_what_would_be(asked)
    elif tracks_out:
        output.check(file_names(formats))
        score_with_tracks(asked, output, tracks_out)
    else:
        score_in_parts(asked, output, beam, shard)
