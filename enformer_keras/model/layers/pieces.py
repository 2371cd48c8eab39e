"""A sequence cut into pieces that lie side by side in the batch, and what pieces see of each other."""

from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_integer, check_length


class _Pieces1D(keras.layers.Layer):
    """What the layers share: how many pieces a sequence is in."""

    def __init__(self, pieces: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_integer("pieces", pieces)
        self.pieces = pieces

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "pieces": self.pieces}


@keras.saving.register_keras_serializable(package="enformer_keras")
class CutIntoPieces1D(_Pieces1D):
    """Cut each sequence into pieces of one length, which are then examples of their own.

    TPUs put channels and batch side by side in their vector registers, eight examples by 128 channels. Few long
    sequences do not fill them, so XLA cuts them up around each convolution and joins them again after it, which
    moves more bytes than all else. Cut up once, they stay so.

    Args:
        pieces: Pieces of a sequence; they divide the length.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch, length, channels]``. Output shape: ``[batch * pieces, length // pieces, channels]``,
    the pieces of a sequence one after the other.

    Raises:
        ValueError: ``pieces`` is not a positive integer, or does not divide the length, or the length is
            unknown or 0.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check the length."""
        self._length_of_a_piece(input_shape[1])

    def _length_of_a_piece(self, length: int | None) -> int:
        piece, rest = divmod(check_length(self.name, length), self.pieces)
        if rest:
            raise ValueError(
                f"{self.name}: a length of {length} does not divide into pieces={self.pieces}; allowed are its "
                "multiples"
            )
        return piece

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Cut ``[batch, length, channels]``."""
        _, length, channels = inputs.shape
        return ops.reshape(inputs, (-1, self._length_of_a_piece(length), channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch * pieces, length // pieces, channels)``."""
        batch, length, channels = input_shape
        return (
            None if batch is None else batch * self.pieces,
            None if length is None else length // self.pieces,
            channels,
        )


@keras.saving.register_keras_serializable(package="enformer_keras")
class JoinPieces1D(_Pieces1D):
    """Undo `CutIntoPieces1D`.

    Args:
        pieces: Pieces of a sequence.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch * pieces, length, channels]``. Output shape: ``[batch, length * pieces, channels]``.

    Raises:
        ValueError: ``pieces`` is not a positive integer, or the length is unknown or 0.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that the length is known."""
        check_length(self.name, input_shape[1])

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Join ``[batch * pieces, length, channels]``."""
        _, length, channels = inputs.shape
        return ops.reshape(inputs, (-1, check_length(self.name, length) * self.pieces, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch, length * pieces, channels)``."""
        batch, length, channels = input_shape
        return (
            None if batch is None else batch // self.pieces,
            None if length is None else length * self.pieces,
            channels,
        )


@keras.saving.register_keras_serializable(package="enformer_keras")
class Neighbours1D(_Pieces1D):
    """Lengthen each piece at both ends by what its neighbours have there, and by zeros at the sequence's ends.

    A convolution without padding then computes of the pieces what one with zeros for padding computes of the
    whole sequence.

    Args:
        pieces: Pieces of a sequence.
        size: Positions to add at either end; at most a piece's length.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch * pieces, length, channels]``. Output shape:
    ``[batch * pieces, length + 2 * size, channels]``.

    Raises:
        ValueError: ``pieces`` or ``size`` is not a positive integer, or pieces are shorter than ``size``, or
            their length is unknown.
    """

    def __init__(self, pieces: int, size: int, **kwargs: Any) -> None:
        super().__init__(pieces, **kwargs)
        check_integer("size", size)
        self.size = size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check the length."""
        self._check_length(input_shape[1])

    def _check_length(self, length: int | None) -> int:
        length = check_length(self.name, length)
        if length < self.size:
            raise ValueError(
                f"{self.name}: pieces of {length} positions have no size={self.size} to give to a neighbour; "
                f"cut the sequence into fewer than pieces={self.pieces}"
            )
        return length

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Lengthen ``[batch * pieces, length, channels]``."""
        length, channels = self._check_length(inputs.shape[1]), inputs.shape[2]

        def by_sequence(x: keras.KerasTensor) -> keras.KerasTensor:
            return ops.reshape(x, (-1, self.pieces, self.size, channels))

        ends, starts = by_sequence(inputs[:, length - self.size :]), by_sequence(inputs[:, : self.size])
        before = ops.pad(ends[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
        after = ops.pad(starts[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
        beside = [ops.reshape(x, (-1, self.size, channels)) for x in (before, after)]
        return ops.concatenate([beside[0], inputs, beside[1]], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch * pieces, length + 2 * size, channels)``."""
        batch, length, channels = input_shape
        return batch, None if length is None else length + 2 * self.size, channels

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "size": self.size}
