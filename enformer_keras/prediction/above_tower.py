"""What a model makes of the tower's output, of what is asked for alone: the target's bins, and some tracks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from enformer_keras.model.layers import Dense, RelativeMultiHeadAttention, TargetLengthCrop1D

# Indices of the head's tracks that are asked for; `None`: all.
Tracks = tuple[int, ...] | None


# From so many bins on, queries go in turns on CPUs: below it all logits of a head fit the caches.
_MANY_BINS = 512
# Queries of a turn, at most.
_MOST_TOGETHER = 384


class AboveTower:
    """The transformer, what comes after it, and one head.

    In the last block each bin's query meets all bins, and from there on bins go apart: those beyond the target,
    two fifths of a window of the published size, need no query there, and no feed-forward. The model computes
    them, for its graph shows every block whole, and crops them after it; here they are left out. And where XLA
    computes on a CPU, queries of long windows go in turns whose logits fit its caches: the model's graph has
    all of them at once, as GPUs and gradients want it. The numbers are the model's but for rounding.

    Args:
        model: an `Enformer` or one of its `head_model`s.
        tower: what comes out of its tower, a tensor of the model's graph.
        output: of one head, as well.
    """

    def __init__(self, model: keras.Model, tower: keras.KerasTensor, output: keras.KerasTensor) -> None:
        self.num_tracks = output.shape[-1]
        last = [layer for layer in model.layers if isinstance(layer, Dense) and layer.output is output]
        # Of thousands of tracks a few can be computed without the others.
        self._head = last[0] if last else None
        embeddings = output if self._head is None else self._head.input
        attentions = [layer for layer in model.layers if isinstance(layer, RelativeMultiHeadAttention)]
        self._blocks = [_Block(model, attention) for attention in attentions]
        crops = [layer for layer in model.layers if isinstance(layer, TargetLengthCrop1D)]
        self._crop = crops[0] if attentions and crops else None
        if self._crop is not None:
            before = self._crop.output
        else:
            before = self._blocks[-1].output if self._blocks else tower
        self._after = keras.Model(before, embeddings)

    def __call__(self, tower: Any, tracks: Tracks = None) -> Any:
        """Returns predictions.

        Args:
            tower: its output, [batch, bins, channels].
            tracks: those that are asked for.

        Returns:
            float32 [batch, target bins, tracks].
        """
        x, bins = tower, tower.shape[1]
        for block in self._blocks:
            crop = self._crop if block is self._blocks[-1] else None
            first = 0 if crop is None else crop.first_bin(bins)
            end = bins - first
            attended = block.attention(
                block.norm(x), training=False, positions=(first, end), together=_together(bins, end - first)
            )
            x = attended + (x if crop is None else crop(x))
            branch = x
            for layer in block.feed_forward:
                branch = layer(branch)
            x = x + branch
        x = self._after.call(x, training=False)
        if self._head is None:
            x = x if tracks is None else ops.take(x, list(tracks), axis=2)
        else:
            x = self._head(x) if tracks is None else self._head.some_units(x, tracks)
        return ops.cast(x, "float32")


class _Block:
    """Layers of a transformer block, but for dropout.

    Args:
        model: an `Enformer`.
        attention: the block's.
    """

    def __init__(self, model: keras.Model, attention: RelativeMultiHeadAttention) -> None:
        name = attention.name.removesuffix("_attention")
        self.attention = attention
        self.norm = model.get_layer(f"{name}_attention_norm")
        self.feed_forward = [
            model.get_layer(f"{name}_{layer}")
            for layer in ("mlp_norm", "mlp_expand", "mlp_relu", "mlp_project")
        ]
        self.output = model.get_layer(f"{name}_mlp_residual").output


def _together(bins: int, queries: int) -> int | None:
    """Returns how many queries go at a time; `None`: all."""
    if keras.backend.backend() != "jax" or bins < _MANY_BINS:
        return None
    import jax

    # GPUs and TPUs would wait for each other turn.
    if jax.default_backend() != "cpu":
        return None
    return max(size for size in range(1, _MOST_TOGETHER + 1) if queries % size == 0)
