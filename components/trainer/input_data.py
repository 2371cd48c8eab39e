"""Batches for training and validation: examples through the Transform graph, then augmentation."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from components.examples.records import Place, find_records, make_reader, shard_pattern
from components.transform.decoding import decode_targets
from enformer_keras import augment

_logger = logging.getLogger(__name__)
_AUTOTUNE = tf.data.AUTOTUNE

# `decode_examples` of the Transform graph: strings [batch] -> `sequence`, one-hot, and `target`, bytes.
Decode = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class HeadExamples:
    """What a head learns from or is judged by.

    Attributes:
        places: where its examples lie.
        target_length: bins of a target.
        tracks: of the head.
        strand_pairs: for each track its partner on the other strand.
    """

    places: Sequence[Place]
    target_length: int
    tracks: int
    strand_pairs: Sequence[int]

    def targets(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Decodes the targets of a batch of these examples, [batch, target_length, tracks]."""
        return decode_targets(features["target"], self.target_length, self.tracks)


def find_examples(files: Sequence[str], organism: str, at_least: int) -> list[Place]:
    """Finds an organism's examples of a split, without reading them.

    Args:
        files: patterns of all record files of the split, as TFX hands them over.
        organism: name of the head.
        at_least: how many there must be.

    Returns:
        Their places, in the order of the files' names.

    Raises:
        FileNotFoundError: no file matches.
        ValueError: there are fewer than `at_least`, or a file is damaged.
    """
    patterns = [shard_pattern(pattern.rpartition("/")[0], organism) for pattern in files]
    names = sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))
    if not names:
        raise FileNotFoundError(f"no examples of {organism}: nothing matches {patterns}")
    examples = find_records(names)
    if len(examples) < at_least:
        raise ValueError(
            f"{patterns} hold {len(examples)} examples, fewer than {at_least}: lower training.batch_size, "
            "or the stride of the dataset's windows"
        )
    return examples


def training_batches(
    heads: Mapping[str, HeadExamples],
    decode: Decode,
    *,
    window_length: int,
    batch_size: int,
    max_shift: int,
    reverse_complement: bool,
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches, one for each head in every step, in random order, augmented.

    Every epoch of a head is a permutation of all its examples; batches follow each other across its end. What
    step n sees is a function of the seed and n alone: a pipeline that begins at step n gives, bit for bit, what
    one that began at 0 gives from there on, and reads nothing of what came before.

    Args:
        heads: head -> its examples.
        decode: `decode_examples` of the Transform graph.
        window_length: bp that the model reads.
        batch_size: examples of a head's batch, over all replicas.
        max_shift: largest shift to either side, in bp; 0 for none.
        reverse_complement: whether half of the examples show the other strand.
        seed: seed of the order and of the draws.
        first_step: where to begin.

    Returns:
        Dataset of ({head: one-hot [batch_size, window_length, 4]}, {head: targets [batch_size, bins, tracks]}).
    """

    def preparation(number: int, head: HeadExamples) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        read = make_reader(head.places)
        count = len(head.places)
        # The draws of a head are not those of another.
        shift_seed, strand_seed = seed + 2 * number, seed + 2 * number + 1

        def prepare(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            serialized = []
            for index in tf.unstack(step * batch_size + tf.range(batch_size, dtype=tf.int64)):
                epoch, position = index // count, index % count
                serialized.append(
                    read(tf.random.experimental.index_shuffle(position, [seed, epoch], count - 1))
                )
            features = decode(tf.stack(serialized))
            shift = tf.random.stateless_uniform(
                [batch_size], [shift_seed, step], -max_shift, max_shift + 1, dtype=tf.int32
            )
            other_strand = tf.random.stateless_uniform([batch_size], [strand_seed, step]) < 0.5
            sequence, target = augment(
                features["sequence"],
                head.targets(features),
                shift=shift,
                reverse_complement=tf.logical_and(other_strand, reverse_complement),
                strand_pairs=head.strand_pairs,
                window_length=window_length,
            )
            return (
                tf.ensure_shape(sequence, [batch_size, None, None]),
                tf.ensure_shape(target, [batch_size, None, None]),
            )

        return prepare

    preparations = {name: preparation(number, head) for number, (name, head) in enumerate(heads.items())}

    def prepare_all(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        prepared = {name: prepare(step) for name, prepare in preparations.items()}
        return tuple({name: pair[side] for name, pair in prepared.items()} for side in (0, 1))

    return (
        tf.data.Dataset.counter(first_step)
        .map(prepare_all, num_parallel_calls=_AUTOTUNE, deterministic=True)
        .prefetch(_AUTOTUNE)
    )


def evaluation_batches(
    head: HeadExamples,
    decode: Decode,
    *,
    window_length: int,
    batch_size: int,
    whole_batches: bool = False,
) -> tf.data.Dataset:
    """Every example of a head once, in order, as it stands on the forward strand.

    Args:
        head: its examples.
        decode: `decode_examples` of the Transform graph.
        window_length: bp that the model reads.
        batch_size: examples of a batch; the last one may be smaller.
        whole_batches: whether to leave out a smaller last batch, for devices whose programs have fixed shapes.

    Returns:
        Dataset of (one-hot [batch, window_length, 4], [batch, target_length, tracks]).

    Raises:
        ValueError: not one batch is whole.
    """
    examples = head.places
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

    def prepare(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = decode(serialized)
        return crop_flanks(features["sequence"], window_length), head.targets(features)

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
