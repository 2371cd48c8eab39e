"""Genomic intervals."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, order=True)
class Interval:
    """A stretch of a contig, 0-based and half-open as in BED.

    Attributes:
        chrom: contig name as in the FASTA file.
        start: first bp; may be negative where an interval was extended past the contig's start.
        end: one past the last bp.
    """

    chrom: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"interval {self} ends before it starts")

    def __str__(self) -> str:
        return f"{self.chrom}:{self.start}-{self.end}"

    @property
    def width(self) -> int:
        """Length in bp."""
        return self.end - self.start

    def resize(self, width: int) -> Interval:
        """Returns the interval of `width` bp with the same centre (rounded down)."""
        start = self.start + (self.width - width) // 2
        return Interval(self.chrom, start, start + width)

    def extend(self, length: int) -> Interval:
        """Returns the interval with `length` bp more on each side."""
        return Interval(self.chrom, self.start - length, self.end + length)

    def shift(self, offset: int) -> Interval:
        """Returns the interval moved by `offset` bp."""
        return Interval(self.chrom, self.start + offset, self.end + offset)

    def truncate(self, contig_length: int) -> Interval:
        """Returns the part that lies on a contig of `contig_length` bp (possibly of width 0)."""
        start = min(max(self.start, 0), contig_length)
        return Interval(self.chrom, start, max(start, min(self.end, contig_length)))

    def overlaps(self, other: Interval) -> bool:
        """Says whether the two share a bp."""
        return self.chrom == other.chrom and self.start < other.end and other.start < self.end


def merge(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Merges overlapping and adjacent half-open intervals.

    Args:
        starts: int64 [n], in any order.
        ends: int64 [n].

    Returns:
        int64 [2, m], starts and ends, sorted.
    """
    if not len(starts):
        return np.zeros((2, 0), dtype=np.int64)
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    opens = np.concatenate([[True], starts[1:] > ends[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return np.stack([starts[opens], ends[closes]])
