"""Genes: what a model predicts of each, and what variants do to it.

The window of a gene lies about its transcription start site (TSS), so that one reference serves all variants of
the gene. It is laid so that on either strand the TSS stands in the middle of its bin.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from enformer_keras.formats.genes import Gene
from enformer_keras.formats.variants import Variant, read_variants
from enformer_keras.prediction.alleles import Allele, ReferencePolicy, Status
from enformer_keras.prediction.asking import (
    ALLELES_PER_WINDOW,
    Answering,
    PredictedTrack,
    Strands,
    VariantScores,
    batched,
    check_averaging,
    opened_genome,
    strands_of,
)
from enformer_keras.prediction.gene_windows import (
    GeneIndex,
    GeneWindow,
    Part,
    gene_windows,
)
from enformer_keras.prediction.recent import RecentPredictions
from enformer_keras.prediction.statistics import check_statistics, score
from enformer_keras.prediction.windows import StrandView

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# What is said of the gene of each row of scores.
GENE_COLUMNS: Mapping[str, type] = {
    "gene_id": str,
    "gene_name": str,
    "gene_strand": str,
    "gene_tss": np.uint32,
    "tss_distance": np.float64,
    "covered": np.float32,
}


class Columns:
    """The tracks that are predicted, and which of them are a gene's columns.

    Args:
        predictor: whose tracks.
        tracks: indices of those that are asked for; `None`: all.
        sense: whether genes of the minus strand have each track's strand pair in its place.

    Attributes:
        tracks: the columns.
        predicted: indices of the tracks that are predicted.
    """

    def __init__(self, predictor: Answering, tracks: Sequence[int] | None, sense: bool) -> None:
        chosen = predictor.columns(tracks)
        partners = [predictor.tracks[column].strand_pair for column in chosen]
        self.tracks = tuple(predictor.tracks[column] for column in chosen)
        self.predicted = sorted({*chosen, *partners}) if sense else chosen
        self._forward = [self.predicted.index(column) for column in chosen]
        self._reverse = [self.predicted.index(column) for column in partners] if sense else self._forward

    def of(self, gene: Gene | None) -> list[int]:
        """Returns where the columns of a gene, or of no gene, stand among the predicted tracks."""
        return self._forward if gene is None or gene.is_forward else self._reverse


class GeneRow(NamedTuple):
    """An allele, and one of its genes if it has any.

    Attributes:
        variant: as the file spells it.
        status: what becomes of it, or of it with this gene.
        allele: where it is scored.
        window: of the gene.
        distance: `GeneWindow.distance`; NaN without a gene.
    """

    variant: Variant
    status: Status
    allele: Allele | None = None
    window: GeneWindow | None = None
    distance: float = float("nan")


def gene_rows(
    predictor: Answering,
    variants: Iterable[Variant] | str | Path,
    genome: Genome,
    genes: Iterable[Gene] | str | Path,
    *,
    part: Part = "tss",
    distance: int | None = None,
    each_start: bool = False,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    reference_policy: ReferencePolicy | str = ReferencePolicy.SKIP,
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
    check_references: bool = True,
) -> Iterator[GeneRow]:
    """Finds the genes of alleles; nothing is predicted.

    For the arguments see `Predictor.score_genes`, for `check_references` `Predictor.score_in_parts`.

    Yields:
        A row for each allele and gene, in the order of the alleles, then of the genes; of an allele without a
        gene one.

    Raises:
        DatasetError: see `Predictor.score_genes`.
        ValueError: an argument cannot be.
    """
    check_averaging(strands, shifts)
    policy = ReferencePolicy(reference_policy)
    aliases = contig_aliases or {}
    if distance is not None and distance < 0:
        raise ValueError(f"distance={distance} must be a number of bp, 0 or more")
    if isinstance(variants, str | Path):
        variants = read_variants(variants)
    windows = gene_windows(
        predictor,
        genome,
        genes,
        part=part,
        each_start=each_start,
        strands=strands,
        shifts=shifts,
        contig_aliases=aliases,
    )
    index = GeneIndex(windows, distance)
    views = [StrandView(genome, reverse=reverse) for reverse in strands_of(strands)]
    resolved = predictor.resolve_variants(variants, genome, policy, aliases, check_references=check_references)
    for variant, status, allele in resolved:
        found = [] if allele is None else index.find(allele)
        if allele is None or not found:
            yield GeneRow(variant, status if allele is None else Status.NO_GENE)
            continue
        for window in found:
            far = window.distance(allele)
            if not predictor.holds(allele, window.center, views, shifts):
                yield GeneRow(variant, Status.OUTSIDE_WINDOW, None, window, far)
            elif not len(window.bins):
                yield GeneRow(variant, Status.NO_BINS, None, window, far)
            else:
                yield GeneRow(variant, status, allele, window, far)


def score_genes_in_parts(
    predictor: Answering,
    variants: Iterable[Variant] | str | Path,
    genome: Genome | str | Path,
    genes: Iterable[Gene] | str | Path,
    *,
    part: Part = "tss",
    distance: int | None = None,
    each_start: bool = False,
    statistics: Sequence[str] = ("SADR",),
    tracks: Sequence[int] | None = None,
    sense: bool = False,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    reference_policy: ReferencePolicy | str = ReferencePolicy.SKIP,
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
    check_references: bool = True,
) -> Iterator[VariantScores]:
    """Scores alleles as `Predictor.score_genes` does, a few rows at a time: any number fits into memory.

    Yields:
        The next rows, with `GENE_COLUMNS` as `further`.
    """
    columns = Columns(predictor, tracks, sense)
    check_statistics(statistics)
    with opened_genome(genome) as opened:
        views = [StrandView(opened, reverse=reverse) for reverse in strands_of(strands)]
        rows = gene_rows(
            predictor,
            variants,
            opened,
            genes,
            part=part,
            distance=distance,
            each_start=each_start,
            strands=strands,
            shifts=shifts,
            reference_policy=reference_policy,
            contig_aliases=contig_aliases,
            check_references=check_references,
        )
        # Variants that stand near one another share genes, and so references.
        kept = RecentPredictions()
        for some in batched(rows, ALLELES_PER_WINDOW * predictor.batch_size):
            pairs = predictor.predict_alleles(
                [row.allele for row in some],
                views,
                shifts,
                columns.predicted,
                [None if row.window is None else row.window.center for row in some],
                kept,
            )
            found = {
                name: np.full((len(some), len(columns.tracks)), np.nan, dtype=np.float32) for name in statistics
            }
            for number, (row, pair) in enumerate(zip(some, pairs, strict=True)):
                if pair is not None and row.window is not None:
                    chosen = columns.of(row.window.gene)
                    r, a = (bins[row.window.bins][:, chosen] for bins in pair)
                    if row.status is Status.SWAPPED:
                        r, a = a, r
                    for name, values in score(r, a, statistics).items():
                        found[name][number] = values
            yield VariantScores(
                tuple(row.variant for row in some),
                tuple(row.status for row in some),
                found,
                columns.tracks,
                _further(some),
            )


def _further(rows: Sequence[GeneRow]) -> dict[str, np.ndarray]:
    """Makes the columns of `GENE_COLUMNS`."""
    genes = [None if row.window is None else row.window.gene for row in rows]
    values = (
        ["" if gene is None else gene.gene_id for gene in genes],
        ["" if gene is None else gene.name for gene in genes],
        ["" if gene is None else gene.strand for gene in genes],
        [0 if gene is None else gene.tss + 1 for gene in genes],
        [row.distance for row in rows],
        [np.nan if row.window is None else row.window.covered for row in rows],
    )
    return {
        name: np.array(column, dtype=object if kind is str else kind)
        for (name, kind), column in zip(GENE_COLUMNS.items(), values, strict=True)
    }


@dataclasses.dataclass(frozen=True)
class GenePredictions:
    """What is predicted of genes.

    Attributes:
        windows: the genes, and what of each counts.
        sums: float32 [genes, tracks], sum over the bins that count; NaN where there is none.
        tracks: the columns.
    """

    windows: tuple[GeneWindow, ...]
    sums: np.ndarray
    tracks: tuple[PredictedTrack, ...]

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The genes."""
        return tuple(window.gene for window in self.windows)


