"""The Enformer model as a functional Keras graph."""

import contextlib
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras

from enformer_keras.model.architecture import (
    BIN_SIZE,
    BLOCKS,
    HUMAN_TRACKS,
    MOUSE_TRACKS,
    NUM_TOWER_BLOCKS,
    PARTS,
    POOLING_TYPES,
    check_architecture,
    check_parts,
    tower_filters,
)
from enformer_keras.model.arguments import check_integer
from enformer_keras.model.layers import (
    CutIntoPieces1D,
    Dense,
    Dropout,
    JoinPieces1D,
    Neighbours1D,
    RelativeMultiHeadAttention,
    SoftmaxPooling1D,
    SynchronizedBatchNormalization,
    TargetLengthCrop1D,
    WinogradConv1D,
    gelu,
    softplus,
)
from enformer_keras.model.presets import PRESETS
from enformer_keras.model.rematerialization import RematerializedModel
from enformer_keras.model.weights import copy_what_fits, take_trunk
from enformer_keras.model.xla import leave_xla_out

# With names that are importable from here too.
__all__ = [
    "BIN_SIZE",
    "BLOCKS",
    "HUMAN_TRACKS",
    "MOUSE_TRACKS",
    "NUM_TOWER_BLOCKS",
    "PARTS",
    "POOLING_TYPES",
    "Enformer",
    "tower_filters",
]

# Sonnet's linear and convolution weights: truncated normal of stddev 1 / sqrt(fan_in) before the truncation.
# Keras's VarianceScaling divides by this constant to restore the variance that truncation takes; undo that.
_TRUNCATION = 0.87962566103423978


def _fan_in_initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(
        scale=_TRUNCATION**2, mode="fan_in", distribution="truncated_normal"
    )


