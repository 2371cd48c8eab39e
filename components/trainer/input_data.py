"""Batches for training and validation: examples through the Transform graph, then augmentation."""

import logging
from collections.abc import Callable, Sequence

import tensorflow as tf

from components.examples.records import Place, find_records, make_reader
from enformer_keras import augment

_logger = logging.getLogger(__name__)
_AUTOTUNE = tf.data.AUTOTUNE

# `decode_examples` of the Transform graph: strings [batch] -> `sequence` and `target`.
Decode = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def find_examples(files: Sequence[str], at_least: int) -> list[Place]:
    """Finds the examples of a split, without reading them.

    Args:
        files: patterns of record files, as TFX hands them over.
        at_least: how many there must be.

    Returns:
        Their places, in the order of the files' names.

    Raises:
        FileNotFoundError: no file matches.
        ValueError: there are fewer than `at_least`, or a file is damaged.
    """
    names = sorted(name for pattern in files for name in tf.io.gfile.glob(pattern))
    if not names:
        raise FileNotFoundError(f"no examples: nothing matches {list(files)}")
    examples = find_records(names)
    if len(examples) < at_least:
        raise ValueError(
            f"{list(files)} hold {len(examples)} examples, fewer than {at_least}: lower training.batch_size, "
            "or the stride of the dataset's windows"
        )
    return examples


def training_batches(
    examples: Sequence[Place],
    decode: Decode,
    *,
    head: str,
    window_length: int,
    batch_size: int,
    max_shift: int,
    reverse_complement: bool,
    strand_pairs: Sequence[int],
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches in random order, augmented.

    Every epoch is a permutation of all examples; batches follow each other across its end. What step n sees is
    a function of the seed and n alone: a pipeline that begins at step n gives, bit for bit, what one that began
    at 0 gives from there on, and reads nothing of what came before.

    Args:
        examples: `find_examples`.
        decode: `decode_examples` of the Transform graph.
        head: name of the head that the target is for.
        window_length: bp that the model reads.
        batch_size: examples of a batch, over all replicas.
        max_shift: largest shift to either side, in bp; 0 for none.
        reverse_complement: whether half of the examples show the other strand.
        strand_pairs: for each track its partner on the other strand.
        seed: seed of the order and of the draws.
        first_step: where to begin.

    Returns:
        Dataset of (one-hot [batch_size, window_length, 4], {head: [batch_size, target_length, tracks]}).
    """
    read = make_reader(examples)
    count = len(examples)

    def prepare(step: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        serialized = []
        for number in tf.unstack(step * batch_size + tf.range(batch_size, dtype=tf.int64)):
            epoch, position = number // count, number % count
            serialized.append(read(tf.random.experimental.index_shuffle(position, [seed, epoch], count - 1)))
        features = decode(tf.stack(serialized))
        shift = tf.random.stateless_uniform(
            [batch_size], [seed, step], -max_shift, max_shift + 1, dtype=tf.int32
        )
        other_strand = tf.random.stateless_uniform([batch_size], [seed + 1, step]) < 0.5
        sequence, target = augment(
            features["sequence"],
            features["target"],
            shift=shift,
            reverse_complement=tf.logical_and(other_strand, reverse_complement),
            strand_pairs=strand_pairs,
            window_length=window_length,
        )
        sequence = tf.ensure_shape(sequence, [batch_size, None, None])
        return sequence, {head: tf.ensure_shape(target, [batch_size, None, None])}

    return (
        tf.data.Dataset.counter(first_step)
        .map(prepare, num_parallel_calls=_AUTOTUNE, deterministic=True)
        .prefetch(_AUTOTUNE)
    )


def evaluation_batches(
    examples: Sequence[Place],
    decode: Decode,
    *,
    head: str,
    window_length: int,
    batch_size: int,
    whole_batches: bool = False,
) -> tf.data.Dataset:
    """Every example once, in order, as it stands on the forward strand.

    Args:
        examples: `find_examples`.
        decode: `decode_examples` of the Transform graph.
        head: name of the head that the target is for.
        window_length: bp that the model reads.
        batch_size: examples of a batch; the last one may be smaller.
        whole_batches: whether to leave out a smaller last batch, for devices whose programs have fixed shapes.

    Returns:
        Dataset of (one-hot [batch, window_length, 4], {head: [batch, target_length, tracks]}).

    Raises:
        ValueError: not one batch is whole.
    """
    if whole_batches and len(examples) < batch_size:
        raise ValueError(
            f"{len(examples)} validation examples do not fill a batch of {batch_size}, and this device takes "
            "whole batches: lower training.batch_size, or give validation more of the genome"
        )
    left_out = len(examples) % batch_size if whole_batches else 0
    if left_out:
        _logger.warning(
            "%d of %d examples are left out of every validation, which takes whole batches on this device",
            left_out,
            len(examples),
        )

    def prepare(serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        features = decode(serialized)
        return crop_flanks(features["sequence"], window_length), {head: features["target"]}

    files = list(dict.fromkeys(place.file for place in examples))
    return (
        tf.data.TFRecordDataset(files, compression_type="GZIP", num_parallel_reads=1)
        .apply(tf.data.experimental.assert_cardinality(len(examples)))
        .batch(batch_size, drop_remainder=whole_batches)
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
