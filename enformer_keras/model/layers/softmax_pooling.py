"""Attention pooling along the sequence."""

from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_integer, check_length


@keras.saving.register_keras_serializable(package="enformer_keras")
class SoftmaxPooling1D(keras.layers.Layer):
    """Weighted mean of neighbouring positions, the weights a softmax of a learned projection.

    For each channel, ``sum_i softmax_i(x @ W) * x_i`` over the ``pool_size`` positions ``i`` of a pool. ``W``
    starts at twice the identity, which puts the layer between average and maximum pooling.

    Args:
        pool_size: Positions in a pool; it divides the length.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch, length, channels]``. Output shape: ``[batch, length // pool_size, channels]``.

    Raises:
        ValueError: ``pool_size`` is not a positive integer, or does not divide the length, or the length is
            unknown or 0.

    Source: Enformer, Methods, "Model architecture" (attention pooling).
    """

    def __init__(self, pool_size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_integer("pool_size", pool_size)
        self.pool_size = pool_size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the projection ``[channels, channels]``."""
        self._check_length(input_shape[1])
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(channels, channels),
            initializer=keras.initializers.Identity(gain=2.0),
        )

    def _check_length(self, length: int | None) -> None:
        length = check_length(self.name, length)
        if length % self.pool_size:
            raise ValueError(
                f"{self.name}: a length of {length} does not divide into pools of pool_size={self.pool_size}; "
                "allowed are its multiples"
            )

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Pool ``[batch, length, channels]`` to ``[batch, length // pool_size, channels]``."""
        length, channels = inputs.shape[1:]
        self._check_length(length)
        if self.pool_size == 2:
            # A softmax of two is a sigmoid of the difference, and the projection has no bias: one
            # projection of the difference instead of two projections and a softmax over an axis of two.
            # Every second position, not an axis of two: TPUs would fill that up to eight.
            second = inputs[:, 1::2]
            difference = inputs[:, ::2] - second
            return second + ops.sigmoid(ops.matmul(difference, self.kernel)) * difference
        pools = ops.reshape(inputs, (-1, length // self.pool_size, self.pool_size, channels))
        weights = ops.softmax(ops.matmul(pools, self.kernel), axis=2)
        return ops.sum(pools * weights, axis=2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch, length // pool_size, channels)``."""
        batch, length, channels = input_shape
        return batch, None if length is None else length // self.pool_size, channels

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "pool_size": self.pool_size}
