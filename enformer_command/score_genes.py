"""`enformer score --gtf`: what variants do to genes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from enformer_command.options import AveragingOptions, GeneOptions

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.genes import Gene
    from enformer_keras.formats.variants import Variant
    from enformer_keras.prediction.asking import VariantScores
    from enformer_keras.prediction.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class GeneQuestion:
    """What is asked about genes and variants."""

    options: GeneOptions
    genes: Sequence[Gene]
    distance: int | None
    averaging: AveragingOptions
    policy: str
    aliases: Mapping[str, Sequence[str]]

    @property
    def said(self) -> dict[str, Any]:
        """What decides the numbers, for `about`."""
        distance = "within the target" if self.distance is None else self.distance
        return self.options.said | {"distance": distance}

    @property
    def columns(self) -> Mapping[str, type]:
        """Name -> type of what each row says of its gene."""
        from enformer_keras.prediction.genes import GENE_COLUMNS

        return GENE_COLUMNS

    def parts(
        self,
        variants: Iterable[Variant],
        predictor: Predictor,
        genome: Genome,
        statistics: Sequence[str],
        tracks: Sequence[int],
    ) -> Iterator[VariantScores]:
        """Scores variants, a few at a time."""
        from enformer_keras.prediction.genes import score_genes_in_parts

        return score_genes_in_parts(
            predictor,
            variants,
            genome,
            self.genes,
            part=self.options.part,
            distance=self.distance,
            each_start=self.options.each_start,
            statistics=statistics,
            tracks=tracks,
            sense=self.options.sense,
            strands=self.averaging.strands,
            shifts=self.averaging.shifts,
            reference_policy=self.policy,
            contig_aliases=self.aliases,
        )

    def tell_what_would_be(self, variants: Iterable[Variant], predictor: Predictor, genome: Genome) -> None:
        """Counts rows by status, and tells the time that they would take."""
        from enformer_keras.prediction.asking import strands_of
        from enformer_keras.prediction.genes import gene_rows

        counts: Counter[str] = Counter()
        windows, seen = 0, set()
        for row in gene_rows(
            predictor,
            variants,
            genome,
            self.genes,
            part=self.options.part,
            distance=self.distance,
            each_start=self.options.each_start,
            strands=self.averaging.strands,
            shifts=self.averaging.shifts,
            reference_policy=self.policy,
            contig_aliases=self.aliases,
        ):
            counts[str(row.status)] += 1
            if row.allele is not None and row.window is not None:
                windows += 2 if row.allele.shift else 1
                seen.add((row.window.gene.gene_id, row.window.gene.chrom, row.window.center))
        windows = (windows + len(seen)) * len(strands_of(self.averaging.strands)) * len(self.averaging.shifts)
        click.echo(", ".join(f"{status} {count}" for status, count in counts.most_common()))
        click.echo(
            f"{len(seen)} genes, {windows} windows, {windows * predictor.seconds_per_window() / 60:.1f} min; "
            "nothing was written"
        )
