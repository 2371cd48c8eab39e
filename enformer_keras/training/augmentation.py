"""Augmentation of windows in training: a shift by a few bp, and the other strand."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from enformer_keras.model.arguments import check_integer, check_switch
from enformer_keras.model.layers.position_hash import position_bits
from enformer_keras.model.strands import check_strand_pairs, flank_of, turn_strand


def augment(
    sequence: keras.KerasTensor,
    target: keras.KerasTensor,
    *,
    shift: keras.KerasTensor,
    reverse_complement: keras.KerasTensor,
    strand_pairs: Sequence[int],
    window_length: int,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Cut each window out of its flanked sequence, shifted, and turn it to the other strand where asked.

    The draws come from the caller, so the function is pure: the same in `tf.data` and in a training step.

    Args:
        sequence: One-hot ``[batch, window_length + 2 * flank, 4]`` in the order A, C, G, T: the window with
            real bases on both sides.
        target: ``[batch, target_length, tracks]``.
        shift: int ``[batch]``, bp by which the window moves to the right along the forward strand, from
            ``-flank`` to ``flank``. The target stays: shifts are far below a bin.
        reverse_complement: bool ``[batch]``.
        strand_pairs: For each track the index of its partner on the other strand, itself if it has none.
        window_length: bp of the window.

    Returns:
        One-hot ``[batch, window_length, 4]`` and target ``[batch, target_length, tracks]``; for an example
        on the other strand the bases are complemented, both axes of position run backwards and the tracks
        of strand pairs have changed places.

    Raises:
        ValueError: The sequence is shorter than the window, the flanks differ in length, or
            ``strand_pairs`` does not pair the target's tracks.

    Source: Enformer, Methods, "Model training and evaluation" (shift by up to 3 bp, reverse complement).
    """
    flanked = sequence.shape[1]
    flank = flank_of(sequence, window_length)
    check_strand_pairs(strand_pairs, target.shape[2])
    reverse = ops.cast(reverse_complement, "bool")
    # One gather of rows, over the whole batch, cuts, shifts and reverses.
    batch = ops.shape(sequence)[0]
    forward = ops.arange(window_length, dtype="int32")[None, :]
    start = ops.cast(shift, "int32")[:, None] + flank
    position = start + ops.where(reverse[:, None], window_length - 1 - forward, forward)
    row = position + flanked * ops.arange(batch, dtype="int32")[:, None]
    sequence = ops.take(ops.reshape(sequence, (-1, 4)), row, axis=0)
    # A, C, G, T backwards is T, G, C, A: their complements.
    sequence = ops.where(reverse[:, None, None], ops.flip(sequence, axis=2), sequence)

    def turn() -> keras.KerasTensor:
        return turn_strand(target, strand_pairs)

    def turn_some() -> keras.KerasTensor:
        return ops.where(reverse[:, None, None], turn(), target)

    # At the paper's size a target has 19 MB: each is passed over as seldom as the draws allow.
    return sequence, ops.cond(
        ops.any(reverse), lambda: ops.cond(ops.all(reverse), turn, turn_some), lambda: target
    )


