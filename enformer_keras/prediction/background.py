"""How large a score is: its quantile among the scores of a background, such as common variants.

A raw score has no unit that could be compared between tracks or statistics. Its rank among variants that are
common in a population, so mostly without a strong effect, has.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.hdf5_file import new_hdf5
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.predictor import VariantScores
from enformer_keras.prediction.statistics import quantile_of

# Of more scores than this, as many order statistics are kept: half of them evenly, half towards the largest.
_MOST_POINTS = 4096
# With fewer a quantile says nothing.
_FEWEST = 100
# What a file of scores says of itself that may differ between the background and what is held against it.
_FREE = frozenset({"made_by", "model", "genome", "variants", "reference_policy", "background", "tracks_table"})
# Values that are sorted at once.
_MOST_SORTED = 2**26


@dataclasses.dataclass(frozen=True)
class Background:
    """The sizes of a background's scores.

    Attributes:
        path: its file.
        count: scores that it was made of.
        about: how these were made.
        tracks: identifiers of the columns.
        shares: float64 [points], increasing: the share of the background that is smaller, ties counted half.
        sizes: statistic -> float32 [points, tracks], the absolute scores of these shares.
    """

    path: Path
    count: int
    about: Mapping[str, Any]
    tracks: tuple[str, ...]
    shares: np.ndarray
    sizes: Mapping[str, np.ndarray]

    def check(self, about: Mapping[str, Any], tracks: Sequence[str], statistics: Sequence[str]) -> None:
        """Checks that scores may be held against this background.

        Args:
            about: how they are made, as a file of scores says it.
            tracks: identifiers of their columns.
            statistics: theirs.

        Raises:
            DatasetError: they are of another model, made with other options, or of tracks or statistics that
                the background does not have; or of some of its tracks, of which it has two of one identifier.
        """
        for name in sorted((self.about.keys() | about.keys()) - _FREE):
            here, there = _as_written(about.get(name)), self.about.get(name)
            if here != there:
                raise DatasetError(
                    f"{self.path}: is of scores with {name}={there!r}, but these have {here!r}; "
                    "score the background's variants anew with the same model and options"
                )
        for kind, asked, known in (("track", tracks, self.tracks), ("statistic", statistics, self.sizes)):
            missing = [name for name in asked if name not in known]
            if missing:
                raise DatasetError(
                    f"{self.path}: does not have the {kind} {missing[0]}; ask for some of those that it has, "
                    "or score the background's variants anew"
                )

        times = Counter(self.tracks)
        twice = next((name for name in tracks if times[name] > 1), None)
        if twice is not None and tuple(tracks) != self.tracks:
            raise DatasetError(
                f"{self.path}: has {times[twice]} tracks {twice}, and nothing says which of them is meant; ask "
                "for all of its tracks, or give them identifiers of their own (--tracks-table)"
            )

    def quantiles(self, statistic: str, scores: np.ndarray, tracks: Sequence[str]) -> np.ndarray:
        """Ranks scores among the background's.

        Args:
            statistic: whose scores.
            scores: float [alleles, tracks].
            tracks: identifiers of the columns.

        Returns:
            float32 [alleles, tracks]: the share of the background whose scores are smaller in size, ties
            counted half, with the sign of the score; NaN stays.
        """
        found = np.empty(scores.shape, dtype=np.float32)
        # All of them by their places: in basenji's tables several tracks may have one identifier.
        places = range(len(self.tracks)) if tuple(tracks) == self.tracks else map(self.tracks.index, tracks)
        for column, place in enumerate(places):
            sizes = self.sizes[statistic][:, place]
            asked = np.abs(scores[:, column])
            found[:, column] = np.sign(scores[:, column]) * _ranks(asked, sizes, self.shares, self.count)
        return found

    def add_to(self, scores: VariantScores) -> VariantScores:
        """Returns the scores with a quantile beside each statistic (`statistics.quantile_of`)."""
        tracks = [track.identifier for track in scores.tracks]
        ranked = {
            quantile_of(name): self.quantiles(name, values, tracks)
            for name, values in scores.statistics.items()
        }
        return dataclasses.replace(scores, statistics={**scores.statistics, **ranked})


def _ranks(asked: np.ndarray, sizes: np.ndarray, shares: np.ndarray, count: int) -> np.ndarray:
    """Finds shares of sizes by the order statistics around them."""
    values, first = np.unique(sizes, return_index=True)
    last = np.append(first[1:], len(sizes)) - 1
    middle = (shares[first] + shares[last]) / 2
    between: np.ndarray = np.interp(asked, values, middle)
    # Beyond all: half a variant from the end, since no background is large enough to say 0 or 1.
    between = np.where(asked < values[0], 0.5 / count, between)
    between = np.where(asked > values[-1], 1 - 0.5 / count, between)
    return np.where(np.isnan(asked), np.nan, between)


def calibrate(scores: str | Path, output: str | Path) -> Background:
    """Makes a background of a file of scores.

    Args:
        scores: `scores.h5` of the background's variants, or its folder.
        output: the file to write, HDF5; it appears whole or not at all.

    Returns:
        The background, as `read_background` reads it.

    Raises:
        DatasetError: the file cannot be read, or holds fewer than 100 scores.
        OSError: the background cannot be written.
    """
    import h5py

    scores, output = Path(scores), Path(output)
    scores = scores / "scores.h5" if scores.is_dir() else scores
    if not scores.exists():
        raise DatasetError(f"{scores}: no such file; give a scores.h5 of `enformer score`, or its folder")
    try:
        source = h5py.File(scores)
    except OSError as error:
        raise DatasetError(
            f"{scores}: cannot be read ({error}); give a scores.h5 of `enformer score`"
        ) from error
    with source, whole_files(output.parent, [output.name]) as paths:
        statistics = [name for name, values in source.items() if "formula" in values.attrs]
        if not statistics or "target_ids" not in source:
            raise DatasetError(f"{scores}: holds no scores; give a scores.h5 of `enformer score`")
        tracks = list(source["target_ids"].asstr()[:])
        scored = ~np.isnan(source[statistics[0]][:, 0])
        count = int(scored.sum())
        if count < _FEWEST:
            raise DatasetError(
                f"{scores}: holds {count} scored alleles; a background needs {_FEWEST}, better 10,000 and more"
            )
        places = _places(count)
        with new_hdf5(paths[output.name]) as (file, _):
            file["tracks"] = np.array(tracks, dtype=h5py.string_dtype("utf-8"))
            file["shares"] = (places + 0.5) / count
            file.attrs["count"] = count
            file.attrs["about"] = json.dumps({name: _from_attribute(v) for name, v in source.attrs.items()})
            step = max(1, _MOST_SORTED // len(scored))
            for statistic in statistics:
                sizes = file.create_dataset(
                    f"sizes/{statistic}", (len(places), len(tracks)), dtype=np.float32, compression="gzip"
                )
                for first in range(0, len(tracks), step):
                    part = np.abs(source[statistic][:, first : first + step][scored])
                    part.sort(axis=0)
                    sizes[:, first : first + step] = part[places]
    return read_background(output)


def read_background(path: str | Path) -> Background:
    """Reads what `calibrate` wrote.

    Raises:
        DatasetError: the file is none.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path) as file:
            return Background(
                path,
                int(file.attrs["count"]),
                json.loads(file.attrs["about"]),
                tuple(file["tracks"].asstr()[:]),
                file["shares"][:],
                {name: values[:] for name, values in file["sizes"].items()},
            )
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(f"{path}: is no background ({error}); make one with `enformer calibrate`") from error


def _places(count: int) -> np.ndarray:
    """Chooses order statistics: all of a few, of many some, the closer the nearer to the largest."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    evenly = np.linspace(0, count - 1, _MOST_POINTS // 2)
    from_the_top = count - np.geomspace(1, count, _MOST_POINTS // 2)
    return np.unique(np.concatenate([evenly, from_the_top]).astype(int))


def _from_attribute(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _as_written(value: Any) -> Any:
    """Returns a value as an attribute of a file of scores gives it back."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)
