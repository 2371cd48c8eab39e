"""Moments apart for each block of the genome: what a bootstrap draws from."""

from __future__ import annotations

import dataclasses
import zlib

from components.evaluator.moments import TrackMoments

# More are joined with their neighbours: 32 blocks of 5,313 tracks take 7 MB.
MAX_BLOCKS = 32
# Begins the names of blocks of several contigs; no contig's name has a space.
OTHER_CONTIGS = "other contigs"
# Of more contigs than blocks, into how many of these those go that come last by name.
_GROUPS = MAX_BLOCKS // 2
# With at least so many contigs they are what is drawn; else it is blocks of them.
MIN_CONTIGS = 10


@dataclasses.dataclass(frozen=True)
class BlockMoments:
    """Moments of (target, prediction) pairs by the block of a contig in which their window starts.

    A block holds neighbouring windows of one contig. At first each window is one of its own; while there are
    more than `MAX_BLOCKS`, all become twice as wide, until each holds a whole contig. Of still more contigs,
    those that come last by name share blocks (`OTHER_CONTIGS`). What comes of a set of windows does not depend
    on the order in which they were merged.

    Attributes:
        log2_width: a block is 2 ** log2_width bp wide.
        blocks: (contig, start of the window // width) -> moments.
    """

    log2_width: int
    blocks: dict[tuple[str, int], TrackMoments]

    # Wider than any contig.
    _LARGEST = 40

    @classmethod
    def of_window(cls, chrom: str, start: int, moments: TrackMoments) -> BlockMoments:
        """Puts the moments of one window in a block.

        Args:
            chrom: contig.
            start: of the window, in bp.
            moments: of all its bins.
        """
        return cls(0, {(chrom, start): moments})

    def merge(self, other: BlockMoments) -> BlockMoments:
        """Returns the blocks of both sets of windows together.

        Raises:
            ValueError: If the two differ in their number of tracks.
        """
        log2_width = max(self.log2_width, other.log2_width)
        blocks = dict(self._widen(log2_width).blocks)
        for key, moments in other._widen(log2_width).blocks.items():
            blocks[key] = blocks[key].merge(moments) if key in blocks else moments
        merged = BlockMoments(log2_width, blocks)
        while len(merged.blocks) > MAX_BLOCKS and merged.log2_width < self._LARGEST:
            merged = merged._widen(merged.log2_width + 1)
        return merged._join_contigs()

    def by_contig(self) -> dict[str, TrackMoments]:
        """Returns the moments of the windows of each contig, in the order of their names.

        Of more than `MAX_BLOCKS` contigs the first have their own; `OTHER_CONTIGS` stands for the others.
        """
        found: dict[str, TrackMoments] = {}
        for (chrom, _), moments in sorted(self._widen(self._LARGEST).blocks.items(), key=lambda item: item[0]):
            name = OTHER_CONTIGS if chrom.startswith(OTHER_CONTIGS) else chrom
            found[name] = found[name].merge(moments) if name in found else moments
        return found

    def units(self) -> list[TrackMoments]:
        """Returns what a bootstrap draws from, in order.

        These are contigs if there are `MIN_CONTIGS`, else blocks; of more than `MAX_BLOCKS` contigs, 16 groups
        to which their names deal them all, so that no unit is far larger than others.
        """
        contigs = {chrom for chrom, _ in self.blocks}
        units = self._widen(self._LARGEST) if len(contigs) >= MIN_CONTIGS else self
        if not self._joined():
            return [units.blocks[key] for key in sorted(units.blocks)]
        groups: dict[int, TrackMoments] = {}
        for (chrom, _), moments in sorted(units.blocks.items(), key=lambda item: item[0]):
            in_group = chrom.startswith(OTHER_CONTIGS)
            group = int(chrom.removeprefix(OTHER_CONTIGS)) if in_group else _group(chrom)
            groups[group] = groups[group].merge(moments) if group in groups else moments
        return [groups[group] for group in sorted(groups)]

    def _join_contigs(self) -> BlockMoments:
        if len(self.blocks) <= MAX_BLOCKS and not self._joined():
            return self
        # Those that keep their names come first in any part of the windows too, and were never joined there.
        contigs = {chrom for chrom, _ in self.blocks if not chrom.startswith(OTHER_CONTIGS)}
        first = set(sorted(contigs)[: MAX_BLOCKS - _GROUPS])
        blocks: dict[tuple[str, int], TrackMoments] = {}
        for (chrom, index), moments in self.blocks.items():
            joined = chrom not in first and chrom in contigs
            key = (f"{OTHER_CONTIGS} {_group(chrom)}" if joined else chrom, index)
            blocks[key] = blocks[key].merge(moments) if key in blocks else moments
        return BlockMoments(self.log2_width, blocks)

    def _joined(self) -> bool:
        return any(chrom.startswith(OTHER_CONTIGS) for chrom, _ in self.blocks)

    def _widen(self, log2_width: int) -> BlockMoments:
        if log2_width == self.log2_width:
            return self
        blocks: dict[tuple[str, int], TrackMoments] = {}
        for (chrom, index), moments in sorted(self.blocks.items(), key=lambda item: item[0]):
            # A window may begin before its contig, and belongs to the first block all the same.
            key = (chrom, max(index, 0) >> (log2_width - self.log2_width))
            blocks[key] = blocks[key].merge(moments) if key in blocks else moments
        return BlockMoments(log2_width, blocks)


def _group(contig: str) -> int:
    return zlib.crc32(contig.encode()) % _GROUPS
