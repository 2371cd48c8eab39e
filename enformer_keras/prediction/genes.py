"""Genes: what a model predicts of each, and what variants do to it.

The window of a gene lies about its transcription start site (TSS), so that one reference serves all variants of
the gene. It is laid so that on either strand the TSS stands in the middle of its bin.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from enformer_keras.formats.genes import Gene, at_each_start, read_genes, within_contig
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
from enformer_keras.prediction.recent import RecentPredictions
from enformer_keras.prediction.statistics import check_statistics, score
from enformer_keras.prediction.windows import Frame, StrandView

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# What of a gene counts: the bin of its TSS and one on either side; bins that hold a part of an exon; or of its
# span.
Part = Literal["tss", "exons", "span"]
PARTS: tuple[Part, ...] = get_args(Part)
_TSS_BINS = 3
# What is said of the gene of each row of scores.
GENE_COLUMNS: Mapping[str, type] = {
    "gene_id": str,
    "gene_name": str,
    "gene_strand": str,
    "gene_tss": np.uint32,
    "tss_distance": np.float64,
    "covered": np.float32,
}


def target_starts(center: int, frame: Frame, strands: Strands, shifts: Sequence[int]) -> list[int]:
    """Returns where the first bins of all windows about a position begin, along the forward strand."""
    start = center - frame.window_length // 2 + frame.crop
    return [
        start - shift if reverse else start + 1 + shift for reverse in strands_of(strands) for shift in shifts
    ]


def bins_that_hold(
    places: Sequence[tuple[int, int]], starts: Sequence[int], frame: Frame
) -> tuple[np.ndarray, float]:
    """Finds bins that hold a bp of some places in any of the windows that are averaged.

    Args:
        places: starts and ends.
        starts: where the first bins of the windows begin.
        frame: the model's.

    Returns:
        int64 [n], the bins; and the share of the places' bp that lies in the target.
    """
    width = frame.target_length * frame.bin_size
    clipped = [
        (max(low - start, 0), min(high - start, width))
        for start in starts
        for low, high in places
        if low < high and low < start + width and high > start
    ]
    size = frame.bin_size
    bins = sorted({n for low, high in clipped for n in range(low // size, (high - 1) // size + 1)})
    wanted = sum(high - low for low, high in places) * len(starts)
    inside = sum(high - low for low, high in clipped)
    return np.array(bins, dtype=np.int64), inside / wanted if wanted else 0.0


@dataclasses.dataclass(frozen=True)
class GeneWindow:
    """Where the windows of a gene lie, and what counts in them.

    Attributes:
        gene: the gene.
        center: 0-based position on the forward strand that is the windows' middle (`windows.windows_of`).
        bins: int64 [n], bins along the forward strand that count.
        covered: share, from 0 to 1, of the bp of what counts that lies in the target and on the contig.
        target: start and end of what all windows predict.
    """

    gene: Gene
    center: int
    bins: np.ndarray
    covered: float
    target: tuple[int, int]

    @classmethod
    def of(
        cls,
        gene: Gene,
        frame: Frame,
        contig_length: int,
        part: Part = "tss",
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
    ) -> GeneWindow:
        """Lays a gene out.

        A bin counts where it holds a bp of the exons or of the span in any of the windows that are averaged:
        those of the two strands differ by 1 bp.

        Args:
            gene: the gene.
            frame: the model's.
            contig_length: bp of the gene's contig.
            part: what counts.
            strands: that are predicted.
            shifts: of the windows, each less than half of a bin.
        """
        size, count = frame.bin_size, frame.target_length
        forward = gene.is_forward
        center, at = gene.tss, count // 2
        if count % 2 == 0:
            center += size // 2 if forward else -(size // 2)
            at -= forward
        starts = target_starts(center, frame, strands, shifts)
        if part == "tss":
            near = range(at - _TSS_BINS // 2, at + _TSS_BINS // 2 + 1)
            bins = np.array([number for number in near if 0 <= number < count], dtype=np.int64)
            covered = sum(
                max(0, min(contig_length, start + (number + 1) * size) - max(0, start + number * size))
                for start in starts
                for number in bins.tolist()
            ) / (_TSS_BINS * size * len(starts))
        else:
            whole = within_contig([(gene.start, gene.end)], contig_length)
            bins, covered = bins_that_hold(gene.exons if part == "exons" else whole, starts, frame)
        return cls(gene, center, bins, covered, (max(starts), min(starts) + count * size))

    def distance(self, allele: Allele) -> int:
        """Returns bp from the TSS to the nearest base that may differ, in the direction of transcription.

        0 where the TSS itself may differ; less than 0 upstream. What is inserted counts as 1 bp from the base
        before and from the base after it.
        """
        tss = self.gene.tss
        right = allele.low - tss if allele.low > tss else min(allele.high - 1 - tss, 0)
        return right if self.gene.is_forward else -right


class GeneIndex:
    """Finds the genes of alleles.

    Args:
        windows: of the genes, in their order.
        distance: bp from an allele to the TSS, at most; `None`: the allele lies within the target.
    """

    def __init__(self, windows: Sequence[GeneWindow], distance: int | None) -> None:
        self._distance = distance
        by_contig: dict[str, list[tuple[int, int]]] = {}
        for number, window in enumerate(windows):
            by_contig.setdefault(window.gene.chrom, []).append((window.gene.tss, number))
        self._windows = windows
        self._sorted = {contig: np.array(sorted(found)).T for contig, found in by_contig.items()}
        targets = [max(abs(end - w.gene.tss) for end in w.target) for w in windows]
        self._reach = max(targets, default=0) if distance is None else distance

    def find(self, allele: Allele) -> list[GeneWindow]:
        """Returns the genes of an allele, in their order."""
        if allele.chrom not in self._sorted:
            return []
        places, numbers = self._sorted[allele.chrom]
        first, last = np.searchsorted(places, [allele.low - self._reach - 1, allele.high + self._reach + 1])
        near = (self._windows[number] for number in sorted(numbers[first:last].tolist()))
        return [window for window in near if self._belongs(allele, window)]

    def _belongs(self, allele: Allele, window: GeneWindow) -> bool:
        if self._distance is not None:
            return abs(window.distance(allele)) <= self._distance
        return window.target[0] <= allele.low and allele.high <= window.target[1]


def gene_windows(
    predictor: Answering,
    genome: Genome,
    genes: Iterable[Gene] | str | Path,
    *,
    part: Part = "tss",
    each_start: bool = False,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> list[GeneWindow]:
    """Lays genes out.

    Args:
        predictor: whose windows.
        genome: where the genes lie.
        genes: genes, or a file of them (`genes.read_genes`).
        part: what of a gene counts.
        each_start: whether each start of a gene's transcripts is a window of its own, or only the gene's.
        strands: that are predicted.
        shifts: of the windows.
        contig_aliases: contig of the genome -> other names that it has in the file.

    Raises:
        DatasetError: the file cannot be read, or has no genes of this genome.
        ValueError: there is no such part, or a shift is half of a bin or longer.
    """
    check_averaging(strands, shifts)
    if part not in PARTS:
        raise ValueError(f"part={part!r} must be one of {', '.join(PARTS)}")
    if any(abs(shift) >= predictor.frame.bin_size // 2 for shift in shifts):
        raise ValueError(
            f"shifts={list(shifts)} must be shorter than half of a bin of {predictor.frame.bin_size} bp, in "
            "whose middle the TSS stands"
        )
    lengths = genome.contig_lengths
    if isinstance(genes, str | Path):
        genes = read_genes(Path(genes), lengths, contig_aliases)
    return [
        GeneWindow.of(gene, predictor.frame, lengths[gene.chrom], part, strands, shifts)
        for gene in (at_each_start(genes) if each_start else genes)
    ]


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
