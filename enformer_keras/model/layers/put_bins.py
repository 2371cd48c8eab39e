"""Bins of a part of a window, put among those of another window."""

from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="enformer_keras")
class PutBins1D(keras.layers.Layer):
    """Takes some bins from a patch, and all others from a window.

    Input: bins of the window ``[batch, bins, channels]``, of the patch ``[batch, size, channels]``, and int32
    ``[batch, 3]``: the bin of the window at which the patch starts, and the first and the last bin that is
    taken from it. Output: ``[batch, bins, channels]``.
    """

    def call(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        """Put the bins."""
        window, patch, place = inputs
        start, first, last = (place[:, at : at + 1] for at in range(3))
        number = ops.arange(window.shape[1], dtype="int32")[None, :]
        inside = ops.clip(number - start, 0, patch.shape[1] - 1)
        moved = ops.take_along_axis(patch, inside[:, :, None], axis=1)
        taken = ops.logical_and(number >= first, number <= last)[:, :, None]
        return ops.where(taken, moved, window)
