"""Stretches of a genome that decide which windows and bins are used, asked about for many at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from enformer_keras.formats.bed import BedLines
from enformer_keras.formats.intervals import Interval, merge


class Ranges:
    """Stretches of contigs, overlaps and neighbours merged.

    Args:
        intervals: contig -> int64 [2, n], starts and ends in any order.
    """

    def __init__(self, intervals: Mapping[str, np.ndarray]) -> None:
        self._merged = {contig: merge(starts, ends) for contig, (starts, ends) in intervals.items()}
        # bp covered before each stretch
        self._before = {
            contig: np.concatenate([[0], np.cumsum(ends - starts)])
            for contig, (starts, ends) in self._merged.items()
        }

    @classmethod
    def of_bed(cls, lines: Mapping[str, BedLines]) -> Ranges:
        """Makes ranges of a BED file's lines."""
        return cls({contig: np.stack([rows.starts, rows.ends]) for contig, rows in lines.items()})

    def joined(self, other: Ranges) -> Ranges:
        """Returns what lies in either."""
        contigs = dict.fromkeys([*self._merged, *other._merged])
        nothing = np.zeros((2, 0), dtype=np.int64)
        return Ranges(
            {
                contig: np.concatenate(
                    [self._merged.get(contig, nothing), other._merged.get(contig, nothing)], axis=1
                )
                for contig in contigs
            }
        )

    def covered(self, contig: str, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Counts the bp of intervals that lie in the ranges.

        Args:
            contig: where.
            starts: int64 [n]; may be negative.
            ends: int64 [n].

        Returns:
            int64 [n].
        """
        if contig not in self._merged:
            return np.zeros(len(starts), dtype=np.int64)
        covered: np.ndarray = self._covered_before(contig, ends) - self._covered_before(contig, starts)
        return covered

    def _covered_before(self, contig: str, positions: np.ndarray) -> np.ndarray:
        starts, ends = self._merged[contig]
        at = np.searchsorted(starts, positions, "right") - 1
        if not len(starts):
            return np.zeros(len(positions), dtype=np.int64)
        inside = np.minimum(positions, ends[at]) - starts[at]
        return np.where(at < 0, 0, self._before[contig][at] + inside)


class HomologyGroups:
    """Intervals whose sequences are related.

    Args:
        lines: contig -> intervals, sorted by start, with the group's name as their only cell.

    Attributes:
        count: number of groups.
    """

    def __init__(self, lines: Mapping[str, BedLines]) -> None:
        names = np.concatenate([rows.cells[0] for rows in lines.values()])
        unique, numbers = np.unique(names, return_inverse=True)
        self.count = len(unique)
        self._intervals = {}
        done = 0
        for contig, rows in lines.items():
            self._intervals[contig] = (rows.starts, rows.ends, numbers[done : done + len(rows.starts)])
            done += len(rows.starts)

    def touching(self, contig: str, starts: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds which windows touch which groups.

        Args:
            contig: where.
            starts: int64 [n], sorted; windows of one width.
            width: theirs, in bp.

        Returns:
            int64 positions in `starts` and int64 numbers of the groups they touch, each pair once.
        """
        if contig not in self._intervals:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        begin, end, group = self._intervals[contig]
        # Windows of one width are sorted by end too: those that touch an interval stand in a row.
        first = np.searchsorted(starts, begin - width, "right")
        counts = np.searchsorted(starts, end, "left") - first
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        window = np.repeat(first, counts) + offsets
        pairs = np.unique(window * self.count + np.repeat(group, counts))
        return pairs // self.count, pairs % self.count


@dataclasses.dataclass(frozen=True)
class Blacklist:
    """Where bins are limited (`blacklist_rule: clip`).

    Attributes:
        ranges: the blacklist.
        quantile: of the track over the target that is read.
    """

    ranges: Ranges
    quantile: float

    def bins(self, interval: Interval, bin_size: int) -> np.ndarray:
        """Returns bool [bins]: which bins of an interval overlap the blacklist."""
        starts = np.arange(interval.start, interval.end, bin_size)
        return self.ranges.covered(interval.chrom, starts, starts + bin_size) > 0


@dataclasses.dataclass(frozen=True)
class Masks:
    """What the files of a description say about its genome; `None` where it names none.

    Attributes:
        splits: split -> stretches, for splits by a BED file.
        regions: where targets may lie.
        gaps: what windows keep away from.
        blacklist: where signal is an artefact.
        unmappable: where reads cannot be placed.
        homology: related sequences.
    """

    splits: dict[str, list[Interval]] | None = None
    regions: Ranges | None = None
    gaps: Ranges | None = None
    blacklist: Ranges | None = None
    unmappable: Ranges | None = None
    homology: HomologyGroups | None = None
