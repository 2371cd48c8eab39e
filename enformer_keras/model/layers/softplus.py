"""The activation of Enformer's heads."""

from typing import Any

import keras
from keras import ops

from enformer_keras.model.layers.custom_gradient import with_gradient

# log(1 + t) = 2 artanh(z) with z = t / (2 + t): for t in [0, 1] a polynomial of z * z, times z, to 1e-8 of it
# (fitted to 2 artanh(z) / z on [0, 1/9] at Chebyshev's points, by relative error).
_COEFFICIENTS = (2.0, 0.666663204, 0.400246513, 0.279643447, 0.281614538)


@keras.saving.register_keras_serializable(package="enformer_keras")
def softplus(x: keras.KerasTensor) -> keras.KerasTensor:
    """``log(1 + exp(x))`` with half of the arithmetic that a general logarithm takes.

    On TensorFlow and JAX in float32, to 5e-7 of the value where that is a normal number; elsewhere Keras's own,
    which torch computes in one step.

    Args:
        x: Activations of any shape.

    Returns:
        Activations of the same shape, not negative.
    """
    plain = isinstance(x, keras.KerasTensor) or keras.backend.backend() == "torch"
    if plain or keras.backend.standardize_dtype(x.dtype) != "float32":
        return ops.softplus(x)
    activations: keras.KerasTensor = _ours(x)
    return activations


def _softplus(x: Any) -> Any:
    # Of the smaller of exp(x) and exp(-x), which is exact where the other is too large.
    t = ops.exp(-ops.abs(x))
    z = t / (2.0 + t)
    square = z * z
    series = _COEFFICIENTS[-1]
    for coefficient in _COEFFICIENTS[-2::-1]:
        series = series * square + coefficient
    return ops.maximum(x, 0.0) + z * series


def _gradient(gradient: Any, x: Any) -> Any:
    return gradient * ops.sigmoid(x)


_ours = with_gradient(_softplus, _gradient)
