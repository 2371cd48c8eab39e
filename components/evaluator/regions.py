"""Regions of the genome, such as genes or promoters, and the mean signal of each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from enformer_keras import BIN_SIZE
from enformer_keras.genome.bed import BedLines, read_bed
from enformer_keras.genome.errors import DatasetError
from enformer_keras.genome.intervals import Interval


@dataclasses.dataclass(frozen=True)
class RegionFile:
    """A BED file of regions, as the configuration of a metric carries it: the workers read the file.

    Attributes:
        path: where it lies, for the workers too.
        sha256: of its bytes, so that TFX's cache sees another content under the same path.
        contig_aliases: contig of the examples -> other names it has in the file.
        bin_size: bp of a target's bin.
    """

    path: str
    sha256: str
    contig_aliases: Mapping[str, Sequence[str]]
    bin_size: int = BIN_SIZE

    @classmethod
    def open(
        cls, path: Path, contig_aliases: Mapping[str, Sequence[str]], bin_size: int = BIN_SIZE
    ) -> RegionFile:
        """Reads a file to see that it can be used.

        Args:
            path: BED, plain or gzip; what it has beyond three columns, such as names, is not looked at.
            contig_aliases: contig of the examples -> other names it has in the file.
            bin_size: bp of a target's bin.

        Raises:
            DatasetError: the lines that are wrong, by number, or the file cannot be read.
        """
        read_bed(path, None, contig_aliases)
        return cls(str(path), _digest(path), contig_aliases, bin_size)

    def read(self) -> Regions:
        """Reads the regions.

        Raises:
            DatasetError: the file cannot be read, or has changed since the pipeline was laid out.
        """
        path = Path(self.path)
        lines = read_bed(path, None, self.contig_aliases)
        if _digest(path) != self.sha256:
            raise DatasetError(f"{path}: has changed since the pipeline was laid out; run it again")
        return Regions(lines)


class Regions:
    """Regions by contig and number, in the order of the lines; equal lines are regions of their own.

    Args:
        lines: contig -> its lines, sorted by start.
    """

    def __init__(self, lines: Mapping[str, BedLines]) -> None:
        self._of_contig = {
            contig: (rows.starts, rows.ends, np.maximum.accumulate(rows.ends)) for contig, rows in lines.items()
        }

    def __len__(self) -> int:
        return sum(len(starts) for starts, _, _ in self._of_contig.values())

    def overlapping(self, interval: Interval) -> Iterator[tuple[int, int, int]]:
        """Yields number (on the contig), start and end of every region that shares a bp with an interval."""
        if interval.chrom not in self._of_contig:
            return
        starts, ends, furthest = self._of_contig[interval.chrom]
        # No region before the first ends behind the interval's start.
        first = int(np.searchsorted(furthest, interval.start, "right"))
        last = int(np.searchsorted(starts, interval.end, "left"))
        for index in range(first, last):
            if ends[index] > interval.start:
                yield index, int(starts[index]), int(ends[index])


@dataclasses.dataclass(frozen=True)
class RegionMeans:
    """Mean target and prediction of regions, over the bins of the windows so far.

    A bin counts for a region if they share a bp, and counts wholly. So a region that lies in several windows
    has the mean over the bins of all of them; one that lies partly outside every window, that over the bins
    which there are; a bin that two windows have counts twice, measured and predicted.

    Attributes:
        means: (contig, number of the region) -> number of bins, and mean target and prediction, float32
            [tracks] each. (Not sums: the mean of a constant is that constant, to the last bit.)
    """

    means: dict[tuple[str, int], tuple[int, np.ndarray, np.ndarray]]

    @classmethod
    def of_window(
        cls, regions: Regions, span: Interval, bin_size: int, target: np.ndarray, prediction: np.ndarray
    ) -> RegionMeans:
        """Takes the means over the bins of one window.

        Args:
            regions: where they are taken.
            span: what the bins cover.
            bin_size: bp of a bin.
            target: [bins, tracks].
            prediction: [bins, tracks].
        """
        means = {}
        for number, start, end in regions.overlapping(span):
            first = max(start - span.start, 0) // bin_size
            last = -(-(min(end, span.end) - span.start) // bin_size)
            means[span.chrom, number] = (
                last - first,
                *(
                    rows[first:last].mean(axis=0, dtype=np.float64).astype(np.float32)
                    for rows in (target, prediction)
                ),
            )
        return cls(means)

    def merge(self, other: RegionMeans) -> RegionMeans:
        """Returns the means over the bins of both sets of windows together."""
        means = self.means | other.means
        for region in self.means.keys() & other.means.keys():
            (bins, *these), (more, *those) = self.means[region], other.means[region]
            means[region] = (
                bins + more,
                *(
                    ((np.float64(bins) * this + np.float64(more) * that) / (bins + more)).astype(np.float32)
                    for this, that in zip(these, those, strict=True)
                ),
            )
        return RegionMeans(means)

    def by_contig(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns targets and predictions of the regions of each contig, float32 [regions, tracks] each."""
        rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for (contig, _), (_, target, prediction) in sorted(self.means.items(), key=lambda item: item[0]):
            rows.setdefault(contig, []).append((target, prediction))
        return {contig: tuple(map(np.stack, zip(*pairs, strict=True))) for contig, pairs in rows.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
