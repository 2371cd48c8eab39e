"""`enformer score`: what variants do to each track."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enformer_command.about import about
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
    width_option,
)
from enformer_command.progress import progress
from enformer_command.score_genes import GeneQuestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.variants import Variant
    from enformer_keras.prediction.predictor import Predictor


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
    shifts, aliases = averaging.shifts, genome.aliases

    from enformer_keras.formats.variants import Variant, VcfRecords, read_variants
    from enformer_keras.prediction.allele_track_files import (
        MOST_ALLELES,
        allele_track_names,
        write_allele_tracks,
    )
    from enformer_keras.prediction.background import read_background
    from enformer_keras.prediction.score_files import file_names, write_scores
    from enformer_keras.prediction.statistics import check_statistics, quantile_of

    # All that can be known before the model is loaded, which takes long.
    try:
        check_statistics(names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    output.check(file_names(formats))
    ranks = None if background is None else read_background(background)
    if "vcf" in formats and spelled:
        raise click.UsageError("--format vcf: adds to the records of a VCF or BCF; give one as VARIANTS")
    # One pass over the file finds its faults now, and how long the work will be; a pipe is read but once.
    countable = variants is not None and Path(variants).is_file()
    total = sum(1 for _ in read_variants(str(variants))) if countable else len(spelled) or None
    records = VcfRecords(str(variants)) if "vcf" in formats else None
    alleles: Iterator[Variant]
    if records is not None:
        alleles = iter(records)
    else:
        alleles = iter([Variant.parse(text) for text in spelled]) if spelled else read_variants(str(variants))
    first = list(itertools.islice(alleles, MOST_ALLELES + 1 if tracks_out == "bigwig" else 1))
    if not first:
        raise ValueError(f"{variants}: holds no variant; give another file")
    if tracks_out:
        output.check(allele_track_names(tracks_out, first, None))
    alleles = itertools.chain(first, alleles)
    with genome.open() as opened:
        found = None if genes.gtf is None else genes.read(opened, aliases)
        predictor = model.open(opened, aliases)
        chosen = model.tracks(predictor)
        asked = GeneQuestion(genes, found, distance, averaging, policy, aliases) if found else None
        if output.dry_run and asked:
            asked.tell_what_would_be(alleles, predictor, opened)
            return
        if output.dry_run:
            _tell_what_would_be(alleles, predictor, opened, policy, averaging, aliases)
            return
        said = about(
            model,
            predictor,
            genome,
            averaging,
            variants=str(variants or ", ".join(spelled)),
            width=width or 0,
            share_windows=share_windows or 0,
            reference_policy=policy,
            **({} if asked is None else asked.said),
        )
        kept = [predictor.tracks[index] for index in chosen]
        if tracks_out:
            output.check(allele_track_names(tracks_out, first, kept))
        written = names
        if ranks is not None:
            ranks.check(said, [track.identifier for track in kept], names)
            said["background"] = str(background)
            written = [*names, *(quantile_of(name) for name in names)]
        counts: Counter[str] = Counter()
        with (
            progress(alleles, unit="variants", total=total, quiet=output.quiet) as taken,
            write_scores(
                output.folder,
                formats,
                kept,
                written,
                said,
                further=None if asked is None else asked.columns,
                records=records,
                contig_lengths=opened.contig_lengths,
                contig_aliases=aliases,
            ) as append,
            contextlib.nullcontext()
            if tracks_out is None
            else write_allele_tracks(
                output.folder, tracks_out, first, kept, predictor.frame, opened.contig_lengths, said
            ) as append_tracks,
        ):
            parts = (
                asked.parts(taken, predictor, opened, names, chosen)
                if asked
                else predictor.score_in_parts(
                    taken,
                    opened,
                    statistics=names,
                    tracks=chosen,
                    width=width,
                    strands=averaging.strands,
                    shifts=shifts,
                    reference_policy=policy,
                    contig_aliases=aliases,
                    share_windows=share_windows,
                    keep_predictions=tracks_out is not None,
                )
            )
            for part in parts:
                if append_tracks is not None:
                    append_tracks(part)
                append(part if ranks is None else ranks.add_to(part))
                counts.update(part.counts())
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))


def _tell_what_would_be(
    variants: Iterable[Variant],
    predictor: Predictor,
    genome: Genome,
    policy: str,
    averaging: AveragingOptions,
    aliases: dict[str, tuple[str, ...]],
) -> None:
    """Counts alleles by status, and tells the time that they would take."""
    from enformer_keras.prediction.alleles import ReferencePolicy
    from enformer_keras.prediction.predictor import strands_of

    counts: Counter[str] = Counter()
    windows = 0
    for _, status, allele in predictor.resolve_variants(variants, genome, ReferencePolicy(policy), aliases):
        counts[str(status)] += 1
        if allele is not None:  # its reference, and its alternative anchored on either side
            windows += 3 if allele.shift else 2
    windows *= len(strands_of(averaging.strands)) * len(averaging.shifts)
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))
    minutes = windows * predictor.seconds_per_window() / 60  # by full passes; reuse makes it less
    click.echo(f"{windows} windows, at most {minutes:.1f} min; nothing was written")
