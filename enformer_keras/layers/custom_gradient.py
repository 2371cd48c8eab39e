"""Gradients that are stated, where the backend's own would be slow."""

from collections.abc import Callable
from typing import Any

from keras import ops


def with_gradient(compute: Callable[..., Any], gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of tensors a gradient of its own.

    Args:
        compute: From tensors to one tensor.
        gradient: From the gradient of that tensor, followed by the same tensors, to the gradient of each: a
            tuple where there are several.

    Returns:
        ``compute`` with that gradient, on every backend.
    """

    @ops.custom_gradient
    def function(*tensors: Any) -> tuple[Any, Callable[..., Any]]:
        # torch gives the gradient by name, the others by position.
        def backward(*arguments: Any, upstream: Any = None) -> Any:
            return gradient(arguments[0] if upstream is None else upstream, *tensors)

        return compute(*tensors), backward

    return function
