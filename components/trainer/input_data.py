"""Batches for training: examples through the Transform graph, then augmentation."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from enformer_keras import augment

_AUTOTUNE = tf.data.AUTOTUNE


def read_examples(files: Sequence[str]) -> tf.data.Dataset:
    """Reads serialized examples.

    Args:
        files: patterns of gzipped TFRecord files, as TFX hands them over.

    Returns:
        A dataset of scalar strings, in the order of the files' names.

    Raises:
        FileNotFoundError: no file matches.
    """
    names = sorted(name for pattern in files for name in tf.io.gfile.glob(pattern))
    if not names:
        raise FileNotFoundError(f"no examples: nothing matches {list(files)}")
    return tf.data.TFRecordDataset(names, compression_type="GZIP", num_parallel_reads=1)


def training_batches(
    files: Sequence[str],
    transform: Any,
    *,
    head: str,
    window_length: int,
    batch_size: int,
    max_shift: int,
    reverse_complement: bool,
    strand_pairs: Sequence[int],
    shuffle_buffer: int,
    seed: int,
) -> tf.data.Dataset:
    """Endless, shuffled, augmented batches; the same seed gives the same batches.

    Args:
        files: patterns of gzipped TFRecord files.
        transform: `decode_examples` of the Transform graph.
        head: name of the head that the target is for.
        window_length: bp that the model reads.
        batch_size: examples of a batch, over all replicas.
        max_shift: largest shift to either side, in bp; 0 for none.
        reverse_complement: whether half of the examples show the other strand.
        strand_pairs: for each track its partner on the other strand.
        shuffle_buffer: examples held for shuffling.
        seed: seed of the order and of the draws.

    Returns:
        Dataset of (one-hot [batch_size, window_length, 4], {head: [batch_size, target_length, tracks]}).
    """

    def prepare(serialized: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        features = transform(serialized)
        shift = tf.random.stateless_uniform(
            [batch_size], [seed, batch], -max_shift, max_shift + 1, dtype=tf.int32
        )
        other_strand = tf.random.stateless_uniform([batch_size], [seed + 1, batch]) < 0.5
        sequence, target = augment(
            features["sequence"],
            features["target"],
            shift=shift,
            reverse_complement=tf.logical_and(other_strand, reverse_complement),
            strand_pairs=strand_pairs,
            window_length=window_length,
        )
        return sequence, {head: target}

    examples = read_examples(files).shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=True).repeat()
    batches = examples.batch(batch_size, drop_remainder=True)
    return (
        tf.data.Dataset.zip(batches, tf.data.Dataset.counter())
        .map(prepare, num_parallel_calls=_AUTOTUNE, deterministic=True)
        .prefetch(_AUTOTUNE)
    )


def evaluation_batches(
    files: Sequence[str], transform: Any, *, head: str, window_length: int, batch_size: int
) -> tf.data.Dataset:
    """Every example once, in order, as it stands on the forward strand.

    Args:
        files: patterns of gzipped TFRecord files.
        transform: `decode_examples` of the Transform graph.
        head: name of the head that the target is for.
        window_length: bp that the model reads.
        batch_size: examples of a batch; the last one may be smaller.

    Returns:
        Dataset of (one-hot [batch, window_length, 4], {head: [batch, target_length, tracks]}).
    """

    def prepare(serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        features = transform(serialized)
        return crop_flanks(features["sequence"], window_length), {head: features["target"]}

    return (
        read_examples(files)
        .batch(batch_size)
        .map(prepare, num_parallel_calls=_AUTOTUNE, deterministic=True)
        .prefetch(_AUTOTUNE)
    )


def crop_flanks(sequence: tf.Tensor, window_length: int) -> tf.Tensor:
    """Cuts the window out of a flanked sequence.

    Args:
        sequence: [batch, window_length + 2 * flank, 4].
        window_length: bp that the model reads.

    Returns:
        [batch, window_length, 4].
    """
    flank = (sequence.shape[1] - window_length) // 2
    return sequence[:, flank : flank + window_length]
