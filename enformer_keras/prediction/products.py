"""How products of float32 are made while a model is asked.

On GPUs with TF32, JAX and TensorFlow by default round what they multiply to the ten bits of TF32, and torch
does so in convolutions; on TPUs JAX rounds to bfloat16. That is faster and leaves three digits. Scores are
differences of predictions, so where a model is said to compute in float32 it does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras

# In float32; rounded to TF32; or as the backend does by itself.
Products = Literal["float32", "tf32", "own"]
_HALF = {"bfloat16", "float16"}


def products_of(model: Any, *, tf32: bool) -> Products:
    """Returns how a model's products of float32 are made.

    Args:
        model: a Keras model, or what is asked like one.
        tf32: whether they may be rounded to TF32.
    """
    if tf32:
        return "tf32"
    # Of a model in half precision that has three digits itself, what it does in float32 needs no more.
    computed = {getattr(layer, "compute_dtype", None) for layer in getattr(model, "layers", ())}
    return "own" if computed & _HALF else "float32"


@contextlib.contextmanager
def make_products(products: Products, library: str | None = None) -> Iterator[None]:
    """Within it products of float32 are made so.

    On JAX it is so in this thread alone; TensorFlow and torch have one way for a process, which is what it was
    before once this ends.

    Args:
        products: see `products_of`.
        library: what computes; `None`: Keras's backend.
    """
    ways = {"jax": _on_jax, "tensorflow": _on_tensorflow, "torch": _on_torch}
    way = ways.get(library or keras.backend.backend())
    with contextlib.nullcontext() if products == "own" or way is None else way(products == "tf32"):
        yield


def within(products: Products, function: Callable[..., Any], library: str | None = None) -> Callable[..., Any]:
    """Returns a function whose products of float32 are made so whenever it is called (`make_products`)."""

    def called(*arguments: Any) -> Any:
        with make_products(products, library):
            return function(*arguments)

    return function if products == "own" else called


def check_tf32() -> None:
    """Refuses TF32 where there is none.

    Raises:
        ValueError: the backend's device is no NVIDIA GPU of compute capability 8.0 (Ampere) or later.
    """
    found = {"jax": _jax_capability, "tensorflow": _tensorflow_capability, "torch": _torch_capability}
    capability = found.get(keras.backend.backend(), lambda: None)()
    if capability is None or capability < (8, 0):
        what = (
            "no GPU" if capability is None else f"a GPU of compute capability {capability[0]}.{capability[1]}"
        )
        raise ValueError(
            "dtype='tf32' is for NVIDIA GPUs of compute capability 8.0 or later, and "
            f"{keras.backend.backend()} has {what} here; use float32"
        )


@contextlib.contextmanager
def _on_jax(tf32: bool) -> Iterator[None]:
    import jax

    if jax.default_backend() == "cpu":  # which rounds nothing
        yield
        return
    with jax.default_matmul_precision("tensorfloat32" if tf32 else "float32"):
        yield


@contextlib.contextmanager
def _on_tensorflow(tf32: bool) -> Iterator[None]:
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextlib.contextmanager
def _on_torch(tf32: bool) -> Iterator[None]:
    import torch

    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = tf32
    try:
        yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


def _jax_capability() -> tuple[int, int] | None:
    import jax

    device = jax.devices()[0]
    return _numbers(str(getattr(device, "compute_capability", ""))) if device.platform == "gpu" else None


def _tensorflow_capability() -> tuple[int, int] | None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        return _numbers(
            ".".join(map(str, tf.config.experimental.get_device_details(gpu).get("compute_capability", ())))
        )
    return None


def _torch_capability() -> tuple[int, int] | None:
    import torch

    return torch.cuda.get_device_capability() if torch.cuda.is_available() and not torch.version.hip else None


def _numbers(version: str) -> tuple[int, int] | None:
    """Returns `8.0` as numbers; other makers' GPUs name themselves otherwise."""
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
