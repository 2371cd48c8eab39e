"""Where the examples of a split lie and what they hold, read back on Beam, and the audit of all of them."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.examples.account import Account
from components.examples.records import split_pattern
from enformer_keras.datasets.leaks import audit_leaks
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval


def read_window(record: bytes, split: str, target_width: int, max_shift: int) -> Window:
    """Reads what an example says of its place; nothing is known from elsewhere how it was planned.

    Args:
        record: serialized `tf.train.Example` of an ExampleGen of this project.
        split: the split whose files hold it.
        target_width: bp of a target, which lies centred in the window.
        max_shift: largest shift of the augmentation, in bp.

    Returns:
        The window, its interval extended by the flanks that its sequence has, or by `max_shift` if that is
        more.
    """
    features = tf.train.Example.FromString(record).features.feature
    chrom = features["chrom"].bytes_list.value[0].decode()
    interval = Interval(chrom, features["start"].int64_list.value[0], features["end"].int64_list.value[0])
    flank = (len(features["sequence"].bytes_list.value[0]) - interval.width) // 2
    return Window(
        interval=interval.extend(max(flank, max_shift)),
        target=interval.resize(target_width),
        split=split,
        organism=features["organism"].bytes_list.value[0].decode(),
    )


class Range(NamedTuple):
    """The least and the largest bin of each track over any number of targets, float16 [tracks] each."""

    least: np.ndarray
    largest: np.ndarray


def read_range(record: bytes, accounts: Mapping[str, Account]) -> tuple[str, Range]:
    """Reads how far each track of an example's target reaches.

    Args:
        record: as for `read_window`.
        accounts: organism -> how its examples were built.

    Returns:
        Organism; the range.
    """
    features = tf.train.Example.FromString(record).features.feature
    organism = features["organism"].bytes_list.value[0].decode()
    target = np.frombuffer(features["target"].bytes_list.value[0], "<f2")
    target = target.reshape(-1, len(accounts[organism].tracks))
    return organism, Range(target.min(axis=0), target.max(axis=0))


def join_ranges(ranges: Iterable[Range]) -> Range:
    """Returns the range over all targets of some ranges."""
    least, largest = zip(*ranges, strict=True)
    return Range(np.min(least, axis=0), np.max(largest, axis=0))


def find_flat_tracks(ranges: Mapping[str, Range], accounts: Mapping[str, Account]) -> dict[str, list[str]]:
    """Finds the tracks that are the same in every bin, whose correlation with anything is undefined.

    Args:
        ranges: organism -> over all targets that a model is judged by.
        accounts: organism -> how its examples were built.

    Returns:
        Organism -> identifiers of such tracks, where there are any.
    """
    flat = {}
    for organism, (least, largest) in ranges.items():
        found = [accounts[organism].tracks[index].identifier for index in np.flatnonzero(least == largest)]
        if found:
            flat[organism] = found
    return flat


def make_report(
    windows: Sequence[Window],
    splits: Iterable[str],
    ranges: Mapping[str, Range] | None = None,
    accounts: Mapping[str, Account] | None = None,
) -> dict[str, Any]:
    """Counts examples and leaks, and names flat tracks.

    Args:
        windows: of all splits, inputs extended, in any order.
        splits: all splits.
        ranges: as for `find_flat_tracks`.
        accounts: likewise.

    Returns:
        `examples`: split -> number; `pairs`: for every ordered pair of splits `reader`, `owner`, `inputs`
        (how many inputs of the reader overlap targets of the owner) and `first` (some of them, as texts);
        `flat`: see `find_flat_tracks`.
    """
    order = {split: number for number, split in enumerate(splits)}
    windows = sorted(windows, key=lambda window: (order[window.split], window.organism, window.interval))
    counts = Counter(window.split for window in windows)
    return {
        "examples": {split: counts[split] for split in order},
        "pairs": [
            {
                "reader": leak.reader,
                "owner": leak.owner,
                "inputs": leak.inputs,
                "first": [f"input {read} overlaps target {target}" for read, target in leak.first],
            }
            for leak in audit_leaks(windows, reach=0)
        ],
        "flat": find_flat_tracks(ranges or {}, accounts or {}),
    }


def write_report(
    pipeline: beam.Pipeline,
    folders: dict[str, str],
    file: str,
    target_width: int,
    max_shift: int,
    judged_split: str = "",
    accounts: Mapping[str, Account] | None = None,
) -> None:
    """Adds the steps that read all examples and write the report of them.

    Args:
        pipeline: where the steps go.
        folders: split -> folder of its gzipped TFRecords.
        file: the JSON file to be written.
        target_width: bp of a target.
        max_shift: largest shift of the augmentation, in bp.
        judged_split: split in which flat tracks are looked for; empty for none.
        accounts: as for `find_flat_tracks`; needed with `judged_split`.
    """

    def write(windows: list[Window], ranges: Mapping[str, Range]) -> None:
        with tf.io.gfile.GFile(file, "w") as out:
            out.write(json.dumps(make_report(windows, folders, ranges, accounts), indent=2) + "\n")

    records = {
        split: pipeline | f"Read {split}" >> beam.io.ReadFromTFRecord(split_pattern(folder))
        for split, folder in folders.items()
    }
    places = [
        of_split | f"Places of {split}" >> beam.Map(read_window, split, target_width, max_shift)
        for split, of_split in records.items()
    ]
    ranges = (
        (records[judged_split] | beam.Map(read_range, accounts) | beam.CombinePerKey(join_ranges))
        if judged_split
        else pipeline | beam.Create([])
    )
    _ = places | beam.Flatten() | beam.combiners.ToList() | beam.Map(write, beam.pvalue.AsDict(ranges))
