"""Multi-head self-attention with relative positions."""

from typing import Any

import keras
from keras import ops

from enformer_keras.layers.positional_features import relative_positional_features


@keras.saving.register_keras_serializable(package="enformer_keras")
class RelativeMultiHeadAttention(keras.layers.Layer):
    """Self-attention whose logits hold content and relative position, in the Transformer-XL form.

    ``logits[i, j] = (q_i / sqrt(key_size) + content_bias) . k_j
    + (q_i / sqrt(key_size) + position_bias) . r_(j - i)``, where ``r`` projects the fixed
    `relative_positional_features`.

    Args:
        num_heads: Heads.
        key_size: Width of a head's queries and keys.
        value_size: Width of a head's values; the output has ``num_heads * value_size`` channels.
        num_position_features: Relative positional features, a multiple of 6.
        attention_dropout: Dropout rate of the attention weights.
        position_dropout: Dropout rate of the positional features.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch, length, channels]`` with a fixed length. Output shape:
    ``[batch, length, num_heads * value_size]``.

    Raises:
        ValueError: An argument is not positive, ``num_position_features`` is not a multiple of 6, or the
            length is unknown.

    Source: Enformer, Methods, "Model architecture" (multi-head attention); Dai et al. 2019, section 3.3.
    """

    def __init__(
        self,
        num_heads: int = 8,
        key_size: int = 64,
        value_size: int = 192,
        num_position_features: int = 192,
        attention_dropout: float = 0.05,
        position_dropout: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {"num_heads": num_heads, "key_size": key_size, "value_size": value_size}
        for argument, value in sizes.items():
            if value < 1:
                raise ValueError(f"{argument} must be a positive integer, got {value}")
        if num_position_features < 1 or num_position_features % 6:
            raise ValueError(
                f"num_position_features must be a positive multiple of 6, got {num_position_features}"
            )
        self.num_heads = num_heads
        self.key_size = key_size
        self.value_size = value_size
        self.num_position_features = num_position_features
        self.attention_dropout = attention_dropout
        self.position_dropout = position_dropout
        self._drop_attention = keras.layers.Dropout(attention_dropout, dtype=self.dtype_policy)
        self._drop_position = keras.layers.Dropout(position_dropout, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the projections and the two position biases."""
        _, length, channels = input_shape
        if length is None:
            raise ValueError(f"{self.name}: the length must be known to lay out relative positions")
        projection = keras.initializers.VarianceScaling(scale=2.0)
        keys, values = self.num_heads * self.key_size, self.num_heads * self.value_size

        def weight(name: str, shape: tuple[int, ...], initializer: Any) -> keras.Variable:
            # One initializer object gives every weight of the same shape the same numbers: clone it.
            initializer = initializer if isinstance(initializer, str) else initializer.clone()
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.query_kernel = weight("query_kernel", (channels, keys), projection)
        self.key_kernel = weight("key_kernel", (channels, keys), projection)
        self.value_kernel = weight("value_kernel", (channels, values), projection)
        self.position_kernel = weight("position_kernel", (self.num_position_features, keys), projection)
        # Shaped as the reference has them, because the initializer's scale depends on it.
        bias_shape = (1, self.num_heads, 1, self.key_size)
        self.content_bias = weight("content_bias", bias_shape, projection)
        self.position_bias = weight("position_bias", bias_shape, projection)
        self.output_kernel = weight("output_kernel", (values, values), "zeros")
        self.output_bias = weight("output_bias", (values,), "zeros")

    def call(self, inputs: keras.KerasTensor, training: bool | None = None) -> keras.KerasTensor:
        """Attend within ``[batch, length, channels]``; ``[batch, length, num_heads * value_size]``."""
        length = inputs.shape[1]
        query = self._split_heads(ops.matmul(inputs, self.query_kernel), length) * self.key_size**-0.5
        key = self._split_heads(ops.matmul(inputs, self.key_kernel), length)
        value = self._split_heads(ops.matmul(inputs, self.value_kernel), length)

        features = ops.convert_to_tensor(
            relative_positional_features(length, self.num_position_features), dtype=self.compute_dtype
        )
        features = self._drop_position(features, training=training)
        # A row of zeros in front stands for the one distance that does not exist; `relative_shift` needs
        # that column, and a zero row costs less here than padding the logits does.
        position = ops.pad(ops.matmul(features, self.position_kernel), ((1, 0), (0, 0)))
        position = self._split_heads(position[None], 2 * length)

        logits = ops.matmul(query + self.content_bias, ops.transpose(key, (0, 1, 3, 2)))
        logits += relative_shift(ops.matmul(query + self.position_bias, ops.transpose(position, (0, 1, 3, 2))))
        weights = self._drop_attention(ops.softmax(logits, axis=-1), training=training)
        heads = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        heads = ops.reshape(heads, (-1, length, self.num_heads * self.value_size))
        return ops.matmul(heads, self.output_kernel) + self.output_bias

    def _split_heads(self, x: keras.KerasTensor, length: int) -> keras.KerasTensor:
        """``[batch, length, heads * width]`` to ``[batch, heads, length, width]``."""
        x = ops.reshape(x, (-1, length, self.num_heads, x.shape[-1] // self.num_heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch, length, num_heads * value_size)``."""
        return (*input_shape[:-1], self.num_heads * self.value_size)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "num_position_features": self.num_position_features,
            "attention_dropout": self.attention_dropout,
            "position_dropout": self.position_dropout,
        }


def relative_shift(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Turn logits by distance into logits by key position.

    Args:
        logits: ``[batch, heads, length, 2 * length]``; column ``length + d`` of a query's row is for the key at
            distance ``d`` from it, column 0 is unused.

    Returns:
        ``[batch, heads, length, length]`` with ``out[..., i, j] = logits[..., i, length + j - i]``.
    """
    heads, length = logits.shape[1:3]
    # Row i starts one element earlier in each row of 2 * length: with the first `length` elements dropped, rows
    # of 2 * length - 1 line the keys up.
    flat = ops.reshape(logits, (-1, heads, 2 * length * length))[:, :, length:]
    return ops.reshape(flat, (-1, heads, length, 2 * length - 1))[..., :length]
