"""Figures of the emitted examples, track by track, added up on Beam."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.examples.account import Account, SplitAccount
from components.examples.records import split_pattern
from enformer_keras.formats.intervals import Interval

# A track is marked above these shares of its bp, or bins, in a split.
MOST_MISSING = 0.5
MOST_CLIPPED = 0.1
# Mark of a track -> what a warning says of it.
_MARKS = {
    "all_zero": "0 in every bin",
    "missing": f"without a value in more than {MOST_MISSING:.0%} of their bp",
    "clipped": f"clipped in more than {MOST_CLIPPED:.0%} of their bins",
}
_NAMED = 10  # tracks that a warning names


@dataclasses.dataclass(frozen=True)
class Target:
    """The target of an example.

    Attributes:
        interval: where it lies.
        values: float16 [target_length, tracks].
    """

    interval: Interval
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shown:
    """An example that is drawn.

    Attributes:
        signal: mean of all its bins of all tracks.
        interval: where the target lies.
        values: float32 [target_length, drawn tracks].
    """

    signal: float
    interval: Interval
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sums:
    """What is kept of any number of examples: a few numbers per track, and one example of some tracks.

    Attributes:
        windows: number of examples.
        total: float64 [tracks], sum of the bins.
        largest: float64 [tracks], largest bin.
        zeros: int64 [tracks], bins that are 0.
        shown: the example with the strongest signal.
    """

    windows: int
    total: np.ndarray
    largest: np.ndarray
    zeros: np.ndarray
    shown: Shown | None


def drawn_tracks(tracks: int, most: int) -> np.ndarray:
    """Chooses the tracks that are drawn, evenly spaced over the table.

    Args:
        tracks: number of tracks.
        most: number drawn at most.

    Returns:
        int64 [drawn], indices.
    """
    return np.linspace(0, tracks - 1, min(tracks, most)).round().astype(np.int64)


def read_target(record: bytes, split: str, accounts: Mapping[str, Account]) -> tuple[tuple[str, str], Target]:
    """Reads an example's target and place.

    Args:
        record: serialized `tf.train.Example` of `example.make_example`.
        split: the split whose files hold it.
        accounts: organism -> how its examples were built.

    Returns:
        Organism and split; the target.
    """
    features = tf.train.Example.FromString(record).features.feature
    organism = features["organism"].bytes_list.value[0].decode()
    account = accounts[organism]
    chrom = features["chrom"].bytes_list.value[0].decode()
    window = Interval(chrom, features["start"].int64_list.value[0], features["end"].int64_list.value[0])
    values = np.frombuffer(features["target"].bytes_list.value[0], "<f2")
    return (organism, split), Target(
        window.resize(account.target_length * account.bin_size),
        values.reshape(account.target_length, len(account.tracks)),
    )


class AddTargets(beam.CombineFn):
    """Adds targets of one organism and split; holds one target at a time.

    Args:
        most_drawn: tracks that are drawn, at most.
    """

    def __init__(self, most_drawn: int) -> None:
        super().__init__()
        self._most_drawn = most_drawn

    def create_accumulator(self) -> Sums:
        """Returns the sums of no example; its scalars take any number of tracks."""
        return Sums(0, np.zeros(()), np.full((), -np.inf), np.zeros((), np.int64), None)

    def add_input(self, mutable_accumulator: Sums, element: Target) -> Sums:
        """Adds a target."""
        values = element.values.astype(np.float32)
        total = values.sum(axis=0, dtype=np.float64)
        one = Sums(
            windows=1,
            total=total,
            largest=values.max(axis=0).astype(np.float64),
            zeros=len(values) - np.count_nonzero(values, axis=0),
            shown=Shown(
                float(total.sum()) / values.size,
                element.interval,
                values[:, drawn_tracks(values.shape[1], self._most_drawn)],
            ),
        )
        return self.merge_accumulators([mutable_accumulator, one])

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        """Adds sums; of equally strong examples the first of the genome is shown."""
        merged = self.create_accumulator()
        for one in accumulators:
            shown = [each.shown for each in (merged, one) if each.shown is not None]
            merged = Sums(
                merged.windows + one.windows,
                merged.total + one.total,
                np.maximum(merged.largest, one.largest),
                merged.zeros + one.zeros,
                min(shown, key=lambda each: (-each.signal, each.interval), default=None),
            )
        return merged

    def extract_output(self, accumulator: Sums) -> Sums:
        """Returns the sums."""
        return accumulator


def make_report(
    sums: Mapping[tuple[str, str], Sums], accounts: Mapping[str, Account], most_drawn: int
) -> dict[str, Any]:
    """Puts the figures of examples and build together.

    Args:
        sums: organism and split -> sums of the examples found.
        accounts: organism -> how they were built.
        most_drawn: tracks of each organism that are drawn, at most.

    Returns:
        `organisms`: organism -> `bin_size`, `drawn` (identifiers) and `splits`: split -> `windows` found,
        `dropped` (reason -> windows), `shown` (`interval`, and `values` by drawn track, of the example with the
        strongest signal) and `tracks`: identifier -> `mean`, `max`, `zero_fraction` of the bins,
        `nan_fraction` (bp without a value, counted as 0), `clip_rate` (bins that clip_soft or clip changed),
        both None where the build does not know, and `marks` (of `all_zero`, `missing`, `clipped`);
        `warnings`: a line for each mark of a split, and for each split that does not hold what was written.
    """
    report: dict[str, Any] = {"organisms": {}, "warnings": []}
    for organism, account in accounts.items():
        drawn = [account.tracks[index].identifier for index in drawn_tracks(len(account.tracks), most_drawn)]
        splits = {}
        for split, built in account.splits.items():
            found = sums.get((organism, split))
            where = f"{organism}, split {split}"
            if found is None or found.windows != built.written:
                windows = 0 if found is None else found.windows
                report["warnings"].append(f"{where}: {windows} examples found, {built.written} were written")
            tracks = {} if found is None else _track_figures(found, built, account)
            for mark, meaning in _MARKS.items():
                marked = [track for track, figures in tracks.items() if mark in figures["marks"]]
                if marked:
                    more = f" and {len(marked) - _NAMED} more" if len(marked) > _NAMED else ""
                    report["warnings"].append(
                        f"{where}: {len(marked)} of {len(tracks)} tracks are {meaning}: "
                        f"{', '.join(marked[:_NAMED])}{more}"
                    )
            splits[split] = {
                "windows": 0 if found is None else found.windows,
                "dropped": built.dropped,
                "tracks": tracks,
                "shown": None
                if found is None or found.shown is None
                else {
                    "interval": str(found.shown.interval),
                    "values": dict(zip(drawn, found.shown.values.T.tolist(), strict=True)),
                },
            }
        report["organisms"][organism] = {"bin_size": account.bin_size, "drawn": drawn, "splits": splits}
    return report


def _track_figures(found: Sums, built: SplitAccount, account: Account) -> dict[str, dict[str, Any]]:
    bins = found.windows * account.target_length
    built_bins = built.written * account.target_length
    missing = _shares(built.missing, built_bins * account.bin_size)
    clipped = _shares(built.clipped, built_bins)
    columns = {
        "mean": found.total / bins,
        "max": found.largest,
        "zero_fraction": found.zeros / bins,
        "nan_fraction": missing,
        "clip_rate": clipped,
    }
    marks = {"all_zero": found.zeros == bins}
    if missing is not None:
        marks["missing"] = missing > MOST_MISSING
    if clipped is not None:
        marks["clipped"] = clipped > MOST_CLIPPED
    return {
        track.identifier: {
            name: None if column is None else float(column[index]) for name, column in columns.items()
        }
        | {"marks": [mark for mark, marked in marks.items() if marked[index]]}
        for index, track in enumerate(account.tracks)
    }


def _shares(counts: list[int] | None, total: int) -> np.ndarray | None:
    return None if counts is None else np.array(counts) / total


def write_figures(
    pipeline: beam.Pipeline,
    folders: Mapping[str, str],
    accounts: Mapping[str, Account],
    file: str,
    most_drawn: int,
) -> None:
    """Adds the steps that read all examples and write the report of them.

    Args:
        pipeline: where the steps go.
        folders: split -> folder of its gzipped TFRecords.
        accounts: organism -> how the examples were built.
        file: the JSON file to be written.
        most_drawn: tracks of each organism that are drawn, at most.
    """

    def write(sums: list[tuple[tuple[str, str], Sums]]) -> None:
        with tf.io.gfile.GFile(file, "w") as out:
            out.write(json.dumps(make_report(dict(sums), accounts, most_drawn), indent=1) + "\n")

    targets = [
        pipeline
        | f"Read {split}" >> beam.io.ReadFromTFRecord(split_pattern(folder))
        | f"Targets of {split}" >> beam.Map(read_target, split, accounts)
        for split, folder in folders.items()
    ]
    _ = (
        targets
        | beam.Flatten()
        | beam.CombinePerKey(AddTargets(most_drawn))
        | beam.combiners.ToList()
        | beam.Map(write)
    )
