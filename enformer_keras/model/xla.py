"""Whether XLA can compile for the device at hand, which on TensorFlow depends on its build."""

import functools
import warnings
from typing import Any

import keras


@functools.cache
def xla_compiles() -> bool:
    """Says whether what TensorFlow runs by default can be compiled by XLA.

    TensorFlow's build for TPUs shows Keras a device that is no CPU on every machine, and so Keras, left to
    decide (``jit_compile="auto"``), asks for XLA; but that build compiles for TPUs alone and fails on the CPU
    with "could not find registered transfer manager for platform Host". It is asked once, for an addition.

    Returns:
        True on other backends, where Keras decides.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    try:
        tf.function(lambda one: one + one, jit_compile=True)(tf.constant(1.0))
    except (tf.errors.NotFoundError, tf.errors.UnimplementedError):
        return False
    return True


def leave_xla_out(model: keras.Model, jit_compile: bool | str) -> None:
    """Has a model that was compiled for training leave XLA out where it cannot be; warns if it was asked for.

    Args:
        model: The model.
        jit_compile: What ``compile`` was given.
    """
    asked = model.jit_compile
    if asked and not asks_for_xla(model) and jit_compile is True:
        warnings.warn(
            "this TensorFlow, its build for TPUs, cannot compile for the CPU: jit_compile=True is left out",
            stacklevel=3,
        )


def asks_for_xla(model: Any) -> bool:
    """Says whether XLA is to compile what a model does, and has the model leave it out where it cannot.

    Args:
        model: A Keras model.

    Returns:
        What the model's ``jit_compile`` is from now on, which its ``predict`` goes by too.
    """
    if model.jit_compile and not xla_compiles():
        model.jit_compile = False
    return bool(model.jit_compile)
