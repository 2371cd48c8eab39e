"""Predictions of tiles as a job in parts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.jobs import Asked, Opened, SlicedJob, digest_of, question_of
from enformer_keras.prediction.parts import PartsFolder
from enformer_keras.prediction.tiling import Tile, centred_tiles, grid_tiles, predict_tiles

# Of a part, at most: work of seconds on an accelerator, of minutes on a CPU; and what is in memory.
_TILES = 64
_TILES_BYTES = 1 << 28


@dataclasses.dataclass
class TilesJob(SlicedJob):
    """Predicts tiles of regions; a part has `bins`, float32 [tiles, bins, tracks].

    Attributes:
        regions: on contigs of the genome.
        centred: whether there is one window about each region's centre, in place of the tiles of the contigs'
            grids.
    """

    regions: tuple[Interval, ...]
    centred: bool

    @classmethod
    def of(
        cls,
        asked: Asked,
        regions: Iterable[Interval],
        *,
        centred: bool = False,
        said: Mapping[str, Any] | None = None,
    ) -> TilesJob:
        """Lays the job out.

        Args:
            asked: of which model and genome.
            regions: see above.
            centred: as well.
            said: what else decides the numbers, or tells a user what parts are of.

        Raises:
            DatasetError: a file cannot be used.
        """
        regions = tuple(regions)
        with asked.open() as opened:
            frame = opened.predictor.frame
            count = len(_tiles(opened, regions, centred))
            bytes_of_tile = 4 * frame.target_length * len(asked.tracks)
            per_part = max(opened.predictor.batch_size, min(_TILES, _TILES_BYTES // bytes_of_tile))
            question = question_of(asked, opened, said, of="tiles", centred=centred, regions=digest_of(regions))
        return cls(asked, question, count, per_part, regions, centred)

    @contextlib.contextmanager
    def open(self) -> Iterator[_TilesWorker]:
        """Opens it."""
        with self.opened() as opened:
            yield _TilesWorker(self, opened, _tiles(opened, self.regions, self.centred))

    def read(self, parts: PartsFolder) -> Iterator[tuple[Tile, np.ndarray]]:
        """Reads all parts: each tile, and of all its bins float32 [bins, tracks]."""
        with self.open() as worker:
            for index in range(self.num_parts):
                bins = parts.read(index)["bins"]
                yield from zip(worker.tiles_of(index), bins, strict=True)


def _tiles(opened: Opened, regions: Sequence[Interval], centred: bool) -> list[Tile]:
    frame = opened.predictor.frame
    return list(
        centred_tiles(regions, frame) if centred else grid_tiles(regions, opened.genome.contig_lengths, frame)
    )


@dataclasses.dataclass(frozen=True)
class _TilesWorker:
    job: TilesJob
    opened: Opened
    tiles: Sequence[Tile]

    def tiles_of(self, index: int) -> Sequence[Tile]:
        return [self.tiles[number] for number in self.job.items(index)]

    def part(self, index: int) -> dict[str, np.ndarray]:
        (predictor, genome, tell), asked = self.opened, self.job.asked
        tiles = self.tiles_of(index)
        bins = np.empty((len(tiles), predictor.frame.target_length, len(asked.tracks)), dtype=np.float32)
        found = predict_tiles(predictor, tiles, genome, contig_aliases=asked.aliases, **asked.averaged)
        for number, (_, values) in enumerate(found):
            bins[number] = values
            tell(1)
        return {"bins": bins}
