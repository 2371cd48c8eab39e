"""Batch normalization over the whole batch, however many devices share it."""

from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_switch


@keras.saving.register_keras_serializable(package="enformer_keras")
class SynchronizedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization with statistics of the whole batch on every backend.

    Keras offers ``synchronized=True`` on TensorFlow only, where each replica would otherwise see its own
    share of the batch. On JAX a sharded batch is one array, so its statistics are those of the whole batch
    anyway; torch runs on one device here. The choice is therefore made where the layer is built and never
    saved: a model written on one backend opens on another.

    Args:
        momentum: Share of the old moving statistics that one training step keeps.
        epsilon: Added to the variance.
        frozen_statistics: Normalize by the moving statistics in training too, and leave them alone; scale and
            offset still learn. For fine-tuning on few or small batches.
        **kwargs: Further arguments of ``keras.layers.BatchNormalization``.

    Shapes: any, channels last; unchanged.

    Raises:
        ValueError: ``frozen_statistics`` is neither True nor False.

    Source: Enformer, Methods (cross-replica batch normalization, decay 0.9); Sonnet's defaults for epsilon.
    """

    def __init__(
        self, momentum: float = 0.9, epsilon: float = 1e-5, frozen_statistics: bool = False, **kwargs: Any
    ) -> None:
        check_switch("frozen_statistics", frozen_statistics)
        kwargs.pop("synchronized", None)
        super().__init__(
            momentum=momentum,
            epsilon=epsilon,
            synchronized=keras.backend.backend() == "tensorflow",
            **kwargs,
        )
        self.frozen_statistics = frozen_statistics

    def call(
        self, inputs: keras.KerasTensor, training: bool | None = None, mask: keras.KerasTensor | None = None
    ) -> keras.KerasTensor:
        """Normalize inputs ``[batch, ..., channels]``; the outputs have their shape."""
        return super().call(inputs, training=training and not self.frozen_statistics, mask=mask)

    def _moments(
        self, inputs: keras.KerasTensor, mask: keras.KerasTensor | None
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        if mask is not None:
            moments: tuple[keras.KerasTensor, keras.KerasTensor] = super()._moments(inputs, mask)
            return moments
        # Keras takes the synchronized variance, and torch's, as E[x^2] - E[x]^2, whose cancellation alone moves
        # gradient norms of the reference by 1e-3; the mean of squared differences costs no digits. The
        # gradient through the mean inside the square is zero.
        mean = self._mean_of_the_batch(inputs)
        return mean, self._mean_of_the_batch(ops.square(inputs - ops.stop_gradient(mean)))

    def _mean_of_the_batch(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Mean per channel, over all replicas, which may hold different numbers of examples."""
        if not self.synchronized:
            return ops.mean(x, axis=self._reduction_axes)
        # Keras's all-reduce, given a replica's sums instead of its activations.
        local_sum = ops.sum(x, axis=self._reduction_axes)
        count = ops.cast(ops.size(x), x.dtype) / local_sum.shape[0]
        local = ops.concatenate([local_sum, ops.reshape(count, (1,))])
        across, _ = ops.moments(local[None], axes=[0], synchronized=True)
        return across[:-1] / across[-1]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, without the choice that belongs to the backend."""
        config = super().get_config()
        config.pop("synchronized", None)
        return {**config, "frozen_statistics": self.frozen_statistics}
