"""Gradients that are stated, where the backend's own would be slow."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def with_gradient(compute: Callable[..., Any], gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of tensors a gradient of its own.

    Args:
        compute: From tensors to one tensor.
        gradient: From the gradient of that tensor, followed by the same tensors, to the gradient of each: a
            tuple where there are several.

    Returns:
        ``compute`` with that gradient, on every backend. JAX's forward mode (``jvp``) and ``torch.func`` refuse
        such functions.
    """
    on_torch = keras.backend.backend() == "torch"

    def function(*tensors: Any) -> tuple[Any, Callable[..., Any]]:
        if on_torch:
            # Keras hands over what torch has saved. To hold the tensors here too would keep in memory what
            # rematerialization drops.
            return compute(*tensors), lambda *saved, upstream: gradient(upstream, *saved)
        return compute(*tensors), lambda upstream: gradient(upstream, *tensors)

    differentiable: Callable[..., Any] = ops.custom_gradient(function)
    return differentiable
