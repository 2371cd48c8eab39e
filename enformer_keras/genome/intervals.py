"""Genomic intervals and windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from enformer_keras.genome.errors import DatasetError


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
    """One example to be: what the model reads, what it predicts, and the split that owns it."""

    interval: Interval
    target: Interval
    split: str


def check_no_leak(windows: Iterable[Window], flank_length: int) -> None:
    """Verifies that no input, flanks included, overlaps a target of another split.

    A model that reads a bp in training has seen what it is later tested on; this looks at the windows
    themselves and so does not depend on how they were planned.

    Args:
        windows: windows of all splits.
        flank_length: bp read on each side of a window.

    Raises:
        DatasetError: names the first leaking window of each pair of splits.
    """
    by_chrom: dict[str, dict[str, list[Window]]] = {}
    for window in windows:
        by_chrom.setdefault(window.interval.chrom, {}).setdefault(window.split, []).append(window)
    problems = []
    for splits in by_chrom.values():
        for reader, reading in splits.items():
            inputs = [window.interval.extend(flank_length) for window in reading]
            input_starts = np.array([interval.start for interval in inputs])
            input_ends = np.array([interval.end for interval in inputs])
            for owner, owned in splits.items():
                if owner == reader:
                    continue
                target_starts = np.sort([window.target.start for window in owned])
                target_ends = np.sort([window.target.end for window in owned])
                # Targets begun before an input's end, less those that ended before its start.
                overlapping = np.searchsorted(target_starts, input_ends, "left") - np.searchsorted(
                    target_ends, input_starts, "right"
                )
                leaking = np.flatnonzero(overlapping)
                if leaking.size:
                    problems.append(
                        f"split {reader}: {leaking.size} inputs overlap targets of split {owner}, the "
                        f"first is {inputs[leaking[0]]} (flanks included): move the blocks apart"
                    )
    if problems:
        raise DatasetError(problems)