def augment_arrays(
    sequence: np.ndarray,
    target: np.ndarray,
    *,
    shift: np.ndarray,
    reverse_complement: np.ndarray,
    strand_pairs: Sequence[int],
    window_length: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Do in numpy what `augment` does, to the bit, where no backend may be called: in workers that were forked.

    Args:
        sequence: One-hot ``[batch, window_length + 2 * flank, 4]``; see `augment`.
        target: ``[batch, target_length, tracks]``.
        shift: int ``[batch]``, bp.
        reverse_complement: bool ``[batch]``.
        strand_pairs: For each track the index of its partner on the other strand, itself if it has none.
        window_length: bp of the window.

    Returns:
        One-hot ``[batch, window_length, 4]`` and target ``[batch, target_length, tracks]``.

    Raises:
        ValueError: See `augment`.
    """
    flank = flank_of(sequence, window_length)
    check_strand_pairs(strand_pairs, target.shape[2])
    windows = np.stack(
        [one[start : start + window_length] for one, start in zip(sequence, flank + shift, strict=True)]
    )
    windows[reverse_complement] = windows[reverse_complement, ::-1, ::-1]
    target = target.copy()
    target[reverse_complement] = target[reverse_complement, ::-1][..., list(strand_pairs)]
    return windows, target


@keras.saving.register_keras_serializable(package="enformer_keras")
class Augmentation(keras.layers.Layer):
    """`augment` as a layer that draws for itself: windows shift, and every other one shows the other strand.

    Call it on a batch in your own training step or data pipeline; outside training it cuts the windows out as
    they stand.

    Args:
        window_length: bp of the window.
        strand_pairs: For each track the index of its partner on the other strand, itself if it has none.
        max_shift: Largest shift to either side, in bp.
        reverse_complement: Whether half of the examples show the other strand.
        seed: Seed of the draws; ``None`` draws one.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input: one-hot ``[batch, window_length + 2 * flank, 4]`` with a flank of at least ``max_shift``, and target
    ``[batch, target_length, tracks]``. Output: one-hot ``[batch, window_length, 4]`` and the target.

    Raises:
        ValueError: An argument is out of its range, or the flanks are shorter than ``max_shift``; or see
            `augment`.

    Source: Enformer, Methods, "Model training and evaluation" (shift by up to 3 bp, reverse complement).
    """

    def __init__(
        self,
        window_length: int,
        strand_pairs: Sequence[int],
        max_shift: int = 3,
        reverse_complement: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_integer("window_length", window_length)
        check_integer("max_shift", max_shift, at_least=0)
        check_switch("reverse_complement", reverse_complement)
        self.window_length = window_length
        self.strand_pairs = list(strand_pairs)
        check_strand_pairs(self.strand_pairs, len(self.strand_pairs))
        self.max_shift = max_shift
        self.reverse_complement = reverse_complement
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed)
        self._replica: Callable[[], Any] | None = None
        self.built = True

    def share_batches(self, replica: Callable[[], Any]) -> None:
        """Draw, for a batch that replicas share, what one device would that has all of it.

        Keras's seeds are alike on all replicas of TensorFlow, and so are, without this, the draws.

        Args:
            replica: Gives within a training step the number of the replica that makes it, in the order of their
                examples; each has as many.
        """
        self._replica = replica

    def call(
        self, sequence: keras.KerasTensor, target: keras.KerasTensor, training: bool | None = None
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Augment a batch in training; cut its windows out otherwise.

        Args:
            sequence: One-hot ``[batch, window_length + 2 * flank, 4]``.
            target: ``[batch, target_length, tracks]``.
            training: Whether to augment.

        Returns:
            One-hot ``[batch, window_length, 4]`` and the target, turned where its window is.

        Raises:
            ValueError: The flanks are shorter than ``max_shift``.
        """
        flank = (sequence.shape[1] - self.window_length) // 2
        if flank < self.max_shift:
            raise ValueError(
                f"flanks of {flank} bp are shorter than max_shift={self.max_shift}: read longer sequences"
            )
        count = ops.shape(sequence)[0]
        if training:
            example = ops.arange(count, dtype="int32")
            if self._replica is not None:
                example += ops.cast(self._replica(), "int32") * count
            bits = position_bits(example, self._seed_generator.next())
            shift = ops.mod(bits, 2 * self.max_shift + 1) - self.max_shift
            negative = position_bits(example, self._seed_generator.next()) < 0  # as many are not
            reverse_complement = ops.logical_and(negative, self.reverse_complement)
        else:
            shift, reverse_complement = ops.zeros((count,), "int32"), ops.zeros((count,), "bool")
        return augment(
            sequence,
            target,
            shift=shift,
            reverse_complement=reverse_complement,
            strand_pairs=self.strand_pairs,
            window_length=self.window_length,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "window_length": self.window_length,
            "strand_pairs": self.strand_pairs,
            "max_shift": self.max_shift,
            "reverse_complement": self.reverse_complement,
            "seed": self.seed,
        }
