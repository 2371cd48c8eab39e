"""The activation of Enformer's convolution blocks."""

from typing import Any

import keras
from keras import ops

from enformer_keras.model.layers.custom_gradient import with_gradient

_SLOPE = 1.702


@keras.saving.register_keras_serializable(package="enformer_keras")
def gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    """Sigmoid approximation of GELU, ``x * sigmoid(1.702 * x)``.

    Differs from Keras's ``gelu`` (error function or tanh) by up to 0.02, which is enough to lose the released
    weights' numbers.

    Args:
        x: Activations of any shape.

    Returns:
        Activations of the same shape.

    Source: Hendrycks and Gimpel 2016, section 2; Enformer, Methods, "Model architecture".
    """
    # A graph that is drawn with the function itself, not with a layer of it, takes Keras's operations alone.
    activations: keras.KerasTensor = (_gelu if isinstance(x, keras.KerasTensor) else _ours)(x)
    return activations


def _gelu(x: Any) -> Any:
    return x * ops.sigmoid(_SLOPE * x)


def _gradient(gradient: Any, x: Any) -> Any:
    """From the input alone: a sigmoid that is kept takes as much memory as the input."""
    sigmoid = ops.sigmoid(_SLOPE * x)
    return gradient * sigmoid * (1.0 + _SLOPE * x * (1.0 - sigmoid))


_ours = with_gradient(_gelu, _gradient)
