"""Genomic intervals, and the plan of windows that a dataset is cut into."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.genome.errors import DatasetError

if TYPE_CHECKING:
    from enformer_keras.genome.dataset import DatasetDescription

_logger = logging.getLogger(__name__)


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


def plan_windows(description: DatasetDescription, contig_lengths: Mapping[str, int]) -> list[Window]:
    """Cuts the contigs into windows.

    Every window lies wholly inside its block (or contig) and `flank_length` bp away from a border inside
    a contig, so that no input, flanks included, reaches a bp that another split may hold.

    Args:
        description: window, stride and splits.
        contig_lengths: bp of each contig that is used.

    Returns:
        Windows in the order split, contig, start.

    Raises:
        DatasetError: a split has no window (the message says why).
    """
    windows: list[Window] = []
    problems: list[str] = []
    target_width = description.target_length * description.bin_size
    for split, blocks in description.blocks_by_split(contig_lengths).items():
        planned: list[Window] = []
        for block in blocks:
            first = block.start + (description.flank_length if block.start > 0 else 0)
            inner_end = block.end < contig_lengths[block.chrom]
            end = block.end - (description.flank_length if inner_end else 0)
            for start in range(first, end - description.window_length + 1, description.strides[split]):
                interval = Interval(block.chrom, start, start + description.window_length)
                planned.append(Window(interval, interval.resize(target_width), split))
        if not planned:
            longest = max(blocks, key=lambda block: block.width)
            problems.append(
                f"split {split}: no window fits; its longest block {longest} has {longest.width} bp, a "
                f"window needs {description.window_length} bp and {description.flank_length} bp to each "
                "border inside a contig: give the split more of the genome, or shorten window_length"
            )
        windows += planned
    if problems:
        raise DatasetError(problems)
    _logger.info("windows planned: %s", dict(Counter(window.split for window in windows)))
    return windows


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
