"""Convolution along the sequence with two fifths of the multiplications."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from enformer_keras.model.arguments import check_length
from enformer_keras.model.layers.custom_gradient import with_gradient

WIDTH = 5
# Outputs that one tile gives, and the inputs that it takes: two blocks of as many positions as outputs.
OUTPUTS = 4
INPUTS = OUTPUTS + WIDTH - 1
# Where the polynomials are evaluated, beside infinity: small numbers in pairs of both signs round least.
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
_FIXED = {"kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups"}


def minimal_filtering() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of F(4, 5): ``outputs @ ((kernel @ w) * (inputs @ x))`` is ``w`` slid along ``x``.

    Returns:
        ``outputs [4, 8]``, ``kernel [8, 5]`` and ``inputs [8, 8]``, float64.

    Source: Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast Algorithms for
    Convolutional Neural Networks", section 3.
    """

    def evaluate(size: int) -> np.ndarray:
        infinity = np.eye(size)[-1:]
        return np.concatenate([np.vander(_POINTS, size, increasing=True), infinity])

    inputs = np.linalg.inv(evaluate(INPUTS)).T
    # Rows of whole numbers, and the factors with the kernel: the sums of inputs then round less.
    scale = np.array([4.0, 18.0, 18.0, 360.0, 360.0, 45.0, 45.0, 4.0])
    return evaluate(OUTPUTS).T, evaluate(WIDTH) / scale[:, None], np.round(inputs * scale[:, None])


_OUTPUTS, _KERNEL, _INPUTS = minimal_filtering()


@keras.saving.register_keras_serializable(package="enformer_keras")
class WinogradConv1D(keras.layers.Conv1D):
    """Convolution of width 5 by minimal filtering: four outputs from eight products instead of twenty.

    Computes what ``keras.layers.Conv1D(..., padding="same")`` computes and has the same weights. It rounds
    three to five times as much (at 384 channels 2e-6 of the output's size on average, 2e-5 at most) and moves
    more bytes for fewer operations: for CPUs, where arithmetic is the limit. GPUs and TPUs are limited by
    bytes, and multiply float32 with fewer digits than this can spare. In other types than float32 the layer
    convolves directly.

    Args:
        filters: Channels of the output.
        **kwargs: Further arguments of ``keras.layers.Conv1D``, such as initializers.

    Input shape: ``[batch, length, channels]`` of known length. Output shape: ``[batch, length, filters]``.

    Raises:
        ValueError: An argument says how the kernel moves, which is fixed, or the length is unknown or 0.

    Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 3.
    """

    width = WIDTH

    def __init__(self, filters: int, **kwargs: Any) -> None:
        refused = sorted(_FIXED & kwargs.keys())
        if refused:
            raise ValueError(
                f"{refused} cannot be chosen: the kernel is {WIDTH} wide and moves by one, channels come last"
            )
        super().__init__(filters, WIDTH, padding="same", data_format="channels_last", **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel and bias."""
        check_length(self.name, input_shape[1])
        super().build(input_shape)

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Convolve ``[batch, length, channels]`` to ``[batch, length, filters]``."""
        check_length(self.name, inputs.shape[1])
        if self.compute_dtype != "float32":
            return super().call(inputs)
        # A copy, because TensorFlow's stated gradients must not see variables.
        outputs = with_gradient(_convolve, _gradient)(inputs, ops.copy(self.kernel))
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {name: value for name, value in super().get_config().items() if name not in _FIXED}


def _convolve(x: Any, kernel: Any) -> Any:
    length, filters = x.shape[1], kernel.shape[-1]
    kernels = _combine(_KERNEL, ops.unstack(kernel, WIDTH))
    products = [ops.matmul(tile, factor) for tile, factor in zip(_tiles(x), kernels, strict=True)]
    # Stacked, not joined along the channels: XLA then writes rows where they belong and copies none.
    y = ops.stack(_combine(_OUTPUTS, products), axis=1)
    y = ops.reshape(y, (-1, _blocks(length) * OUTPUTS, filters))
    return y if length % OUTPUTS == 0 else y[:, :length]


def _gradient(gradient: Any, x: Any, kernel: Any) -> tuple[Any, Any]:
    """Gradients of inputs and kernel: the first is a convolution itself, the second goes back step by step."""
    by_inputs = _convolve(gradient, ops.transpose(ops.flip(kernel, axis=0), (0, 2, 1)))
    length, filters = gradient.shape[1:]
    if length % OUTPUTS:
        gradient = ops.pad(gradient, ((0, 0), (0, -length % OUTPUTS), (0, 0)))
    rows = ops.reshape(gradient, (-1, OUTPUTS, filters))
    by_products = _combine(_OUTPUTS.T, [rows[:, row] for row in range(OUTPUTS)])
    by_kernels = [
        ops.matmul(ops.transpose(tile), product) for tile, product in zip(_tiles(x), by_products, strict=True)
    ]
    return by_inputs, ops.stack(_combine(_KERNEL.T, by_kernels))


def _tiles(x: Any) -> list[Any]:
    """Eight combinations of each tile's inputs, ``[batch * tiles, channels]``."""
    length, channels = x.shape[1:]
    blocks = _blocks(length)
    before = WIDTH // 2
    x = ops.pad(x, ((0, 0), (before, (blocks + 1) * OUTPUTS - length - before), (0, 0)))
    x = ops.reshape(x, (-1, blocks + 1, OUTPUTS, channels))
    inputs = [x[:, start : start + blocks, row] for start in (0, 1) for row in range(OUTPUTS)]
    return _combine(_INPUTS, [ops.reshape(values, (-1, channels)) for values in inputs])


def _blocks(length: int) -> int:
    return -(-length // OUTPUTS)


def _combine(matrix: np.ndarray, arrays: Sequence[Any]) -> list[Any]:
    """Sums of the arrays, with a row's numbers as their factors."""
    return [
        sum(
            array if factor == 1.0 else array * float(factor)
            for factor, array in zip(row, arrays, strict=True)
            if factor
        )
        for row in matrix
    ]
