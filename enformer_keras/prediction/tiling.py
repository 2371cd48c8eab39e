"""From regions to windows: the tiles of a contig, whose bins abut, or one window about each region's centre."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.formats.intervals import Interval, merge
from enformer_keras.prediction.windows import Frame

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.prediction.predictor import Predictor, Strands


@dataclasses.dataclass(frozen=True)
class Tile:
    """A window, and which of its bins are asked for.

    Attributes:
        window: what the model reads; past the contig's ends it reads N.
        target: where the bins lie, from the first one on. It ends with the last, or, of a tile on a contig's
            grid, with the contig, if that is before: bins beyond are of no use, the one that the end lies in is
            shorter.
        runs: bins that are asked for: first and one past the last of each run, sorted and apart.
    """

    window: Interval
    target: Interval
    runs: tuple[tuple[int, int], ...]

    def stretches(self, bin_size: int) -> Iterator[tuple[Interval, slice]]:
        """Yields where each run lies, cut at the target's end, and which bins it is."""
        for first, last in self.runs:
            start = self.target.start + first * bin_size
            end = min(self.target.start + last * bin_size, self.target.end)
            yield Interval(self.target.chrom, start, end), slice(first, last)


def grid_tiles(regions: Iterable[Interval], contig_lengths: Mapping[str, int], frame: Frame) -> Iterator[Tile]:
    """Covers regions by tiles of their contigs' grids.

    The bins of tile `k` lie on `[k * span, (k + 1) * span)`, where `span` is the bp that a model predicts. So
    the tiles of a contig have neither seam nor gap, and what is said of a bin does not depend on which regions
    are asked for. Of a region those bins count that share a bp with it. Each bin is asked for once, however
    many regions share it.

    Args:
        regions: on contigs, inside of them, in any order.
        contig_lengths: contig -> bp; the order of the tiles.
        frame: the model's.

    Yields:
        Tiles, sorted by contig and place; those without a region are left out.
    """
    size, per_tile = frame.bin_size, frame.target_length
    span = size * per_tile
    ends_of: dict[str, list[tuple[int, int]]] = {}
    for region in regions:
        if region.width:
            ends_of.setdefault(region.chrom, []).append((region.start // size, -(-region.end // size)))
    for contig, length in contig_lengths.items():
        if contig not in ends_of:
            continue
        first, last = np.array(ends_of[contig], dtype=np.int64).T
        pieces = (  # of each run of bins, cut where tiles abut
            (number, max(begin - number * per_tile, 0), min(end - number * per_tile, per_tile))
            for begin, end in merge(first, last).T.tolist()
            for number in range(begin // per_tile, -(-end // per_tile))
        )
        for number, runs in itertools.groupby(pieces, key=lambda piece: piece[0]):
            start = number * span
            yield Tile(
                Interval(contig, start - frame.crop, start - frame.crop + frame.window_length),
                Interval(contig, start, min(start + span, length)),
                tuple((begin, end) for _, begin, end in runs),
            )


def centred_tiles(regions: Iterable[Interval], frame: Frame) -> Iterator[Tile]:
    """Lays one window about the centre of each region, in their order.

    The centre is that of `Interval.resize`: of a region of one bp, this is the window's base
    `window_length / 2` (from 0), the first one of a bin where there is an even number of bins.

    Args:
        regions: on contigs.
        frame: the model's.
    """
    for region in regions:
        window = region.resize(frame.window_length)
        start = window.start + frame.crop
        target = Interval(region.chrom, start, start + frame.target_length * frame.bin_size)
        yield Tile(window, target, ((0, frame.target_length),))


def predict_tiles(
    predictor: Predictor,
    tiles: Iterable[Tile],
    genome: Genome,
    *,
    tracks: Sequence[int] | None = None,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[Tile, np.ndarray]]:
    """Predicts tiles as they come (`Predictor.predict_each`): any number of them fits into memory.

    Args:
        predictor: what is asked.
        tiles: which.
        genome: where they lie.
        tracks: indices of the head's tracks; `None`: all.
        strands: `both` averages over the two strands.
        shifts: bp by which windows move to the right, to average over.
        contig_aliases: contig of the genome -> other names, of which one may be the model's.

    Yields:
        Each tile, and of all its bins float32 [bins, tracks].

    Raises:
        DatasetError: the genome is not the model's.
        ValueError: an argument cannot be, or the model predicts what is no number.
    """
    tiles, windows = itertools.tee(tiles)
    asked = (tile.window for tile in windows)
    found = predictor.predict_each(
        asked, genome, tracks=tracks, strands=strands, shifts=shifts, contig_aliases=contig_aliases
    )
    for tile, bins in zip(tiles, found, strict=True):
        if not np.isfinite(bins).all():
            raise ValueError(f"{tile.window}: the model predicts values that are no numbers; do not use it")
        yield tile, bins
