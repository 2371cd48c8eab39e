"""Batches for training and validation: examples through the Transform graph, then augmentation."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from components.examples.records import Place, find_records, make_reader
from enformer_keras import augment

_logger = logging.getLogger(__name__)
_AUTOTUNE = tf.data.AUTOTUNE

# `decode_examples` of the Transform graph: strings [batch] -> `sequence` and `target`.
Decode = Callable[[tf.Tensor], dict[str, tf.Tensor]]


class Share(NamedTuple):
    """What one of several hosts reads: the parts of some replicas in every batch. By default all, as one part.

    Attributes:
        replicas: of all hosts; each has a part of every batch.
        first: the first replica of this host.
        count: replicas of this host; their parts follow each other as elements of the dataset.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1


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
    share: Share | None = None,
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
        share: what one of several hosts takes of every batch; `None` for all.

    Returns:
        Dataset of (one-hot [rows, window_length, 4], {head: [rows, target_length, tracks]}), where the rows are
        the batch_size / share.replicas of a replica.
    """
    read = make_reader(examples)
    count = len(examples)
    share = share or Share()
    size = batch_size // share.replicas

    def prepare(element: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        step, replica = element // share.count, share.first + element % share.count
        rows = replica * size + tf.range(size, dtype=tf.int64)
        serialized = []
        for number in tf.unstack(step * batch_size + rows):
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
            shift=tf.gather(shift, rows),
            reverse_complement=tf.logical_and(tf.gather(other_strand, rows), reverse_complement),
            strand_pairs=strand_pairs,
            window_length=window_length,
        )
        sequence = tf.ensure_shape(sequence, [size, None, None])
        return sequence, {head: tf.ensure_shape(target, [size, None, None])}

    return (
        tf.data.Dataset.counter(first_step * share.count)
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
    share: Share | None = None,
) -> tf.data.Dataset:
    """Every example once, in order, as it stands on the forward strand.

    Replicas of several hosts must make as many steps as each other, and none without an example. So the
    examples are dealt to all replicas in as many steps as there are whole batches: a replica then takes some
    more than its part of a batch, and every example counts once.

    Args:
        examples: `find_examples`.
        decode: `decode_examples` of the Transform graph.
        head: name of the head that the target is for.
        window_length: bp that the model reads.
        batch_size: examples of a batch; the last one may be smaller.
        whole_batches: whether to leave out a smaller last batch, for devices whose programs have fixed shapes.
        share: what one of several hosts takes of the examples; `None` for all.

    Returns:
        Dataset of (one-hot [batch, window_length, 4], {head: [batch, target_length, tracks]}).

    Raises:
        ValueError: not one batch is whole, or there are fewer examples than replicas.
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

    serialized = (
        _in_order(examples).batch(batch_size, drop_remainder=whole_batches)
        if share is None
        else _dealt(examples, batch_size, share)
    )
    return serialized.map(prepare, num_parallel_calls=_AUTOTUNE, deterministic=True).prefetch(_AUTOTUNE)


def _in_order(examples: Sequence[Place]) -> tf.data.Dataset:
    files = list(dict.fromkeys(place.file for place in examples))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP", num_parallel_reads=1)
    return records.apply(tf.data.experimental.assert_cardinality(len(examples)))


def _dealt(examples: Sequence[Place], batch_size: int, share: Share) -> tf.data.Dataset:
    """What the replicas of a host read of the examples, in turn: strings [from one to two parts of a batch]."""
    if len(examples) < share.replicas:
        raise ValueError(
            f"{len(examples)} validation examples are too few for {share.replicas} replicas: train on fewer "
            "hosts, or give validation more of the genome"
        )
    read, count = make_reader(examples), len(examples)
    steps = max(1, count // batch_size)

    def deal(element: tf.Tensor) -> tf.Tensor:
        part = element // share.count * share.replicas + share.first + element % share.count
        start, stop = (number * count // (steps * share.replicas) for number in (part, part + 1))
        return tf.map_fn(read, tf.range(start, stop), fn_output_signature=tf.string)

    return tf.data.Dataset.range(steps * share.count).map(deal, _AUTOTUNE, deterministic=True)


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
