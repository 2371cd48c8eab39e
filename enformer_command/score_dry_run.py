"""`enformer score --dry-run`: what would be scored, and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from enformer_command.score_question import ScoreQuestion

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.genes import Gene
    from enformer_keras.formats.variants import Variant
    from enformer_keras.prediction.predictor import Predictor


def tell_what_would_be(asked: ScoreQuestion) -> None:
    """Counts rows by status, and tells the time that they would take; nothing is written."""
    from enformer_keras.formats.variants import Variant, read_variants

    spelled = [Variant.parse(text) for text in asked.spelled]
    with asked.genome.open() as genome:
        genes = None if asked.genes.gtf is None else asked.genes.read(genome, asked.genome.aliases)
        variants = iter(spelled) if spelled else read_variants(str(asked.variants))
        predictor = asked.model.open(genome, asked.genome.aliases)
        asked.model.tracks(predictor)
        if genes is None:
            _tell_of_alleles(asked, variants, predictor, genome)
        else:
            _tell_of_genes(asked, variants, predictor, genome, genes)


def _tell_of_alleles(
    asked: ScoreQuestion, variants: Iterable[Variant], predictor: Predictor, genome: Genome
) -> None:
    from enformer_keras.prediction.alleles import ReferencePolicy

    counts: Counter[str] = Counter()
    windows = 0
    policy = ReferencePolicy(asked.policy)
    for _, status, allele in predictor.resolve_variants(variants, genome, policy, asked.genome.aliases):
        counts[str(status)] += 1
        if allele is not None:  # its reference, and its alternative anchored on either side
            windows += 3 if allele.shift else 2
    _tell_counts(counts)
    windows *= _passes(asked)
    minutes = windows * predictor.seconds_per_window() / 60  # by full passes; reuse makes it less
    click.echo(f"{windows} windows, at most {minutes:.1f} min; nothing was written")


def _tell_of_genes(
    asked: ScoreQuestion,
    variants: Iterable[Variant],
    predictor: Predictor,
    genome: Genome,
    genes: Iterable[Gene],
) -> None:
    from enformer_keras.prediction.genes import gene_rows

    counts: Counter[str] = Counter()
    windows, seen = 0, set()
    for row in gene_rows(
        predictor,
        variants,
        genome,
        genes,
        part=asked.genes.part,
        distance=asked.distance,
        each_start=asked.genes.each_start,
        strands=asked.averaging.strands,
        shifts=asked.averaging.shifts,
        reference_policy=asked.policy,
        contig_aliases=asked.genome.aliases,
    ):
        counts[str(row.status)] += 1
        if row.allele is not None and row.window is not None:
            windows += 2 if row.allele.shift else 1
            seen.add((row.window.gene.gene_id, row.window.gene.chrom, row.window.center))
    windows = (windows + len(seen)) * _passes(asked)
    _tell_counts(counts)
    click.echo(
        f"{len(seen)} genes, {windows} windows, {windows * predictor.seconds_per_window() / 60:.1f} min; "
        "nothing was written"
    )


def _passes(asked: ScoreQuestion) -> int:
    """How often each window is predicted."""
    from enformer_keras.prediction.asking import strands_of

    return len(strands_of(asked.averaging.strands)) * len(asked.averaging.shifts)


def _tell_counts(counts: Counter[str]) -> None:
    click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))
