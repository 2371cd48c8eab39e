"""The window of a gene, and the bins of it that count.

It lies about the transcription start site (TSS), which stands in the middle of its bin on either strand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from enformer_keras.formats.genes import Gene, at_each_start, read_genes, within_contig
from enformer_keras.prediction.alleles import Allele
from enformer_keras.prediction.asking import (
    Answering,
    Strands,
    check_averaging,
    strands_of,
)
from enformer_keras.prediction.windows import Frame

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# What of a gene counts: the bin of its TSS and one on either side; bins that hold a part of an exon; or of its
# span.
Part = Literal["tss", "exons", "span"]
PARTS: tuple[Part, ...] = get_args(Part)
_TSS_BINS = 3


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
