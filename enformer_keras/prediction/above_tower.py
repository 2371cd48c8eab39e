"""What a model makes of the tower's output, of what is asked for alone: the target's bins, and some tracks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from enformer_keras.model.layers import Dense, RelativeMultiHeadAttention, TargetLengthCrop1D

# Indices of the head's tracks that are asked for; `None`: all.
Tracks = tuple[int, ...] | None


class AboveTower:
    """The transformer, what comes after it, and one head.

    In the last block each bin's query meets all bins, and from there on bins go apart: those beyond the target,
    two fifths of a window of the published size, need no query there, and no feed-forward. The model computes
    them, for its graph shows every block whole, and crops them after it; here they are left out. The numbers
    are the model's but for rounding.

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
        crops = [layer for layer in model.layers if isinstance(layer, TargetLengthCrop1D)]
        self._crop = crops[0] if attentions and crops else None
        if self._crop is not None:
            self._attention = attentions[-1]
            block = self._attention.name.removesuffix("_attention")
            self._norm, *self._feed_forward = (
                model.get_layer(f"{block}_{name}")
                for name in ("attention_norm", "mlp_norm", "mlp_expand", "mlp_relu", "mlp_project")
            )
            # Of one block nothing stands before it, of which Keras makes no model.
            one_block = self._norm.input is tower
            self._before = None if one_block else keras.Model(tower, self._norm.input)
            self._after = keras.Model(self._crop.output, embeddings)
        else:
            self._before = keras.Model(tower, embeddings)

    def __call__(self, tower: Any, tracks: Tracks = None) -> Any:
        """Returns predictions.

        Args:
            tower: its output, [batch, bins, channels].
            tracks: those that are asked for.

        Returns:
            float32 [batch, target bins, tracks].
        """
        x = tower if self._before is None else self._before.call(tower, training=False)
        if self._crop is not None:
            first = self._crop.first_bin(x.shape[1])
            target = first, first + self._crop.target_length
            x = self._crop(x) + self._attention(self._norm(x), training=False, positions=target)
            branch = x
            for layer in self._feed_forward:
                branch = layer(branch)
            x = self._after.call(x + branch, training=False)
        if self._head is None:
            x = x if tracks is None else ops.take(x, list(tracks), axis=2)
        else:
            x = self._head(x) if tracks is None else self._head.some_units(x, tracks)
        return ops.cast(x, "float32")
