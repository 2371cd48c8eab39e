"""`enformer haplotypes`: what a model predicts of people's own sequences."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
    texts_of,
)
from enformer_command.parts import asked_of, parts_of
from enformer_command.progress import progress


@click.command(short_help="Predictions of the sequences that samples have.")
@model_options
@click.argument("regions", nargs=-1)
@genome_options
@click.option(
    "--vcf",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Phased genotypes: VCF compressed by bgzip, or BCF, with its index.",
)
@click.option(
    "--samples",
    "asked_samples",
    multiple=True,
    metavar="WHICH",
    help="These samples: names by commas, @FILE.  [default: all]",
)
@click.option(
    "--unphased",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Heterozygous genotypes without a phase; skipped ones are the reference.",
)
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
def haplotypes(
    model: ModelOptions,
    regions: tuple[str, ...],
    genome: GenomeOptions,
    vcf: Path,
    asked_samples: tuple[str, ...],
    unphased: str,
    genes: GeneOptions,
    averaging: AveragingOptions,
    beam: BeamOptions,
    output: OutputOptions,
    formats: tuple[str, ...],
) -> None:
    """Predict the haplotypes of samples over REGIONS (chr1:1,001-2,000, BED files, contigs) or genes (--gtf).

    A haplotype's sequence is that of bcftools consensus -H 1 or -H 2. The middle of a region, or a gene's start
    (TSS), keeps its place in the window. Haplotypes that do not differ within the window are one row of
    FOLDER/haplotypes.h5: sums [rows, tracks], over the bins of the region or of the gene; the first row of each
    region is the genome's own sequence. row_of [regions, samples, 2] says which row each sample has.

    Across people, such predictions often have the wrong sign (Huang et al. 2023, Sasse et al. 2023).
    """
    genes.check_unused(click.get_current_context())
    if bool(regions) == (genes.gtf is not None):
        raise click.UsageError("give regions, or genes by --gtf")
    shifts, aliases = averaging.shifts, genome.aliases
    beam.check()
    samples = [name for text in asked_samples for name in texts_of("--samples", text, commas=True)]

    import numpy as np

    from enformer_keras.formats.haplotypes import PhasedVariants
    from enformer_keras.formats.regions import find_regions
    from enformer_keras.prediction import haplotypes as asking
    from enformer_keras.prediction.asking import strands_of
    from enformer_keras.prediction.gene_jobs import HaplotypesJob
    from enformer_keras.prediction.row_files import write_rows

    output.check([f"haplotypes.{kind}" for kind in formats])
    with contextlib.ExitStack() as open_files:
        opened = open_files.enter_context(genome.open())
        phased = open_files.enter_context(
            PhasedVariants(
                vcf,
                opened.contig_lengths,
                aliases,
                samples=samples or None,
                skip_unphased=unphased == "skip",
            )
        )
        found_genes = [] if genes.gtf is None else genes.read(opened, aliases)
        found_regions = find_regions(regions, opened.contig_lengths, aliases)
        predictor = model.open(opened, aliases)
        chosen = model.tracks(predictor)
        loci = list(
            asking.loci_of(
                predictor,
                opened,
                found_regions,
                found_genes,
                part=genes.part,
                each_start=genes.each_start,
                strands=averaging.strands,
                shifts=shifts,
            )
        )
        # Before the first prediction, not after hours of them.
        phased.check_phase(asking.stretch_of(predictor, locus, shifts) for locus in loci)
        if output.dry_run:
            rows = 0
            with progress(loci, unit="regions", total=len(loci), quiet=output.quiet) as taken:
                for locus in taken:
                    layout = asking.lay_out(predictor, opened, phased, locus, averaging.strands, shifts)
                    rows += len(layout.haplotypes)
            windows = rows * len(strands_of(averaging.strands)) * len(shifts)
            _tell(len(loci), rows, phased.samples, phased.counts)
            minutes = windows * predictor.seconds_per_window() / 60
            click.echo(f"{windows} windows, {minutes:.1f} min; nothing was written")
            return
        said = about(model, predictor, genome, averaging, variants=str(vcf), unphased=unphased)
        said |= genes.said(found_genes) if genes.gtf is not None else {"regions": ", ".join(regions)}
        job = HaplotypesJob.of(
            asked_of(model, predictor, genome, opened, chosen, averaging),
            found_regions,
            found_genes,
            vcf,
            phased.samples,
            skip_unphased=unphased == "skip",
            part=genes.part,
            each_start=genes.each_start,
            sense=genes.sense,
            said=said,
        )
        first_row, counts = 0, Counter[str]()
        with (
            parts_of(job, output, beam, unit="regions") as parts,
            write_rows(
                output.folder,
                "haplotypes",
                formats,
                asking.HAPLOTYPE_COLUMNS,
                [predictor.tracks[index] for index in chosen],
                {"sums": asking.HAPLOTYPE_FORMULA},
                said,
                fixed={"samples": phased.samples},
                wide={"row_of": ((len(phased.samples), 2), np.int32)},
                only_in_table=["carriers"],
            ) as append,
        ):
            for number, found in enumerate(job.read(parts, counts)):
                append(
                    found.cells(number) | {"row_of": found.rows_from(first_row)[None]},
                    {"sums": found.sums},
                )
                first_row += len(found.sums)
    _tell(len(loci), first_row, phased.samples, counts)


def _tell(count: int, rows: int, samples: Sequence[str], counts: Counter[str]) -> None:
    """Tells what was found, and what was not taken as it stands."""
    click.echo(f"{count} regions, {len(samples)} samples, {rows} sequences that differ")
    for what, times in counts.items():
        if times:
            click.echo(f"{times} {what}")
