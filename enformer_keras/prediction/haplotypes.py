"""Haplotypes: what a model predicts of the sequences that people have of a region or gene."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from enformer_keras.formats.genes import Gene
from enformer_keras.formats.haplotypes import Edit, PersonalSequence, PhasedVariants, Reference
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.alleles import reverse_complement
from enformer_keras.prediction.asking import (
    Answering,
    PredictedTrack,
    Strands,
    check_averaging,
    opened_genome,
    strands_of,
)
from enformer_keras.prediction.gene_windows import GeneWindow, Part, bins_that_hold, gene_windows, target_starts
from enformer_keras.prediction.genes import Columns

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# What heterozygous genotypes without a phase are: an error, or the reference.
Unphased = Literal["refuse", "skip"]
# Read on either side of a window, at least: deletions bring what lies there into it.
_LEAST_MARGIN_BP = 1000
# Of a window, how much is read beside it; more where a haplotype needs it.
_MARGIN = 16
# What files say of each row: a haplotype that differs from all others of its region.
HAPLOTYPE_COLUMNS: Mapping[str, type] = {
    "region": np.int32,
    "name": str,
    "chr": str,
    "start": np.int64,
    "end": np.int64,
    "strand": str,
    "anchor": np.uint32,
    "haplotype": np.int32,
    "num_carriers": np.int32,
    "num_variants": np.int32,
    "num_bins": np.int32,
    "covered": np.float32,
    "carriers": str,
}
HAPLOTYPE_FORMULA = "sum(predictions of the haplotype) over the bins of the region or gene"


@dataclasses.dataclass(frozen=True)
class Locus:
    """What is predicted of each haplotype.

    Attributes:
        name: of the gene; or the region, as it is written.
        interval: of the gene's span, or the region.
        anchor: 0-based position of the genome that keeps its place in the window, whatever a haplotype has.
        lead: bp from the anchor to the window's middle, to the right.
        gene: the gene; `None` for a region.
        bins: that count, where this does not depend on the haplotype; else `None`.
        covered: share of what counts that is predicted, where this does not depend on it.
        places: starts and ends of what counts, on the genome; else their places on the haplotype decide.
    """

    name: str
    interval: Interval
    anchor: int
    lead: int
    gene: Gene | None
    bins: np.ndarray | None
    covered: float
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of_gene(cls, window: GeneWindow, part: Part) -> Locus:
        """Returns a gene, whose TSS is the anchor."""
        gene = window.gene
        return cls(
            gene.gene_id,
            Interval(gene.chrom, gene.start, gene.end),
            gene.tss,
            window.center - gene.tss,
            gene,
            window.bins if part == "tss" else None,
            window.covered,
            () if part == "tss" else gene.exons if part == "exons" else ((gene.start, gene.end),),
        )

    @classmethod
    def of_region(cls, region: Interval) -> Locus:
        """Returns a region; its middle base, the left one of two, is the anchor, and all of its bins count."""
        anchor = (region.start + region.end - 1) // 2
        return cls(str(region), region, anchor, 0, None, None, 1.0, ((region.start, region.end),))


@dataclasses.dataclass(frozen=True)
class LocusHaplotypes:
    """What is predicted of the haplotypes of a locus.

    Attributes:
        locus: the region or gene.
        sums: float32 [haplotypes, tracks], sum over the bins that count. Each haplotype differs from the
            others within its window; the first one is the genome's own, whether a sample has it or not. NaN
            where no bin counts.
        num_variants: int32 [haplotypes], alleles within the window.
        num_bins: int32 [haplotypes], bins that count.
        covered: float32 [haplotypes], share of the bp of what counts that lies in the target.
        rows: int32 [samples, 2], which haplotype each sample has; -1 in place of the second where its genotypes
            are haploid.
        samples: their names.
        tracks: the columns.
    """

    locus: Locus
    sums: np.ndarray
    num_variants: np.ndarray
    num_bins: np.ndarray
    covered: np.ndarray
    rows: np.ndarray
    samples: tuple[str, ...]
    tracks: tuple[PredictedTrack, ...]

    def rows_from(self, first: int) -> np.ndarray:
        """Returns `rows` counted from another number than 0: int32 [samples, 2]."""
        return np.where(self.rows < 0, self.rows, self.rows + first)

    def cells(self, region: int) -> dict[str, list[Any]]:
        """Returns `HAPLOTYPE_COLUMNS` of the rows.

        Args:
            region: number of the locus.
        """
        interval, gene = self.locus.interval, self.locus.gene
        carriers: list[list[str]] = [[] for _ in self.sums]
        for sample, both in zip(self.samples, self.rows.tolist(), strict=True):
            for haplotype, row in enumerate(both, start=1):
                if row >= 0:
                    carriers[row].append(f"{sample}:{haplotype}")
        rows = [
            (
                region,
                self.locus.name,
                interval.chrom,
                interval.start,
                interval.end,
                "." if gene is None else gene.strand,
                self.locus.anchor + 1,
                number,
                len(of),
                variants,
                bins,
                covered,
                ",".join(of),
            )
            for number, (of, variants, bins, covered) in enumerate(
                zip(
                    carriers,
                    self.num_variants.tolist(),
                    self.num_bins.tolist(),
                    self.covered.tolist(),
                    strict=True,
                )
            )
        ]
        return dict(zip(HAPLOTYPE_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def loci_of(
    predictor: Answering,
    genome: Genome,
    regions: Iterable[Interval] = (),
    genes: Iterable[Gene] | str | Path = (),
    *,
    part: Part = "tss",
    each_start: bool = False,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Locus]:
    """Yields regions, then genes; for the arguments see `Predictor.haplotypes`."""
    check_averaging(strands, shifts)
    for region in regions:
        yield Locus.of_region(region)
    for window in gene_windows(
        predictor,
        genome,
        genes,
        part=part,
        each_start=each_start,
        strands=strands,
        shifts=shifts,
        contig_aliases=contig_aliases,
    ):
        yield Locus.of_gene(window, part)


def haplotypes(
    predictor: Answering,
    variants: PhasedVariants | str | Path,
    genome: Genome | str | Path,
    *,
    regions: Iterable[Interval] = (),
    genes: Iterable[Gene] | str | Path = (),
    samples: Sequence[str] | None = None,
    unphased: Unphased = "refuse",
    part: Part = "tss",
    each_start: bool = False,
    tracks: Sequence[int] | None = None,
    sense: bool = False,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[LocusHaplotypes]:
    """Predicts haplotypes as `Predictor.haplotypes` does.

    Yields:
        Each region, then each gene, in their order.

    Raises:
        DatasetError: see `Predictor.haplotypes`.
        ValueError: an argument cannot be.
    """
    if unphased not in get_args(Unphased):
        raise ValueError(f"unphased={unphased!r} must be one of {', '.join(get_args(Unphased))}")
    columns = Columns(predictor, tracks, sense)
    with contextlib.ExitStack() as open_files:
        opened = open_files.enter_context(opened_genome(genome))
        if not isinstance(variants, PhasedVariants):
            variants = open_files.enter_context(
                PhasedVariants(
                    Path(variants),
                    opened.contig_lengths,
                    contig_aliases or {},
                    samples=samples,
                    skip_unphased=unphased == "skip",
                )
            )
        phased = variants
        loci = loci_of(
            predictor,
            opened,
            regions,
            genes,
            part=part,
            each_start=each_start,
            strands=strands,
            shifts=shifts,
            contig_aliases=contig_aliases,
        )
        # Batches do not end with a locus: the next ones are laid out while the first is still predicted.
        waiting: deque[_Waiting] = deque()

        def asked() -> Iterator[tuple[str, bool]]:
            for locus in loci:
                layout = lay_out(predictor, opened, phased, locus, strands, shifts)
                waiting.append(_Waiting(layout))
                yield from layout.windows(predictor, strands, shifts)

        each = len(shifts) * len(strands_of(strands))
        for bins in predictor.predict_strands(asked(), columns.predicted):
            now = waiting[0]
            now.add(bins / each, columns.of(now.layout.locus.gene), each)
            if now.is_done:
                yield waiting.popleft().result(phased.samples, columns.tracks)


def stretch_of(predictor: Answering, locus: Locus, shifts: Sequence[int]) -> Interval:
    """Returns the stretch of the genome that is read for a locus, where no haplotype needs more."""
    reach = _reach(predictor, locus, shifts) + _margin(predictor)
    return Interval(locus.interval.chrom, locus.anchor - reach, locus.anchor + reach + 1)


def _reach(predictor: Answering, locus: Locus, shifts: Sequence[int]) -> int:
    """Returns bp from the anchor to the ends of all windows, at most."""
    return predictor.frame.window_length // 2 + abs(locus.lead) + max(abs(shift) for shift in shifts)


def _margin(predictor: Answering) -> int:
    return max(_LEAST_MARGIN_BP, predictor.frame.window_length // _MARGIN)


@dataclasses.dataclass(frozen=True)
class _Haplotype:
    """A haplotype that differs from the others of its locus."""

    edits: tuple[Edit, ...]
    num_variants: int
    bins: np.ndarray
    covered: float


@dataclasses.dataclass(frozen=True)
class Layout:
    """The haplotypes of a locus, and who has them.

    Attributes:
        locus: the region or gene.
        start: of the stretch of the genome that is read.
        end: of it.
        reference: its bases.
        haplotypes: those that differ; the genome's own first.
        rows: int32 [samples, 2], which of them each sample has; -1: none.
    """

    locus: Locus
    start: int
    end: int
    reference: Reference
    haplotypes: tuple[_Haplotype, ...]
    rows: np.ndarray

    def windows(
        self, predictor: Answering, strands: Strands, shifts: Sequence[int]
    ) -> Iterator[tuple[str, bool]]:
        """Yields what is predicted; one haplotype's sequence is in memory at a time."""
        length = predictor.frame.window_length
        for haplotype in self.haplotypes:
            sequence = PersonalSequence(self.start, self.end, haplotype.edits, self.reference)
            center = _anchor_of(self.locus, sequence) + self.locus.lead
            for reverse in strands_of(strands):
                bases = reverse_complement(sequence.bases) if reverse else sequence.bases
                middle = len(bases) - 1 - center if reverse else center
                for shift in shifts:
                    start = middle - (length // 2 - 1) + shift
                    yield bases[start : start + length], reverse


class _Waiting:
    """A locus that is being predicted: haplotype by haplotype, of each all strands and shifts."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._sums: list[np.ndarray] = []
        self._mean: np.ndarray | None = None
        self._count = 0

    @property
    def is_done(self) -> bool:
        return len(self._sums) == len(self.layout.haplotypes)

    def add(self, bins: np.ndarray, columns: Sequence[int], each: int) -> None:
        """Takes the next prediction, a share of the mean: float32 [bins, tracks]."""
        self._mean = bins if self._mean is None else self._mean + bins
        self._count += 1
        if self._count % each == 0:
            chosen = self.layout.haplotypes[len(self._sums)].bins
            mine = self._mean[chosen][:, columns]
            total = mine.sum(axis=0, dtype=np.float64)
            self._sums.append(total if len(chosen) else np.full_like(total, np.nan))
            self._mean = None

    def result(self, samples: tuple[str, ...], tracks: tuple[PredictedTrack, ...]) -> LocusHaplotypes:
        haplotypes = self.layout.haplotypes
        return LocusHaplotypes(
            self.layout.locus,
            np.array(self._sums, dtype=np.float32),
            np.array([haplotype.num_variants for haplotype in haplotypes], dtype=np.int32),
            np.array([len(haplotype.bins) for haplotype in haplotypes], dtype=np.int32),
            np.array([haplotype.covered for haplotype in haplotypes], dtype=np.float32),
            self.layout.rows,
            samples,
            tracks,
        )


def _anchor_of(locus: Locus, sequence: PersonalSequence) -> int:
    return sequence.base(locus.anchor, forward=locus.gene is None or locus.gene.is_forward)


def lay_out(
    predictor: Answering,
    genome: Genome,
    phased: PhasedVariants,
    locus: Locus,
    strands: Strands,
    shifts: Sequence[int],
) -> Layout:
    """Reads the haplotypes of a locus, as far from its anchor as the shortest of them needs."""
    frame, contig = predictor.frame, locus.interval.chrom

    def reference(start: int, end: int) -> str:
        return genome.sequence(Interval(contig, start, end)).decode()

    reach, margin = _reach(predictor, locus, shifts), _margin(predictor)
    counts = phased.counts.copy()
    while True:
        start, end = locus.anchor - reach - margin, locus.anchor + reach + margin + 1
        of_samples = phased.read(contig, start, end, reference, margin=margin)
        known: dict[tuple[Edit, ...], int] = {}
        numbers: dict[tuple[bytes, bytes], int] = {}
        haplotypes: list[_Haplotype] = []
        lacking = 0
        for edits in [(), *(edits for both in of_samples for edits in both if edits is not None)]:
            if edits in known:
                continue
            sequence = PersonalSequence(start, end, edits, reference)
            anchor = _anchor_of(locus, sequence)
            lacking = max(lacking, reach - anchor, anchor + reach + 1 - len(sequence.bases))
            if lacking > 0:
                break
            bins, covered = locus.bins, locus.covered
            if bins is None:
                places = [sequence.stretch(*place) for place in locus.places]
                bins, covered = bins_that_hold(
                    places, target_starts(anchor + locus.lead, frame, strands, shifts), frame
                )
            seen = sequence.bases[anchor - reach : anchor + reach + 1].encode()
            key = (hashlib.blake2b(seen).digest(), bins.tobytes())
            if key not in numbers:
                numbers[key] = len(haplotypes)
                inside = sum(
                    abs(sequence.stretch(edit.start, edit.end)[0] - anchor) <= reach for edit in sequence.edits
                )
                haplotypes.append(_Haplotype(edits, inside, bins, covered))
            known[edits] = numbers[key]
        if lacking <= 0:
            break
        margin = 2 * margin + lacking
        phased.counts.clear()
        phased.counts.update(counts)
    rows = [[-1 if edits is None else known[edits] for edits in both] for both in of_samples]
    return Layout(locus, start, end, reference, tuple(haplotypes), np.array(rows, dtype=np.int32))
