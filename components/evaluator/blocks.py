"""Moments apart for each block of the genome: what a bootstrap draws from."""

from __future__ import annotations

import dataclasses

from components.evaluator.moments import TrackMoments

# More are joined with their neighbours: 32 blocks of 5,313 tracks take 7 MB.
MAX_BLOCKS = 32
# Name of the block of all contigs for which there is none left; no contig's name has a space.
OTHER_CONTIGS = "other contigs"
# With at least so many contigs they are what is drawn; else it is blocks of them.
MIN_CONTIGS = 10


@dataclasses.dataclass(frozen=True)
class BlockMoments:
    """Moments of (target, prediction) pairs by the block of a contig in which their window starts.

    A block holds neighbouring windows of one contig. At first each window is one of its own; while there are
    more than `MAX_BLOCKS`, all become twice as wide, until each holds a whole contig. Of still more contigs,
    those that come last by name are `OTHER_CONTIGS`, one block. What comes of a set of windows does not
    depend on the order in which they were merged.

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
        """Returns the moments of the windows of each contig, in the order of their names."""
        whole = self._widen(self._LARGEST)
        return {chrom: whole.blocks[chrom, index] for chrom, index in sorted(whole.blocks)}

    def units(self) -> list[TrackMoments]:
        """Returns what a bootstrap draws from: contigs if there are `MIN_CONTIGS`, else blocks, in order."""
        contigs = {chrom for chrom, _ in self.blocks}
        units = self._widen(self._LARGEST) if len(contigs) >= MIN_CONTIGS else self
        return [units.blocks[key] for key in sorted(units.blocks)]

    def _join_contigs(self) -> BlockMoments:
        if len(self.blocks) <= MAX_BLOCKS:
            return self
        # Those that stay come first by name in any part of the windows too, and were never joined there.
        first = set(sorted({chrom for chrom, _ in self.blocks} - {OTHER_CONTIGS})[: MAX_BLOCKS - 1])
        blocks: dict[tuple[str, int], TrackMoments] = {}
        for (chrom, index), moments in self.blocks.items():
            key = (chrom if chrom in first else OTHER_CONTIGS, index)
            blocks[key] = blocks[key].merge(moments) if key in blocks else moments
        return BlockMoments(self.log2_width, blocks)

    def _widen(self, log2_width: int) -> BlockMoments:
        if log2_width == self.log2_width:
            return self
        blocks: dict[tuple[str, int], TrackMoments] = {}
        for (chrom, index), moments in sorted(self.blocks.items(), key=lambda item: item[0]):
            # A window may begin before its contig, and belongs to the first block all the same.
            key = (chrom, max(index, 0) >> (log2_width - self.log2_width))
            blocks[key] = blocks[key].merge(moments) if key in blocks else moments
        return BlockMoments(log2_width, blocks)
