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
class Share:
    """What one of several hosts reads: the parts of some replicas in every batch. By default all, as one part.

    Attributes:
        replicas: of all hosts; each has a part of every batch.
        first: the first replica of this host.
        count: replicas of this host; their parts follow each other as elements of the dataset.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1


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

    def fix_shapes(
        self, sequence: tf.Tensor, target: tf.Tensor, rows: int, window_length: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Says what the shapes of a batch are, which the Transform graph does not tell and TPUs must know.

        Args:
            sequence: one-hot.
            target: of these examples.
            rows: of the batch.
            window_length: bp that the model reads.

        Returns:
            The same, [rows, window_length, 4] and [rows, target_length, tracks].
        """
        return (
            tf.ensure_shape(sequence, [rows, window_length, 4]),
            tf.ensure_shape(target, [rows, self.target_length, self.tracks]),
        )


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
    share: Share | None = None,
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
        share: what one of several hosts takes of every batch; `None` for all.

    Returns:
        Dataset of ({head: one-hot [rows, window_length, 4]}, {head: targets [rows, target_length, tracks]});
        the rows are the batch_size / share.replicas of a replica.
    """
    share = share or Share()
    size = batch_size // share.replicas

    def preparation(number: int, head: HeadExamples) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        read = make_reader(head.places)
        count = len(head.places)
        # The draws of a head are not those of another.
        shift_seed, strand_seed = seed + 2 * number, seed + 2 * number + 1

        def prepare(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            step, replica = element // share.count, share.first + element % share.count
            rows = replica * size + tf.range(size, dtype=tf.int64)
            serialized = []
            for index in tf.unstack(step * batch_size + rows):
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
                shift=tf.gather(shift, rows),
                reverse_complement=tf.logical_and(tf.gather(other_strand, rows), reverse_complement),
                strand_pairs=head.strand_pairs,
                window_length=window_length,
            )
            return head.fix_shapes(sequence, target, size, window_length)

        return prepare

    preparations = {name: preparation(number, head) for number, (name, head) in enumerate(heads.items())}

    def prepare_all(element: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        prepared = {name: prepare(element) for name, prepare in preparations.items()}
        return (
            {name: sequence for name, (sequence, _) in prepared.items()},
            {name: target for name, (_, target) in prepared.items()},
        )

    return (
        tf.data.Dataset.counter(first_step * share.count)
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
    share: Share | None = None,
) -> tf.data.Dataset:
    """Every example of a head once, in order, as it stands on the forward strand.

    Replicas of several hosts must make as many steps as each other, and none without an example. So the
    examples are dealt to all replicas in as many steps as there are whole batches: a replica then takes some
    more than its part of a batch, and every example counts once. Where batches must be whole, a replica takes
    its part of each.

    Args:
        head: its examples.
        decode: `decode_examples` of the Transform graph.
        window_length: bp that the model reads.
        batch_size: examples of a batch; the last one may be smaller.
        whole_batches: whether to leave out a smaller last batch, for devices whose programs have fixed shapes.
        share: what one of several hosts takes of the examples; `None` for all.

    Returns:
        Dataset of (one-hot [batch, window_length, 4], [batch, target_length, tracks]); with a share, of what
        its replicas have of each batch, in turn.

    Raises:
        ValueError: not one batch is whole, or there are fewer examples than replicas.
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
        sequence, target = crop_flanks(features["sequence"], window_length), head.targets(features)
        if not whole_batches:
            return sequence, target
        return head.fix_shapes(sequence, target, batch_size // (share or Share()).replicas, window_length)

    if share is None:
        serialized = _in_order(examples).batch(batch_size, drop_remainder=whole_batches)
    elif whole_batches:
        serialized = _parts(examples, batch_size, share)
    else:
        serialized = _dealt(examples, batch_size, share)
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


def _parts(examples: Sequence[Place], batch_size: int, share: Share) -> tf.data.Dataset:
    """What the replicas of a host read of whole batches, in turn: strings [a part of a batch]."""
    read, size = make_reader(examples), batch_size // share.replicas

    def part(element: tf.Tensor) -> tf.Tensor:
        step, replica = element // share.count, share.first + element % share.count
        first = step * batch_size + replica * size
        return tf.stack([read(first + row) for row in range(size)])

    return tf.data.Dataset.range(len(examples) // batch_size * share.count).map(
        part, _AUTOTUNE, deterministic=True
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