def predict_genes_in_parts(
    predictor: Answering,
    genome: Genome | str | Path,
    genes: Iterable[Gene] | str | Path,
    *,
    part: Part = "tss",
    each_start: bool = False,
    tracks: Sequence[int] | None = None,
    sense: bool = False,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[GenePredictions]:
    """Predicts genes as `Predictor.predict_genes` does, a few at a time.

    Yields:
        The next genes.
    """
    columns = Columns(predictor, tracks, sense)
    with opened_genome(genome) as opened:
        windows = gene_windows(
            predictor,
            opened,
            genes,
            part=part,
            each_start=each_start,
            strands=strands,
            shifts=shifts,
            contig_aliases=contig_aliases,
        )
        views = [StrandView(opened, reverse=reverse) for reverse in strands_of(strands)]
        asked = (
            (view.window(window.gene.chrom, window.center, predictor.frame, shift), view.reverse)
            for window in windows
            if len(window.bins)
            for view in views
            for shift in shifts
        )
        count = len(views) * len(shifts)
        predicted = predictor.predict_strands(asked, columns.predicted)
        for some in batched(windows, predictor.batch_size):
            sums = np.full((len(some), len(columns.tracks)), np.nan, dtype=np.float32)
            for number, window in enumerate(some):
                if len(window.bins):
                    shape = (predictor.frame.target_length, len(columns.predicted))
                    mean = np.zeros(shape, dtype=np.float32)
                    for bins in itertools.islice(predicted, count):
                        mean += bins / count
                    mine = mean[window.bins][:, columns.of(window.gene)]
                    sums[number] = mine.sum(axis=0, dtype=np.float64)
            yield GenePredictions(some, sums, columns.tracks)


# What `genes.h5` and `genes.tsv` say of each gene; positions as in VCF, from 1, and spans as in BED.
PREDICTED_GENE_COLUMNS: Mapping[str, type] = {
    "gene_id": str,
    "gene_name": str,
    "chr": str,
    "start": np.int64,
    "end": np.int64,
    "gene_strand": str,
    "gene_tss": np.uint32,
    "num_bins": np.int32,
    "covered": np.float32,
}
EXPRESSION_FORMULA = "sum(R) over the gene's bins"


def cells_of_genes(windows: Sequence[GeneWindow]) -> dict[str, list[Any]]:
    """Returns `PREDICTED_GENE_COLUMNS` of genes."""
    rows = [
        (
            window.gene.gene_id,
            window.gene.name,
            window.gene.chrom,
            window.gene.start,
            window.gene.end,
            window.gene.strand,
            window.gene.tss + 1,
            len(window.bins),
            window.covered,
        )
        for window in windows
    ]
    return dict(zip(PREDICTED_GENE_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