@keras.saving.register_keras_serializable(package="enformer_keras")
class Enformer(RematerializedModel):
    """Enformer: tracks along the genome from DNA sequence.

    Args:
        channels: Width of the transformer; the embeddings are twice as wide. A multiple of ``2 * num_heads``
            and of ``filters_divisible_by``, and ``channels // num_heads`` is a multiple of 6.
        num_transformer_layers: Transformer blocks.
        num_heads: Attention heads of a block.
        pooling_type: ``"attention"`` (softmax pooling) or ``"max"``.
        heads: Number of tracks of each output head, by name.
        sequence_length: Input window in bp, a multiple of 128.
        target_length: Bins of 128 bp to predict, from the window's centre. ``None`` keeps all.
        key_size: Width of a head's queries and keys.
        filters_divisible_by: The tower's filters are rounded to multiples of this; narrow models need less
            than the paper's 128.
        dropout_rate: Dropout in transformer blocks; an eighth of it before the embeddings.
        attention_dropout: Dropout of attention weights.
        position_dropout: Dropout of positional features.
        frozen: Parts that do not learn, of ``"stem"``, ``"tower"``, ``"transformer"``, ``"final_pointwise"``
            and ``"head_<name>"``. Their batch statistics stay too; low-rank updates learn all the same.
        frozen_statistics: Normalize by the moving statistics everywhere, in training too, and leave them alone.
        lora_rank: Rank of low-rank updates of the attention projections, which are then frozen themselves.
        rematerialized: Parts of which training keeps each block's input alone and computes the rest again in
            the backward pass, of ``"stem"``, ``"tower"`` and ``"transformer"``: less memory for more time.
        winograd: Convolve in the tower with two fifths of the multiplications, for some more rounding and
            memory: faster in float32 on CPUs. Weights are the same either way.
        tower_pieces: Cut the window into so many pieces from the stem to the end of the tower, which exchange
            what convolutions see of each other. 8 moves fewer bytes on TPUs at any batch size; 1 is for CPUs.
            More than one has attention's logits shifted as suits TPUs too (``sliced_shift``). A divisor of the
            window's bins. Weights and, but for rounding, outputs are the same.
        **kwargs: Arguments of ``keras.Model`` (``name``, ``dtype``).

    Input: one-hot DNA ``[batch, sequence_length, 4]`` in the order A, C, G, T. Output: a dict from each head's
    name to ``[batch, target_length, tracks]``, not negative.

    Raises:
        ValueError: An argument cannot work; the message names it and the allowed values.

    Example:
        >>> model = Enformer(channels=96, num_transformer_layers=1, num_heads=4, heads={"ecoli": 4},
        ...                  sequence_length=4096, target_length=16, filters_divisible_by=16)
        >>> model.predict(one_hot_encode(["ACGT" * 1024]))["ecoli"].shape
        (1, 16, 4)

    Source: Avsec et al. 2021, "Effective gene expression prediction from sequence by integrating long-range
    interactions", Methods and Extended Data Fig. 1.
    """

    def __init__(
        self,
        channels: int = 1536,
        num_transformer_layers: int = 11,
        num_heads: int = 8,
        pooling_type: str = "attention",
        heads: Mapping[str, int] | None = None,
        sequence_length: int = 196_608,
        target_length: int | None = 896,
        key_size: int = 64,
        filters_divisible_by: int = 128,
        dropout_rate: float = 0.4,
        attention_dropout: float = 0.05,
        position_dropout: float = 0.01,
        frozen: Sequence[str] = (),
        frozen_statistics: bool = False,
        lora_rank: int | None = None,
        rematerialized: Sequence[str] = (),
        winograd: bool = False,
        tower_pieces: int = 1,
        **kwargs: Any,
    ) -> None:
        heads = {"human": HUMAN_TRACKS, "mouse": MOUSE_TRACKS} if heads is None else heads
        check_architecture(
            channels=channels,
            num_transformer_layers=num_transformer_layers,
            num_heads=num_heads,
            pooling_type=pooling_type,
            heads=heads,
            sequence_length=sequence_length,
            target_length=target_length,
            key_size=key_size,
            filters_divisible_by=filters_divisible_by,
            rates={
                "dropout_rate": dropout_rate,
                "attention_dropout": attention_dropout,
                "position_dropout": position_dropout,
            },
            lora_rank=lora_rank,
            parts={"frozen": frozen, "rematerialized": rematerialized},
            switches={"frozen_statistics": frozen_statistics, "winograd": winograd},
            tower_pieces=tower_pieces,
            name=kwargs.get("name"),
        )
        heads = dict(heads)
        dtype = kwargs.pop("dtype", None)
        # The global policy of today belongs to the model, not the one of the day when it is loaded.
        policy = keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)
        layer = functools.partial(_make_layer, policy)

        def conv_block(x: keras.KerasTensor, filters: int, width: int, name: str) -> keras.KerasTensor:
            x = layer(SynchronizedBatchNormalization, frozen_statistics=frozen_statistics, name=f"{name}_norm")(
                x
            )
            x = layer(keras.layers.Activation, gelu, name=f"{name}_gelu")(x)
            return convolution(x, filters, width, f"{name}_conv")

        def convolution(x: keras.KerasTensor, filters: int, width: int, name: str) -> keras.KerasTensor:
            if width == 1:  # a matrix product by any other name, and faster as one
                return linear(x, filters, name)
            if winograd and width == WinogradConv1D.width:
                return layer(WinogradConv1D, filters, kernel_initializer=_fan_in_initializer(), name=name)(x)
            if tower_pieces > 1:
                x = layer(Neighbours1D, tower_pieces, width // 2, name=f"{name}_neighbours")(x)
            return layer(
                keras.layers.Conv1D,
                filters,
                width,
                padding="same" if tower_pieces == 1 else "valid",
                data_format="channels_last",  # whatever the global one is, which is about images
                kernel_initializer=_fan_in_initializer(),
                name=name,
            )(x)

        def linear(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
            return layer(keras.layers.Dense, units, kernel_initializer=_fan_in_initializer(), name=name)(x)

        def residual(x: keras.KerasTensor, branch: keras.KerasTensor, name: str) -> keras.KerasTensor:
            return layer(keras.layers.Add, name=name)([x, branch])

        def pool(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
            if pooling_type == "attention":
                return layer(SoftmaxPooling1D, 2, name=name)(x)
            return layer(keras.layers.MaxPooling1D, 2, padding="same", data_format="channels_last", name=name)(
                x
            )

        def dropout(x: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
            return layer(Dropout, rate, name=name)(x)

        # === Stem ===
        inputs = keras.Input((sequence_length, 4), name="sequence")
        x = inputs
        if tower_pieces > 1:
            x = layer(CutIntoPieces1D, tower_pieces, name="stem_pieces")(x)
        x = convolution(x, channels // 2, 15, "stem_conv")
        x = residual(x, conv_block(x, channels // 2, 1, "stem_pointwise"), "stem_residual")
        x = pool(x, "stem_pool")

        # === Tower ===
        for block, filters in enumerate(tower_filters(channels, filters_divisible_by)):
            name = f"tower_{block}"
            x = conv_block(x, filters, 5, name)
            x = residual(x, conv_block(x, filters, 1, f"{name}_pointwise"), f"{name}_residual")
            x = pool(x, f"{name}_pool")
        if tower_pieces > 1:
            x = layer(JoinPieces1D, tower_pieces, name="tower_joined")(x)

        # === Transformer ===
        for block in range(num_transformer_layers):
            name = f"transformer_{block}"
            branch = layer(keras.layers.LayerNormalization, epsilon=1e-5, name=f"{name}_attention_norm")(x)
            branch = layer(
                RelativeMultiHeadAttention,
                num_heads=num_heads,
                key_size=key_size,
                value_size=channels // num_heads,
                num_position_features=channels // num_heads,
                attention_dropout=attention_dropout,
                position_dropout=position_dropout,
                lora_rank=lora_rank,
                sliced_shift=tower_pieces > 1,
                name=f"{name}_attention",
            )(branch)
            branch = dropout(branch, dropout_rate, f"{name}_attention_dropout")
            x = residual(x, branch, f"{name}_attention_residual")

            branch = layer(keras.layers.LayerNormalization, epsilon=1e-5, name=f"{name}_mlp_norm")(x)
            branch = linear(branch, channels * 2, f"{name}_mlp_expand")
            branch = dropout(branch, dropout_rate, f"{name}_mlp_expand_dropout")
            branch = layer(keras.layers.Activation, "relu", name=f"{name}_mlp_relu")(branch)
            branch = linear(branch, channels, f"{name}_mlp_project")
            branch = dropout(branch, dropout_rate, f"{name}_mlp_project_dropout")
            x = residual(x, branch, f"{name}_mlp_residual")

        # === Crop and final pointwise block ===
        if target_length is not None:
            x = layer(TargetLengthCrop1D, target_length, name="crop")(x)
        x = conv_block(x, channels * 2, 1, "final_pointwise")
        x = dropout(x, dropout_rate / 8, "final_dropout")
        embeddings = layer(keras.layers.Activation, gelu, name="embeddings")(x)

        # === Heads ===
        # In float32 whatever the policy: half precision has three digits, and tracks span four orders.
        outputs = {
            head: Dense(
                tracks,
                activation=softplus,
                kernel_initializer=_fan_in_initializer(),
                dtype=policy.variable_dtype,
                name=f"head_{head}",
            )(embeddings)
            for head, tracks in heads.items()
        }
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self.channels = channels
        self.num_transformer_layers = num_transformer_layers
        self.num_heads = num_heads
        self.pooling_type = pooling_type
        self.heads = heads
        self.sequence_length = sequence_length
        self.target_length = target_length
        self.key_size = key_size
        self.filters_divisible_by = filters_divisible_by
        self.dropout_rate = dropout_rate
        self.attention_dropout = attention_dropout
        self.position_dropout = position_dropout
        self.frozen_statistics = frozen_statistics
        self.lora_rank = lora_rank
        self.winograd = winograd
        self.tower_pieces = tower_pieces
        self._policy = policy
        self.frozen: tuple[str, ...] = ()
        self.freeze(*frozen)
        self.rematerialized: tuple[str, ...] = ()
        self.rematerialize(*rematerialized)

    @functools.cached_property
    def trunk(self) -> keras.Model:
        """The model without its heads; shares the weights.

        Input ``[batch, sequence_length, 4]``, output embeddings ``[batch, target_length, 2 * channels]``.
        """
        return self._ending_in("embeddings", f"{self.name}_trunk")

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configure training, as ``keras.Model.compile`` does."""
        super().compile(*args, **kwargs)
        leave_xla_out(self, kwargs.get("jit_compile", "auto"))
        if self.optimizer is not None:
            on_tensorflow = keras.backend.backend() == "tensorflow"
            with self.distribute_strategy.scope() if on_tensorflow else contextlib.nullcontext():
                # Where the first step makes the optimizer's variables, TensorFlow traces that step twice.
                self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Configure training as the model was that has been saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def head_model(self, head: str) -> keras.Model:
        """The model with one head; shares the weights.

        Args:
            head: Name of a head.

        Returns:
            A model from ``[batch, sequence_length, 4]`` to ``[batch, target_length, tracks]``.

        Raises:
            ValueError: There is no such head.
        """
        if head not in self.heads:
            raise ValueError(f"head={head!r} is not among the model's heads {sorted(self.heads)}")
        return self._ending_in(f"head_{head}", f"{self.name}_{head}")

    def _ending_in(self, layer: str, name: str) -> RematerializedModel:
        model = RematerializedModel(self.input, self.get_layer(layer).output, name=name)
        model.stretches = self.stretches
        return model

    @classmethod
    def from_preset(cls, preset: str, /, **changes: Any) -> "Enformer":
        """Build a model by name, with fresh weights.

        Args:
            preset: One of `PRESETS`.
            **changes: Arguments that replace the preset's.

        Returns:
            The model.

        Raises:
            ValueError: There is no such preset, or an argument cannot work.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset {preset!r} is not among {sorted(PRESETS)}")
        return cls(**{**PRESETS[preset], **changes})

    # === Quantization ===

    @property
    def quantized(self) -> dict[str, Any]:
        """What ``quantize`` has changed: configurations of the data types by layer."""
        return {
            layer.name: keras.dtype_policies.serialize(layer.dtype_policy)
            for layer in self.layers
            if layer.quantization_mode is not None
        }

    def _refuse_quantized(self) -> None:
        if self.quantized:
            raise ValueError(
                f"{self.name} is quantized, and its weights are those of no other model: quantize() comes last"
            )

    # === Memory ===

    def rematerialize(self, *parts: str) -> None:
        """Keep in training only the inputs of the blocks of the named parts; call it before `compile`.

        Takes effect on this model and on those that `head_model` makes from now on.

        Args:
            *parts: See the constructor's ``rematerialized``. None at all keeps everything again.

        Raises:
            ValueError: There is no such part.
        """
        check_parts("rematerialized", parts, BLOCKS)
        tower = [f"tower_{block}_pool" for block in range(NUM_TOWER_BLOCKS)]
        transformer = [f"transformer_{block}_mlp_residual" for block in range(self.num_transformer_layers)]
        ends = {"stem": ["stem_pool"], "tower": tower, "transformer": transformer}
        stretches, first = [], "sequence"
        for part, lasts in ends.items():
            for last in lasts:
                if part in parts:
                    stretches.append((first, last))
                first = last
        self.stretches = tuple(stretches)
        self.rematerialized = tuple(part for part in BLOCKS if part in parts)
        self.__dict__.pop("trunk", None)

    # === Replicas ===

    def share_batches(self, replica: Callable[[], Any]) -> None:
        """Drop, of a batch that replicas share, what one device would that has all of it.

        For TensorFlow's distribution strategies, whose replicas would else draw one mask for the first example
        of each, one for the second of each and so on. Call it before `compile`; it is not saved.

        Args:
            replica: Gives within a training step the number of the replica that makes it, in the order of their
                examples, of which each has as many.
        """
        for layer in self.layers:
            if isinstance(layer, Dropout | RelativeMultiHeadAttention):
                layer.share_batches(replica)

    # === Fine-tuning ===

    def freeze(self, *parts: str) -> None:
        """Let only the parts that are not named learn; call it before `compile`.

        Args:
            *parts: See the constructor's ``frozen``. None at all unfreezes everything.

        Raises:
            ValueError: There is no such part.
        """
        check_parts("frozen", parts, (*PARTS, *(f"head_{head}" for head in self.heads)))
        for layer in self.layers:
            frozen = layer.name in parts or layer.name.startswith(
                tuple(f"{part}_" for part in parts if part in PARTS)
            )
            if isinstance(layer, RelativeMultiHeadAttention):
                layer.freeze(frozen)
            else:
                layer.trainable = not frozen
        self.frozen = tuple(parts)

    def with_heads(self, heads: Mapping[str, int]) -> "Enformer":
        """Build the model with other heads on a copy of this trunk.

        Args:
            heads: Number of tracks by name. A head that this model has, of as many tracks, keeps its weights;
                the others start fresh.

        Returns:
            A new model, not compiled; this one is left alone.
        """
        frozen = [part for part in self.frozen if part in (*PARTS, *(f"head_{head}" for head in heads))]
        return self._rebuild(heads=heads, frozen=frozen)

    def take_weights(self, source: "Enformer", heads: Collection[str] = ()) -> None:
        """Take over the trunk of another model, and some of its heads.

        What weights do not depend on may differ: the window, precision, rates, what is frozen. Low-rank updates
        of this model stay as they are; those of ``source`` must have been merged.

        Args:
            source: The model to copy from, which is left alone.
            heads: Names of heads to copy too.

        Raises:
            ValueError: The source has low-rank updates, or one of the models is quantized, or weights differ in
                shape; all of them are named and this model is unchanged.
        """
        self._refuse_quantized()
        source._refuse_quantized()
        if source.lora_rank is not None:
            raise ValueError("the source has low-rank updates: take the weights of source.merge_lora()")
        take_trunk(self, source, heads)

    def with_sequence_length(self, sequence_length: int, target_length: int | None) -> "Enformer":
        """Build the model for windows of another length, with a copy of the weights.

        The positional features stretch with the window, as in the reference; predictions for a length other
        than the trained one are close, not the same.

        Args:
            sequence_length: Window in bp, a multiple of 128.
            target_length: Bins to predict; ``None`` keeps all.

        Returns:
            A new model, not compiled; this one is left alone.
        """
        return self._rebuild(sequence_length=sequence_length, target_length=target_length)

    def with_frozen_statistics(self, frozen_statistics: bool = True) -> "Enformer":
        """Build the model with batch statistics frozen or not, and a copy of the weights.

        Args:
            frozen_statistics: See the constructor.

        Returns:
            A new model, not compiled; this one is left alone.
        """
        return self._rebuild(frozen_statistics=frozen_statistics)

    def with_winograd(self, winograd: bool = True) -> "Enformer":
        """Build the model with the tower's convolutions for CPUs or not, and a copy of the weights.

        Args:
            winograd: See the constructor.

        Returns:
            A new model, not compiled; this one is left alone.
        """
        return self._rebuild(winograd=winograd)

    def with_tower_pieces(self, tower_pieces: int) -> "Enformer":
        """Build the model with stem and tower in pieces, or in one, and a copy of the weights.

        Args:
            tower_pieces: See the constructor.

        Returns:
            A new model, not compiled; this one is left alone.
        """
        return self._rebuild(tower_pieces=tower_pieces)

    def with_dtype(self, dtype: str) -> "Enformer":
        """Build the model with another data type policy, and a copy of the weights.

        Args:
            dtype: Name of a policy of Keras, such as ``"float32"`` or ``"mixed_bfloat16"``.

        Returns:
            A new model, not compiled; this one is left alone.
        """
        return self._rebuild(dtype=dtype)

    def with_lora(self, rank: int) -> "Enformer":
        """Build the model with low-rank updates of its attention projections, which are frozen themselves.

        The updates start at zero: the new model predicts the same. They learn whatever is frozen beside them:
        ``model.freeze(*PARTS)`` leaves them and the heads.

        Args:
            rank: Rank of the updates.

        Returns:
            A new model, not compiled; this one is left alone.

        Raises:
            ValueError: The rank is not a positive integer, or the model has such updates already; merge them
                first.

        Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
        """
        check_integer("rank", rank)
        if self.lora_rank is not None:
            raise ValueError(f"the model has updates of rank {self.lora_rank} already: merge_lora() first")
        return self._rebuild(lora_rank=rank)

    def merge_lora(self) -> "Enformer":
        """Build the model with its low-rank updates added to the projections.

        Returns:
            A new model without updates that predicts the same, not compiled; this one is left alone.
        """
        merged = self._rebuild(lora_rank=None)
        for block in range(self.num_transformer_layers):
            name = f"transformer_{block}_attention"
            for projection in ("query", "key", "value", "output"):
                kernel = getattr(merged.get_layer(name), f"{projection}_kernel")
                kernel.assign(keras.ops.copy(self.get_layer(name).merged_kernel(projection)))
        return merged

    def _rebuild(self, **changes: Any) -> "Enformer":
        """A model of other arguments with a copy of all weights that fit by layer, name and shape."""
        self._refuse_quantized()
        model = type(self).from_config({**self.get_config(), **changes})
        copy_what_fits(model, self)
        return model

    def get_config(self) -> dict[str, Any]:
        """Return every constructor argument, and what has been quantized since."""
        quantized = self.quantized
        return {
            "channels": self.channels,
            "num_transformer_layers": self.num_transformer_layers,
            "num_heads": self.num_heads,
            "pooling_type": self.pooling_type,
            "heads": dict(self.heads),
            "sequence_length": self.sequence_length,
            "target_length": self.target_length,
            "key_size": self.key_size,
            "filters_divisible_by": self.filters_divisible_by,
            "dropout_rate": self.dropout_rate,
            "attention_dropout": self.attention_dropout,
            "position_dropout": self.position_dropout,
            "frozen": list(self.frozen),
            "frozen_statistics": self.frozen_statistics,
            "lora_rank": self.lora_rank,
            "rematerialized": list(self.rematerialized),
            "winograd": self.winograd,
            "tower_pieces": self.tower_pieces,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self._policy),
            **({"quantized": quantized} if quantized else {}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Enformer":
        """Build the model that `get_config` describes."""
        config = dict(config)
        quantized = config.pop("quantized", {})
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        model = cls(**config)
        for layer, policy in quantized.items():
            model.get_layer(layer).dtype_policy = keras.dtype_policies.deserialize(policy)
        return model


def _make_layer(dtype: Any, layer: type[keras.layers.Layer], *args: Any, **kwargs: Any) -> keras.layers.Layer:
    return layer(*args, dtype=dtype, **kwargs)
