"""What changed since the model that was pushed before, and what is kept of its scores to tell that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats

from components.variant_scorer.reading import (
    RANKED_BY,
    Strong,
    largest_rows,
    read_blocks,
    read_strong,
    read_tracks,
)
from enformer_keras.formats.hdf5_file import new_hdf5
from enformer_keras.formats.whole_files import whole_files

if TYPE_CHECKING:
    import h5py

# Versions whose scores are kept: the last one, and that before it, if the last is scored anew.
_KEPT = 2
# What must be the same for scores to be held against each other: attribute -> what a person calls it.
_SAME = {
    "variants_sha256": "another file of variants",
    "strands": "other strands",
    "formula": "another statistic",
    "tracks": "other tracks",
}
# Numbers of each model that rank correlations look at; of more variants, evenly spaced ones are taken.
_MOST_VALUES = 1 << 25


@dataclasses.dataclass(frozen=True)
class Moved:
    """A variant whose score changed.

    Attributes:
        now: the new scores of the track that changed the most.
        before: that track's score by the earlier model, of the statistic by which variants are ranked.
    """

    now: Strong
    before: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Scores by two models.

    Attributes:
        version: that the earlier model was pushed as.
        variants: scored by both.
        sampled: of them, those that the correlations are over, evenly spaced.
        correlations: float64 [tracks], Spearman's; NaN where a track's scores are all alike.
        moved: the variants whose score changed most, over all tracks, the most first; none that did not change.
    """

    version: str
    variants: int
    sampled: int
    correlations: np.ndarray
    moved: list[Moved]


def keep_scores(scores: Path, folder: Path, version: str) -> None:
    """Keeps of a model's scores what the next one is compared by.

    Args:
        scores: its `scores.h5`.
        folder: of what is kept, a file for each version; the oldest go.
        version: that it was pushed as.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    import h5py

    name = f"{version}.h5"
    with (
        whole_files(folder, [name]) as paths,
        h5py.File(scores) as made,
        new_hdf5(paths[name]) as (kept, _),
    ):
        for key in ("target_ids", "target_labels", RANKED_BY):
            made.copy(key, kept)
        for attribute in ("variants_sha256", "strands"):
            kept.attrs[attribute] = made.attrs[attribute]
    for old in _list_kept(folder)[:-_KEPT]:
        old.unlink()


def find_last(scores: Path, folder: Path, version: str) -> tuple[Path | None, str]:
    """Finds the scores of the last model before this one.

    Args:
        scores: this one's `scores.h5`.
        folder: see `keep_scores`; it need not exist yet.
        version: that this one was pushed as.

    Returns:
        The kept file with which this one can be compared; or `None`, and why not.
    """
    earlier = [path for path in _list_kept(folder) if int(path.stem) < int(version)]
    if not earlier:
        return None, "no model that was pushed before has scores here"
    last = earlier[-1]
    import h5py

    with h5py.File(scores) as made, h5py.File(last) as kept:
        ours, theirs = _identify(made), _identify(kept)
    others = [said for key, said in _SAME.items() if ours[key] != theirs[key]]
    if others:
        return None, f"the scores of the model that was pushed before, version {last.stem}, are of " + (
            " and ".join(others)
        )
    return last, ""


def compare(scores: Path, last: Path, most: int) -> Comparison:
    """Compares scores of the same variants, block by block.

    Args:
        scores: the new model's `scores.h5`.
        last: what `find_last` found.
        most: of the variants that changed most, how many are wanted.

    Returns:
        The comparison.
    """
    import h5py

    with h5py.File(scores) as made, h5py.File(last) as kept:
        rows, tracks = made[RANKED_BY].shape
        change = np.full(rows, -1.0, dtype=np.float32)  # -1: not scored by both
        at = np.zeros(rows, dtype=np.int64)
        for part, (new, old) in read_blocks(made[RANKED_BY], kept[RANKED_BY]):
            both = ~(np.isnan(new[:, 0]) | np.isnan(old[:, 0]))
            places = np.flatnonzero(both) + part.start
            changes = np.abs(new[both] - old[both])
            at[places] = changes.argmax(axis=1)
            change[places] = changes[np.arange(len(places)), at[places]]
        common = np.flatnonzero(change >= 0)
        sampled = common
        if len(common) * tracks > _MOST_VALUES:
            chosen = np.linspace(0, len(common) - 1, max(_MOST_VALUES // tracks, 3)).round().astype(int)
            sampled = common[np.unique(chosen)]
        return Comparison(
            version=last.stem,
            variants=len(common),
            sampled=len(sampled),
            correlations=rank_correlations(
                *(_read_rows(file[RANKED_BY], sampled) for file in (made, kept)),
            ),
            moved=[
                Moved(read_strong(made, row, int(at[row])), float(kept[RANKED_BY][row, int(at[row])]))
                for row in largest_rows(np.where(change > 0, change, -1), most)
            ],
        )


def rank_correlations(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Returns Spearman's correlation of each column.

    Args:
        new: [rows, tracks].
        old: the same.

    Returns:
        float64 [tracks]; NaN where a column has one value alone.
    """
    found = np.full(new.shape[1], np.nan)
    for track in range(new.shape[1]):
        ranks = [scipy.stats.rankdata(values[:, track]) for values in (new, old)]
        if len(new) > 1 and all(np.ptp(one) > 0 for one in ranks):
            found[track] = np.corrcoef(*ranks)[0, 1]
    return found


def _identify(file: h5py.File) -> dict[str, object]:
    return {
        "variants_sha256": file.attrs["variants_sha256"],
        "strands": file.attrs["strands"],
        "formula": file[RANKED_BY].attrs["formula"] if RANKED_BY in file else None,
        "tracks": [track.identifier for track in read_tracks(file)],
    }


def _list_kept(folder: Path) -> list[Path]:
    """Lists what is kept, the oldest version first."""
    files = (path for path in folder.glob("*.h5") if path.stem.isdecimal())
    return sorted(files, key=lambda path: int(path.stem))


def _read_rows(dataset: h5py.Dataset, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Reads some rows [rows, tracks], in their order, block by block: HDF5 is slow at picking single ones."""
    found = np.empty((len(rows), dataset.shape[1]), dtype=np.float32)
    wanted = np.asarray(rows)
    for part, (values,) in read_blocks(dataset):
        first, last = np.searchsorted(wanted, (part.start, part.stop))
        found[first:last] = values[wanted[first:last] - part.start]
    return found
