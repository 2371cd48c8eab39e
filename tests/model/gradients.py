"""One training step's values and gradients on whichever backend Keras runs on."""

import keras
import numpy as np


def value_and_gradients(model, x, loss, training):
    """Return ``loss(outputs)``, the outputs, and gradients by trainable weight and by input.

    ``loss`` takes the model's outputs and uses `keras.ops`.
    """
    backend = keras.backend.backend()
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend](model, x, loss, training)


def _tensorflow(model, x, loss, training):
    import tensorflow as tf

    weights = [v.value for v in model.trainable_variables]

    @tf.function
    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x, training=training)
            value = loss(outputs)
        return value, outputs, tape.gradient(value, [*weights, x], unconnected_gradients="zero")

    value, outputs, (*gradients, by_input) = compute(tf.constant(x))
    return _to_numpy(value, outputs, gradients, by_input)


def _jax(model, x, loss, training):
    import jax

    trainable = [v.value for v in model.trainable_variables]
    rest = [v.value for v in model.non_trainable_variables]

    def compute(trainable, x):
        outputs, _ = model.stateless_call(trainable, rest, x, training=training)
        return loss(outputs), outputs

    (value, outputs), (gradients, by_input) = jax.jit(
        jax.value_and_grad(compute, argnums=(0, 1), has_aux=True)
    )(trainable, x)
    return _to_numpy(value, outputs, gradients, by_input)


def _torch(model, x, loss, training):
    import torch

    x = torch.tensor(x, requires_grad=True)
    outputs = model(x, training=training)
    value = loss(outputs)
    value.backward()
    gradients = [np.zeros(v.shape) if v.value.grad is None else v.value.grad for v in model.trainable_variables]
    return _to_numpy(value, outputs, gradients, x.grad)


def _to_numpy(value, outputs, gradients, by_input):
    convert = keras.ops.convert_to_numpy
    return (
        float(value),
        {head: convert(output) for head, output in outputs.items()},
        [convert(gradient) for gradient in gradients],
        convert(by_input),
    )
