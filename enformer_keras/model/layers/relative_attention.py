"""Multi-head self-attention with relative positions."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from enformer_keras.model.arguments import check_integer, check_length, check_rate, is_integer
from enformer_keras.model.layers.custom_gradient import with_gradient
from enformer_keras.model.layers.dropout import Dropout
from enformer_keras.model.layers.positional_features import relative_positional_features

# Into how many blocks the queries go, at most; a power of two.
MAX_BLOCKS = 8
# The projections that low-rank updates are for.
_UPDATED = ("query", "key", "value", "output")


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
        lora_rank: Rank of low-rank updates of the query, key, value and output projections, which are then
            frozen themselves; ``None`` for none.
        sliced_shift: Shift position logits by a slice for each query of a block: fewer bytes on TPUs, the same
            values.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch, length, channels]`` with a fixed length. Output shape:
    ``[batch, length, num_heads * value_size]``, or of the positions alone that are asked for.

    Raises:
        ValueError: An argument is out of its range, ``num_position_features`` is not a multiple of 6, or the
            length is unknown or 0.

    In half precision the softmax and the projection of the positional features are done in float32.

    Source: Enformer, Methods, "Model architecture" (multi-head attention); Dai et al. 2019, section 3.3; Hu et
    al. 2021, section 4.1 (low-rank updates).
    """

    def __init__(
        self,
        num_heads: int = 8,
        key_size: int = 64,
        value_size: int = 192,
        num_position_features: int = 192,
        attention_dropout: float = 0.05,
        position_dropout: float = 0.01,
        lora_rank: int | None = None,
        sliced_shift: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {"num_heads": num_heads, "key_size": key_size, "value_size": value_size}
        for argument, value in sizes.items():
            check_integer(argument, value)
        if not is_integer(num_position_features) or num_position_features < 1 or num_position_features % 6:
            raise ValueError(
                f"num_position_features must be a positive multiple of 6, got {num_position_features!r}"
            )
        check_rate("attention_dropout", attention_dropout)
        check_rate("position_dropout", position_dropout)
        check_integer("lora_rank", lora_rank, optional=True)
        self.lora_rank = lora_rank
        self.sliced_shift = sliced_shift
        self.num_heads = num_heads
        self.key_size = key_size
        self.value_size = value_size
        self.num_position_features = num_position_features
        self.attention_dropout = attention_dropout
        self.position_dropout = position_dropout
        self._drop_attention = Dropout(attention_dropout, dtype=self.dtype_policy)
        self._drop_position = Dropout(position_dropout, dtype="float32")

    def build(self, input_shape: tuple[int | None, int | None, int]) -> None:
        """Make the projections and the two position biases."""
        _, length, channels = input_shape
        check_length(self.name, length)
        scaled = keras.initializers.VarianceScaling(scale=2.0)
        keys, values = self.num_heads * self.key_size, self.num_heads * self.value_size

        def weight(name: str, shape: tuple[int, ...], initializer: Any, trainable: bool = True) -> Any:
            # One initializer object gives every weight of the same shape the same numbers: clone it.
            initializer = initializer if isinstance(initializer, str) else initializer.clone()
            return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=trainable)

        def projection(name: str, shape: tuple[int, int], initializer: Any) -> Any:
            if self.lora_rank is not None:
                # The update starts at zero.
                down, up = (shape[0], self.lora_rank), (self.lora_rank, shape[1])
                setattr(self, f"{name}_lora_down", weight(f"{name}_lora_down", down, scaled))
                setattr(self, f"{name}_lora_up", weight(f"{name}_lora_up", up, "zeros"))
            return weight(f"{name}_kernel", shape, initializer, trainable=self.lora_rank is None)

        self.query_kernel = projection("query", (channels, keys), scaled)
        self.key_kernel = projection("key", (channels, keys), scaled)
        self.value_kernel = projection("value", (channels, values), scaled)
        # Not cast to half precision: the features are fine-grained (see `_logits_by_distance`).
        self.position_kernel = self.add_weight(
            name="position_kernel",
            shape=(self.num_position_features, keys),
            initializer=scaled.clone(),
            autocast=False,
        )
        # Shaped as the reference has them, because the initializer's scale depends on it.
        bias_shape = (1, self.num_heads, 1, self.key_size)
        self.content_bias = weight("content_bias", bias_shape, scaled)
        self.position_bias = weight("position_bias", bias_shape, scaled)
        self.output_kernel = projection("output", (values, values), "zeros")
        self.output_bias = weight("output_bias", (values,), "zeros")

    def call(
        self,
        inputs: keras.KerasTensor,
        training: bool | None = None,
        positions: tuple[int, int] | None = None,
        together: int | None = None,
    ) -> keras.KerasTensor:
        """Attend within ``[batch, length, channels]``; ``[batch, length, num_heads * value_size]``.

        Args:
            inputs: What attends, and is attended to.
            training: Whether to drop attention weights and positional features.
            positions: The first and the end of those that attend; ``None`` for all.
            together: When nothing is dropped, how many of a head's queries go at a time, one lot after the
                other: a divisor of their number. Logits of few stay in a CPU's caches. ``None``: all at once.

        Returns:
            Of these positions.

        Raises:
            ValueError: There are no such positions, ``together`` does not divide their number, or it is given
                in training.
        """
        length = inputs.shape[1]
        check_length(self.name, length)
        first, end = (0, length) if positions is None else positions
        if not 0 <= first < end <= length:
            raise ValueError(
                f"{self.name}: positions={positions} are not among 0 to {length}; give first < end"
            )
        if together is not None and (training or together < 1 or (end - first) % together):
            raise ValueError(
                f"{self.name}: together={together} must divide {end - first} queries, and is for inference: "
                "give training=False, or together=None"
            )
        query = self._split_heads(self._project(inputs[:, first:end], "query"), end - first)
        query *= self.key_size**-0.5
        key = self._split_heads(self._project(inputs, "key"), length)
        value = self._split_heads(self._project(inputs, "value"), length)

        if together is None:
            logits = ops.matmul(query + self.content_bias, ops.transpose(key, (0, 1, 3, 2)))
            logits += self._position_logits(query + self.position_bias, first, length, training)
            weights = self._drop_attention(self._softmax(logits), training=training)
            heads = ops.matmul(weights, value)
        else:
            heads = self._attend_in_turns(query, key, value, first, together)
        heads = ops.transpose(heads, (0, 2, 1, 3))
        heads = ops.reshape(heads, (-1, end - first, self.num_heads * self.value_size))
        return self._project(heads, "output") + self.output_bias

    def _softmax(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        return ops.cast(ops.softmax(ops.cast(logits, "float32"), axis=-1), self.compute_dtype)

    def _attend_in_turns(
        self, query: keras.KerasTensor, key: keras.KerasTensor, value: keras.KerasTensor, first: int, rows: int
    ) -> keras.KerasTensor:
        """``[batch, heads, queries, value_size]``: ``rows`` queries of an example and head at a time."""
        examples, queries, length = query.shape[0], query.shape[2], key.shape[2]
        lots = queries // rows
        position = ops.transpose(self._project_features(self._features(length)), (0, 2, 1))
        by_content, by_position = query + self.content_bias, query + self.position_bias

        def attend(turn: keras.KerasTensor) -> keras.KerasTensor:
            example, head, lot = turn // (self.num_heads * lots), turn // lots % self.num_heads, turn % lots

            def some(queries: keras.KerasTensor) -> keras.KerasTensor:
                return ops.slice(queries, (example, head, lot * rows, 0), (1, 1, rows, self.key_size))[0, 0]

            start = length - first - rows * (lot + 1)
            distances = ops.slice(position, (head, 0, start), (1, self.key_size, length + rows))[0]
            logits = ops.matmul(some(by_content), ops.transpose(key[example, head]))
            logits += _shift(ops.matmul(some(by_position), distances))
            return ops.matmul(self._softmax(logits), value[example, head])

        heads = ops.map(attend, ops.arange(examples * self.num_heads * lots, dtype="int32"))
        return ops.reshape(heads, (examples, self.num_heads, queries, self.value_size))

    def _project(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        projected = ops.matmul(x, getattr(self, f"{name}_kernel"))
        if self.lora_rank is not None:
            down, up = getattr(self, f"{name}_lora_down"), getattr(self, f"{name}_lora_up")
            projected += ops.matmul(ops.matmul(x, down), up)
        return projected

    def freeze(self, frozen: bool) -> None:
        """Freeze the layer's weights or not; low-rank updates always learn.

        Args:
            frozen: Whether the weights stay as they are. Projections that have an update stay anyway.
        """
        for weight in self.weights:
            projection = weight.name.removesuffix("_kernel")
            updated = self.lora_rank is not None and projection in _UPDATED
            weight.trainable = "_lora_" in weight.name or not (frozen or updated)

    def share_batches(self, replica: Callable[[], Any]) -> None:
        """Drop attention weights as `Dropout.share_batches` says; positions have one mask for all examples."""
        self._drop_attention.share_batches(replica)

    def merged_kernel(self, name: str) -> keras.KerasTensor:
        """Return a projection with its low-rank update added, float32.

        Args:
            name: ``"query"``, ``"key"``, ``"value"`` or ``"output"``.

        Returns:
            ``[channels, width]``.
        """
        kernel = ops.convert_to_tensor(getattr(self, f"{name}_kernel"))
        if self.lora_rank is not None:
            down, up = getattr(self, f"{name}_lora_down"), getattr(self, f"{name}_lora_up")
            kernel = kernel + ops.matmul(down, up)
        return kernel

    def _position_logits(
        self, query: keras.KerasTensor, first: int, length: int, training: bool | None
    ) -> keras.KerasTensor:
        """``query[i] . (features @ position_kernel)[j - i]``, ``[batch, heads, queries, length]``.

        All queries together meet ``2 * length`` distances, each of them half. So queries, which stand at
        ``first`` and after it, go in blocks of ``rows``, and a block meets the ``length + rows`` distances from
        it to the keys.
        """
        queries = query.shape[2]
        blocks = math.gcd(queries, MAX_BLOCKS)
        rows = queries // blocks
        features = self._drop_position(self._features(length), training=training)
        starts = [length - first - rows * (block + 1) for block in range(blocks)]
        # Heads and blocks first, in the order of the logits: one product for each, and of one example nothing
        # is left to turn.
        query = ops.reshape(query, (-1, self.num_heads, blocks, rows, self.key_size))
        query = ops.transpose(query, (1, 2, 0, 3, 4))
        if self.num_position_features <= self.key_size and self.compute_dtype == "float32":
            # The three factors from the left: one product for all heads, and none of its gradients is by
            # distance and head.
            kernel = ops.reshape(self.position_kernel, (-1, self.num_heads, self.key_size))
            query = ops.matmul(query, ops.transpose(kernel, (1, 2, 0))[:, None, None])
            windows = ops.stack([features[start : start + length + rows] for start in starts])
            logits = ops.einsum("hnbrf,nwf->hnbrw", query, windows)
        else:
            position = self._project_features(features)
            windows = ops.stack([position[:, start : start + length + rows] for start in starts], axis=1)
            logits = ops.einsum("hnbrk,hnwk->hnbrw", query, windows)
        logits = ops.transpose(relative_shift(logits, self.sliced_shift), (2, 0, 1, 3, 4))
        return ops.reshape(logits, (-1, self.num_heads, queries, length))

    def _features(self, length: int) -> keras.KerasTensor:
        """The positional features ``[2 * length, features]``, float32, in the order of distances.

        A first row of zeros stands for the one distance that does not exist; `relative_shift` needs it.
        """
        features = np.pad(relative_positional_features(length, self.num_position_features), ((1, 0), (0, 0)))
        return ops.convert_to_tensor(features, dtype="float32")

    def _project_features(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """``[distances, features]`` to ``[heads, distances, key_size]``."""
        kernel = ops.reshape(self.position_kernel, (-1, self.num_heads, self.key_size))
        return ops.cast(ops.einsum("wf,fhk->hwk", features, kernel), self.compute_dtype)

    def _split_heads(self, x: keras.KerasTensor, length: int) -> keras.KerasTensor:
        """``[batch, length, heads * width]`` to ``[batch, heads, length, width]``."""
        x = ops.reshape(x, (-1, length, self.num_heads, x.shape[-1] // self.num_heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(
        self,
        inputs: keras.KerasTensor,
        training: bool | None = None,
        positions: tuple[int, int] | None = None,
        together: int | None = None,
    ) -> keras.KerasTensor:
        """Return what comes out of `call`, without its values."""
        batch, length, channels = self.compute_output_shape(inputs.shape)
        if positions is not None:
            length = positions[1] - positions[0]
        return keras.KerasTensor((batch, length, channels), dtype=self.compute_dtype)

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
            "lora_rank": self.lora_rank,
            "sliced_shift": self.sliced_shift,
        }


def relative_shift(logits: keras.KerasTensor, sliced: bool = False) -> keras.KerasTensor:
    """Turn logits by distance into logits by key position.

    Args:
        logits: ``[..., rows, length + rows]``, rows at most ``length + 1``, one axis at most of unknown size;
            column ``rows + d`` of query ``i`` is for the key at position ``i + d``, counted from the first
            query; column 0 is unused.
        sliced: Take a slice for each row, rather than make rows one shorter of all elements. TPUs, whose arrays
            are tiles, do the latter by three passes through memory.

    Returns:
        ``[..., rows, length]`` with ``out[..., i, j] = logits[..., i, rows + j - i]``.
    """
    shift = _shift_by_slices if sliced else _shift
    if keras.backend.backend() == "torch":
        return shift(logits)
    # XLA turns `_shift`'s own gradient into a padding and fuses softmax and dropout into it, computing them
    # again for each element: 40 ms of CPU time in a training step of the benchmark's model.
    # For slices too: a gradient padded row by row moves more bytes on TPUs.
    return with_gradient(shift, lambda gradient, logits: _unshift(gradient, logits.shape[-1]))(logits)


def _shift(logits: Any) -> Any:
    *others, rows, width = logits.shape
    others = [-1 if size is None else size for size in others]
    # Row i starts one element earlier in each row of `width`: with the first `rows` elements dropped, rows of
    # width - 1 line the keys up.
    flat = ops.reshape(logits, (*others, rows * width))[..., rows:]
    return ops.reshape(flat, (*others, rows, width - 1))[..., : width - rows]


def _unshift(gradient: Any, width: int) -> Any:
    """Put ``[..., rows, length]`` back where `_shift` took it from, zeros elsewhere."""
    *others, rows, _ = gradient.shape
    others = [-1 if size is None else size for size in others]
    # Zeros that XLA does not know to be zeros, or it would pad all the same.
    gradient = ops.concatenate([gradient, gradient[..., : rows - 1] * 0.0], axis=-1)
    flat = ops.reshape(gradient, (*others, rows * (width - 1)))
    flat = ops.concatenate([flat[..., :rows] * 0.0, flat], axis=-1)
    return ops.reshape(flat, (*others, rows, width))


def _shift_by_slices(logits: Any) -> Any:
    """What `_shift` does."""
    rows, width = logits.shape[-2:]
    length = width - rows
    return ops.stack([logits[..., row, rows - row : rows - row + length] for row in range(rows)], axis=-2)
