"""Values on stretches of contigs: what interval files (BED, GFF3, GTF) say about every bp."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np

from enformer_keras.formats.intervals import Interval, merge

# int64 starts [n], int64 ends [n] and float32 values [n] of a contig: sorted and disjoint.
Stretches = tuple[np.ndarray, np.ndarray, np.ndarray]


class Segments:
    """A signal that is constant on stretches and 0 elsewhere.

    Args:
        stretches: contig -> its stretches; a contig that is not named has none.
    """

    def __init__(self, stretches: Mapping[str, Stretches]) -> None:
        self._stretches = stretches

    def values(self, interval: Interval) -> tuple[np.ndarray, None]:
        """Returns float32 [bp], and that no bp is without a value."""
        if interval.chrom not in self._stretches:
            return np.zeros(interval.width, dtype=np.float32), None
        starts, ends, values = self._inside(interval)
        starts = np.maximum(starts - interval.start, 0)
        ends = np.minimum(ends - interval.start, interval.width)
        # Before each stretch lies one of zeros, and one more after the last.
        before = np.concatenate([[0], ends])
        after = np.concatenate([starts, [interval.width]])
        lengths = np.empty(2 * len(starts) + 1, dtype=np.int64)
        lengths[0::2] = after - before
        lengths[1::2] = ends - starts
        heights = np.zeros(len(lengths), dtype=np.float32)
        heights[1::2] = values
        return np.repeat(heights, lengths), None

    def _inside(self, interval: Interval) -> Stretches:
        """Returns the stretches that overlap an interval of a contig that has some."""
        starts, ends, values = self._stretches[interval.chrom]
        inside = slice(
            np.searchsorted(ends, interval.start, "right"), np.searchsorted(starts, interval.end, "left")
        )
        return starts[inside], ends[inside], values[inside]

    def has_values(self, contig: str) -> bool:
        """Says whether a contig has a stretch."""
        return contig in self._stretches

    def extremes(self, interval: Interval) -> tuple[float, float]:
        """Returns the smallest and the largest value of the stretches in an interval; 0 without any."""
        values = self._inside(interval)[2] if interval.chrom in self._stretches else np.zeros(0)
        return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)

    def bounds(self) -> tuple[float, float]:
        """Returns what no value is below or above."""
        every = [values for _, _, values in self._stretches.values() if values.size]
        return min((float(v.min()) for v in every), default=0.0), max(
            (float(v.max()) for v in every), default=0.0
        )

    def totals(self) -> tuple[float, float]:
        """Returns the sum of the values of all bp and that of their squares."""
        total = squares = 0.0
        for starts, ends, values in self._stretches.values():
            lengths, heights = ends - starts, values.astype(np.float64)
            total += float(lengths @ heights)
            squares += float(lengths @ heights**2)
        return total, squares

    def close(self) -> None:
        """Nothing is held open."""


def presence(starts: np.ndarray, ends: np.ndarray) -> Stretches:
    """Returns 1 where at least one of the intervals lies; they may overlap, in any order."""
    starts, ends = merge(starts, ends)
    return starts, ends, np.ones(len(starts), dtype=np.float32)


def largest(starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> Stretches:
    """Returns at every bp the largest value of the intervals that lie there.

    Args:
        starts: int64 [n], sorted.
        ends: int64 [n].
        values: float32 [n].

    Returns:
        Stretches.
    """
    if not np.any(starts[1:] < ends[:-1]):
        return starts, ends, values
    # A sweep over all borders, with the open intervals on a heap, the largest on top.
    borders = np.unique(np.concatenate([starts, ends]))
    height = np.full(len(borders), np.nan, dtype=np.float32)  # of the stretch that begins at the border
    reached = np.searchsorted(starts, borders, "right")
    heap: list[tuple[float, int]] = []
    opened = 0
    for at, border in enumerate(borders.tolist()):
        while opened < reached[at]:
            heapq.heappush(heap, (-float(values[opened]), int(ends[opened])))
            opened += 1
        while heap and heap[0][1] <= border:
            heapq.heappop(heap)
        if heap:
            height[at] = -heap[0][0]
    covered = np.flatnonzero(~np.isnan(height))
    return borders[covered], borders[covered + 1], height[covered]
