"""Where the examples of a split lie, read back from their files on Beam, and the audit of all of them."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

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


def make_report(windows: Sequence[Window], splits: Iterable[str]) -> dict[str, Any]:
    """Counts examples and leaks.

    Args:
        windows: of all splits, inputs extended, in any order.
        splits: all splits.

    Returns:
        `examples`: split -> number; `pairs`: for every ordered pair of splits `reader`, `owner`, `inputs`
        (how many inputs of the reader overlap targets of the owner) and `first` (some of them, as texts).
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
    }


def write_report(
    pipeline: beam.Pipeline, folders: dict[str, str], file: str, target_width: int, max_shift: int
) -> None:
    """Adds the steps that read all examples and write the report of them.

    Args:
        pipeline: where the steps go.
        folders: split -> folder of its gzipped TFRecords.
        file: the JSON file to be written.
        target_width: bp of a target.
        max_shift: largest shift of the augmentation, in bp.
    """

    def write(windows: list[Window]) -> None:
        with tf.io.gfile.GFile(file, "w") as out:
            out.write(json.dumps(make_report(windows, folders), indent=2) + "\n")

    places = [
        pipeline
        | f"Read {split}" >> beam.io.ReadFromTFRecord(f"{folder}/*")
        | f"Places of {split}" >> beam.Map(read_window, split, target_width, max_shift)
        for split, folder in folders.items()
    ]
    _ = places | beam.Flatten() | beam.combiners.ToList() | beam.Map(write)
