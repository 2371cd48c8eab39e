"""The output layer of a head, whose weights go by its name."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

_NAME = "name"


# Called Dense, because files of weights have a layer's place from the name of its class: files from before this
# class load as ever.
@keras.saving.register_keras_serializable(package="enformer_keras")
class Dense(keras.layers.Dense):
    """``keras.layers.Dense`` that refuses, from a file, the weights of a layer of another name.

    Keras finds a layer's weights in a file by the order among layers of its class. Where two models have other
    heads, one head would get the weights of another without a word.

    Args:
        *args: Arguments of ``keras.layers.Dense``.
        **kwargs: Likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written = self.name  # the name in the last file

    def some_units(self, inputs: Any, units: Sequence[int]) -> Any:
        """Compute some of the outputs, and not the others.

        Args:
            inputs: ``[..., features]``.
            units: Indices of outputs.

        Returns:
            ``[..., len(units)]``: these columns of what the layer returns in inference, but for rounding.
        """
        if self.quantization_mode is not None:
            return ops.take(self(inputs, training=False), list(units), axis=-1)
        kernel = ops.take(ops.cast(self.kernel, self.compute_dtype), list(units), axis=-1)
        outputs = ops.matmul(ops.cast(inputs, self.compute_dtype), kernel)
        if self.use_bias:
            outputs = outputs + ops.take(ops.cast(self.bias, self.compute_dtype), list(units))
        return outputs if self.activation is None else self.activation(outputs)

    def save_own_variables(self, store: Any) -> None:
        """Write the weights and the layer's name."""
        super().save_own_variables(store)
        store[_NAME] = np.frombuffer(self.name.encode(), np.uint8)  # the stores take numbers only

    def load_own_variables(self, store: Any) -> None:
        """Read the weights.

        Args:
            store: What the file has in this layer's place.

        Raises:
            ValueError: They were written under another name; or do not fit.
        """
        content = {key: store[key] for key in store.keys()}  # noqa: SIM118 (a store is no mapping)
        # Keras looks a second time for a layer that is not loaded, where the file has nothing; say the same.
        if content:
            written = content.pop(_NAME, None)
            self._written = self.name if written is None else np.asarray(written).tobytes().decode()
        if self._written != self.name:
            raise ValueError(
                f"{self.name}: the file has the weights of {self._written} in its place; load it into a model "
                "of the heads that were saved, and take_weights() of it"
            )
        super().load_own_variables(content)
