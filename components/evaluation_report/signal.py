"""Measured and predicted signal of a few tracks, window by window."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from enformer_keras.formats.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Signal:
    """One track over one window.

    Attributes:
        track: position among the tracks of the head.
        window: what the model read, as `contig:start-end`.
        target: what the bins cover, in its middle.
        measured: [target_length].
        predicted: [target_length].
    """

    track: int
    window: str
    target: Interval
    measured: np.ndarray
    predicted: np.ndarray


def extremes(values: np.ndarray, most: int) -> list[int]:
    """Chooses the tracks, or windows, with the highest and the lowest values.

    Args:
        values: one for each, NaN where a figure is not defined; those are not chosen.
        most: how many of each end, at most; none is chosen twice.

    Returns:
        Positions, from the best to the worst.
    """
    order = [int(index) for index in np.argsort(-values, kind="stable") if not np.isnan(values[index])]
    if len(order) <= 2 * most:
        return order
    return order[:most] + order[len(order) - most :]


def read_signals(
    saved_model: str,
    endpoint: str,
    files: str,
    tracks: Mapping[str, Sequence[int]],
    most_windows: int,
    bin_size: int,
) -> dict[str, list[Signal]]:
    """Reads windows one by one and keeps of each track the one with the strongest measured signal.

    Args:
        saved_model: folder of the model.
        endpoint: which one of it answers for serialized examples.
        files: pattern of gzipped TFRecord files of examples.
        tracks: head, which is the examples' organism -> tracks.
        most_windows: windows of each organism that are looked at, from the first.
        bin_size: bp of a bin.

    Returns:
        Head -> signal of each of its tracks, in their order; none where the files hold no window of it.
    """
    predict = tf.saved_model.load(saved_model).signatures[endpoint]
    seen = dict.fromkeys(tracks, 0)
    strongest: dict[str, dict[int, Signal]] = {head: {} for head in tracks}
    names = sorted(tf.io.gfile.glob(files))
    for record in tf.data.TFRecordDataset(names, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        head = features["organism"].bytes_list.value[0].decode()
        if seen.get(head, most_windows) >= most_windows:
            continue
        seen[head] += 1
        predicted = predict(tf.constant([record]))[head].numpy()[0]
        measured = np.frombuffer(features["target"].bytes_list.value[0], "<f2").reshape(predicted.shape)
        start, end = (features[name].int64_list.value[0] for name in ("start", "end"))
        window = Interval(features["chrom"].bytes_list.value[0].decode(), start, end)
        target = window.resize(len(predicted) * bin_size)
        kept = strongest[head]
        for track in tracks[head]:
            values = measured[:, track].astype(np.float32)
            if track not in kept or values.sum() > kept[track].measured.sum():
                kept[track] = Signal(track, str(window), target, values, predicted[:, track].copy())
        if min(seen.values()) >= most_windows:
            break
    return {head: [kept[track] for track in tracks[head] if track in kept] for head, kept in strongest.items()}
