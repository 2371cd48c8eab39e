"""Genomic intervals and windows."""

from __future__ import annotations

import dataclasses


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


@dataclasses.dataclass(frozen=True)
class Window:
    """One example to be: what the model reads, what it predicts, and the split that owns it.

    Attributes:
        interval: what the model reads.
        target: what it predicts.
        split: the owner.
        organism: whose genome, where windows of several are together.
    """

    interval: Interval
    target: Interval
    split: str
    organism: str = ""
