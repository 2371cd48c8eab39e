"""Dropout whose mask costs a few integer operations."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_rate
from enformer_keras.model.layers.position_hash import position_bits


@keras.saving.register_keras_serializable(package="enformer_keras")
class Dropout(keras.layers.Layer):
    """Dropout with a mask hashed from each element's position and the step's seed.

    Does what ``keras.layers.Dropout`` does. Keras draws the mask with the backend's generator, which XLA runs
    serially on CPUs (220 ns for an element, a tenth of a training step) and which writes its bits to memory
    everywhere; a hash of the position is arithmetic that fuses with what follows, forward and backward.

    Args:
        rate: Share of elements set to zero, at least 0 and below 1; the others are divided by ``1 - rate``.
        seed: Seed of the layer's seed generator; ``None`` draws one.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Shapes: any; unchanged. A tensor has at most 2**31 elements.

    Raises:
        ValueError: ``rate`` is out of its range.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_rate("rate", rate)
        self.rate = rate
        self.seed = seed
        self._replica: Callable[[], Any] | None = None
        if rate > 0.0:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True  # has no weights; Keras quantizes no model with a layer that is not built

    def share_batches(self, replica: Callable[[], Any]) -> None:
        """Drop, of a batch that replicas share, what one device would that has all of it.

        Keras's seeds are alike on all replicas of TensorFlow, and so are, without this, the masks.

        Args:
            replica: Gives within a training step the number of the replica that makes it, in the order of their
                examples; each has as many, along the first axis.
        """
        self._replica = replica

    def call(self, inputs: keras.KerasTensor, training: bool | None = None) -> keras.KerasTensor:
        """Drop elements in training; pass everything otherwise. The shape is any, and stays."""
        if not training or self.rate == 0.0:
            return inputs
        position = ops.reshape(ops.arange(ops.size(inputs), dtype="int32"), ops.shape(inputs))
        if self._replica is not None:
            position += ops.cast(self._replica(), "int32") * ops.size(inputs)
        bits = position_bits(position, self.seed_generator.next())
        # Uniform over all int32: dropped are the `rate` lowest.
        keep = bits >= int(self.rate * 2**32) - 2**31
        return ops.where(keep, inputs * (1.0 / (1.0 - self.rate)), ops.zeros_like(inputs))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
