"""The activation of Enformer's convolution blocks."""

import keras
from keras import ops


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
    return x * ops.sigmoid(1.702 * x)
