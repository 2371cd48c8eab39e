"""Gradients of predictions with respect to the sequence, on each of Keras's backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from enformer_keras.model.xla import asks_for_xla

# From one-hot [batch, window_length, 4] and weights [batch, bins, tracks] to a gradient like the first.
Pullback = Callable[[np.ndarray, np.ndarray], np.ndarray]


def pullback(model: keras.Model, head: str | None = None) -> Pullback:
    """Makes a function that gives the gradient of a weighted sum of a model's predictions.

    It is compiled once for each shape of its arguments. Only the sum is differentiated, so the memory is that
    of one backward pass, whatever the number of tracks. The model runs as in inference.

    Args:
        model: from one-hot `[batch, window_length, 4]` to `[batch, bins, tracks]`, or to a dict of such.
        head: which of the model's outputs; `None` where it has one that has no name.

    Returns:
        From float32 one-hot [batch, window_length, 4] (or what lies between letters) and float32 weights
        [batch, bins, tracks] to float32 [batch, window_length, 4]: of each sequence the gradient of the sum of
        its weighted predictions.

    Raises:
        NotImplementedError: the backend is none of tensorflow, jax and torch.
        ValueError: it is no Keras model, such as a SavedModel, whose gradients are not known.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"gradients are those of a Keras model, and this is a {type(model).__name__}; do without (the "
            "method ism, no screen), or use a .keras file or checkpoint of the model"
        )
    made = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}.get(keras.backend.backend())
    if made is None:
        raise NotImplementedError(
            f"there are no gradients on the backend {keras.backend.backend()}; use tensorflow, jax or torch "
            "(KERAS_BACKEND)"
        )

    def weighted_sum(predicted: Any, weights: Any) -> Any:
        bins = predicted if head is None else predicted[head]
        return keras.ops.sum(keras.ops.cast(bins, "float32") * weights)

    return made(model, weighted_sum)


def _on_tensorflow(model: keras.Model, weighted_sum: Callable[[Any, Any], Any]) -> Pullback:
    import tensorflow as tf

    def gradient(sequence: Any, weights: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sequence)
            total = weighted_sum(model(sequence, training=False), weights)
        return tape.gradient(total, sequence)

    # As `predict` does: XLA where all of the model's layers can be compiled by it.
    compiled = tf.function(gradient, jit_compile=asks_for_xla(model))

    def pull(sequence: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found: np.ndarray = compiled(tf.constant(sequence), tf.constant(weights)).numpy()
        return found

    return pull


def _on_jax(model: keras.Model, weighted_sum: Callable[[Any, Any], Any]) -> Pullback:
    import jax

    def total(sequence: Any, weights: Any, trainable: Any, other: Any) -> Any:
        predicted, _ = model.stateless_call(trainable, other, sequence, training=False)
        return weighted_sum(predicted, weights)

    gradient = jax.jit(jax.grad(total))

    def pull(sequence: np.ndarray, weights: np.ndarray) -> np.ndarray:
        # Weights are arguments: as constants they would be part of what is compiled.
        trainable = [variable.value for variable in model.trainable_variables]
        other = [variable.value for variable in model.non_trainable_variables]
        return np.asarray(gradient(sequence, weights, trainable, other))

    return pull


def _on_torch(model: keras.Model, weighted_sum: Callable[[Any, Any], Any]) -> Pullback:
    import torch

    def pull(sequence: np.ndarray, weights: np.ndarray) -> np.ndarray:
        inputs = keras.ops.convert_to_tensor(sequence).requires_grad_()
        total = weighted_sum(model(inputs, training=False), keras.ops.convert_to_tensor(weights))
        (gradient,) = torch.autograd.grad(total, inputs)
        found: np.ndarray = gradient.cpu().numpy()
        return found

    return pull
