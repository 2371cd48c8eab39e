"""Regions of the genome, such as genes or promoters, and the mean signal of each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from enformer_keras import BIN_SIZE
from enformer_keras.formats.bed import BedLines, read_bed
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval


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
            raise DatasetError(
                f"{path}: has changed since the pipeline was laid out; do that again (Kubeflow: make kubeflow)"
            )
        return Regions(lines)


class Regions:
    """Regions by contig; equal lines are regions of their own.

    Args:
        lines: contig -> its lines.
    """

    def __init__(self, lines: Mapping[str, BedLines]) -> None:
        self._of_contig = {}
        for contig, rows in lines.items():
            middles = (rows.starts + rows.ends) // 2
            order = np.argsort(middles, kind="stable")
            self._of_contig[contig] = (middles[order], rows.starts[order], rows.ends[order])

    def __len__(self) -> int:
        return sum(len(middles) for middles, _, _ in self._of_contig.values())

    @property
    def contigs(self) -> tuple[str, ...]:
        """Contigs that have a region."""
        return tuple(self._of_contig)

    def count_in(self, intervals: Iterable[Interval]) -> int:
        """Returns the number of regions whose middle base is in one interval or more."""
        found = {
            (interval.chrom, index)
            for interval in intervals
            if interval.chrom in self._of_contig
            for index in range(*self._within(interval))
        }
        return len(found)

    def centred_in(self, interval: Interval) -> list[tuple[int, int]]:
        """Returns start and end of every region whose middle base, `(start + end) // 2`, is in an interval."""
        if interval.chrom not in self._of_contig:
            return []
        _, starts, ends = self._of_contig[interval.chrom]
        within = slice(*self._within(interval))
        return list(zip(starts[within].tolist(), ends[within].tolist(), strict=True))

    def _within(self, interval: Interval) -> list[int]:
        middles, _, _ = self._of_contig[interval.chrom]
        return np.searchsorted(middles, (interval.start, interval.end)).tolist()

    def mean_signals(
        self, span: Interval, bin_size: int, target: np.ndarray, prediction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean target and prediction of the regions that are measured in a window.

        A region is measured in the window whose target holds its middle, over the bins of that target with
        which it shares a bp, each of them wholly. So whatever the order of windows and however many there are,
        a region needs no other window, and nothing of it is kept. (Windows that overlap measure one each, as
        they count their common bins twice.)

        Args:
            span: what the bins cover.
            bin_size: bp of a bin.
            target: [bins, tracks].
            prediction: [bins, tracks].

        Returns:
            float32 [regions, tracks] each: rounded so, the mean of a constant is that constant.
        """
        bins = [
            slice(max(start - span.start, 0) // bin_size, -(-(min(end, span.end) - span.start) // bin_size))
            for start, end in self.centred_in(span)
        ]
        means = np.empty((2, len(bins), target.shape[1]), dtype=np.float32)
        for index, part in enumerate(bins):
            means[0, index] = target[part].mean(axis=0, dtype=np.float64)
            means[1, index] = prediction[part].mean(axis=0, dtype=np.float64)
        return means[0], means[1]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
