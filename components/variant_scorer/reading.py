"""What `scores.h5` comes to: the strongest variants, and how scores are spread over assays; read in blocks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.variant_scorer.scoring import STATISTICS
from enformer_keras.formats.track_table import assay_of
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.statistics import FORMULAS

if TYPE_CHECKING:
    import h5py

RANKED_BY = STATISTICS[0]
FORMULA = FORMULAS[RANKED_BY]
# Numbers that are read at a time.
_BLOCK_VALUES = 1 << 24
# Sizes of scores are counted in bins that each span a fiftieth of a power of ten.
_LOWEST, _HIGHEST, _BINS_OF_TEN = -8, 3, 50
EDGES = 10.0 ** (np.arange((_HIGHEST - _LOWEST) * _BINS_OF_TEN + 1) / _BINS_OF_TEN + _LOWEST)


@dataclasses.dataclass(frozen=True)
class Track:
    """A column.

    Attributes:
        identifier: short name.
        description: free text.
    """

    identifier: str
    description: str

    @property
    def assay(self) -> str:
        """The assay, as the Evaluator groups tracks."""
        return assay_of(self.description)


@dataclasses.dataclass(frozen=True)
class Strong:
    """A variant, and its track with the largest score.

    Attributes:
        row: its place in the file, from 0.
        variant: as its file spells it.
        track: index of the track.
        scores: statistic -> the track's score.
    """

    row: int
    variant: Variant
    track: int
    scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Spread:
    """How the scores of an assay's tracks are spread.

    Attributes:
        tracks: how many.
        more: [bins of `EDGES`], scores above 0; those beyond an end count in the last bin.
        less: the same of scores below 0.
        none: scores that are 0.
    """

    tracks: int
    more: np.ndarray
    less: np.ndarray
    none: int

    def quantile(self, share: float) -> float:
        """Returns the size that so large a share of scores does not exceed, to 5%; NaN where there are none."""
        counts = np.concatenate([[self.none], self.more + self.less])
        if not counts.sum():
            return float("nan")
        at = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
        return float(EDGES[at]) if at else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the scores of one organism come to.

    Attributes:
        tracks: the columns.
        statuses: status -> alleles.
        strongest: the variants with the largest absolute score over all tracks, the largest first.
        spreads: assay -> its tracks' scores.
    """

    tracks: list[Track]
    statuses: Counter[str]
    strongest: list[Strong]
    spreads: dict[str, Spread]


def read_tracks(file: h5py.File) -> list[Track]:
    """Reads the columns of `scores.h5`."""
    texts = (file[key].asstr()[:] for key in ("target_ids", "target_labels"))
    return [Track(str(identifier), str(label)) for identifier, label in zip(*texts, strict=True)]


def read_blocks(*datasets: h5py.Dataset) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Reads datasets of one shape [rows, tracks], as many rows at a time as fit well into memory."""
    rows, tracks = datasets[0].shape
    step = max(_BLOCK_VALUES // max(tracks, 1), 1)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        yield part, [dataset[part] for dataset in datasets]


def read_strong(file: h5py.File, row: int, track: int) -> Strong:
    """Reads a row of `scores.h5`."""
    chrom, name, reference, alternate = (
        str(file[key].asstr()[row]) for key in ("chr", "snp", "ref_allele", "alt_allele")
    )
    variant = Variant(chrom, int(file["pos"][row]), reference, alternate)
    if name != str(variant):  # which stands for a name where the file has none
        variant = dataclasses.replace(variant, name=name)
    scores = {statistic: float(file[statistic][row, track]) for statistic in STATISTICS}
    return Strong(row, variant, track, scores)


def summarize(file: h5py.File, most: int) -> Summary:
    """Reads the file once, block by block.

    Args:
        file: `scores.h5`, open.
        most: of the strongest variants, how many are wanted.

    Returns:
        The summary.
    """
    tracks = read_tracks(file)
    assays = list(dict.fromkeys(track.assay for track in tracks))
    assay_of = np.array([assays.index(track.assay) for track in tracks])
    bins = len(EDGES) - 1
    counts = np.zeros((2, len(assays), bins), dtype=np.int64)  # above 0, below 0
    zeros = np.zeros(len(assays), dtype=np.int64)
    largest = np.full(len(file["snp"]), -1.0, dtype=np.float32)  # -1: not scored
    at = np.zeros(len(largest), dtype=np.int64)
    for part, (values,) in read_blocks(file[RANKED_BY]):
        scored = ~np.isnan(values[:, 0])
        values = values[scored]
        sizes = np.abs(values)
        rows = np.flatnonzero(scored) + part.start
        at[rows] = sizes.argmax(axis=1)
        largest[rows] = sizes[np.arange(len(rows)), at[rows]]
        places = np.log10(np.maximum(sizes, 10.0**_LOWEST)) - _LOWEST
        places = np.clip((places * _BINS_OF_TEN).astype(np.int64), 0, bins - 1) + assay_of * bins
        for sign, chosen in enumerate((values > 0, values < 0)):
            counts[sign] += np.bincount(places[chosen], minlength=counts[sign].size).reshape(len(assays), bins)
        zeros += np.bincount(assay_of, weights=(values == 0).sum(axis=0), minlength=len(assays)).astype(int)
    return Summary(
        tracks=tracks,
        statuses=Counter(file["status"].asstr()[:].tolist()),
        strongest=[read_strong(file, row, int(at[row])) for row in largest_rows(largest, most)],
        spreads={
            assay: Spread(int((assay_of == place).sum()), counts[0, place], counts[1, place], int(zeros[place]))
            for place, assay in enumerate(assays)
        },
    )


def largest_rows(sizes: np.ndarray, most: int) -> list[int]:
    """Returns the places of the largest sizes, the largest first and of equal ones the first; none below 0."""
    most = min(most, int((sizes >= 0).sum()))
    if not most:
        return []
    least = np.partition(sizes, len(sizes) - most)[len(sizes) - most]
    rows = np.flatnonzero(sizes >= least)  # ties included
    order: Sequence[int] = rows[np.argsort(-sizes[rows], kind="stable")][:most].tolist()
    return list(order)
