"""The reference model's numbers, and the weights that its golden data was made with."""

import functools
import json
import zlib
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"


@functools.cache
def description():
    """``config``, ``variables`` {key: shape} and ``train_gradient_norms`` {key: norm}."""
    loaded = json.loads((FIXTURES / "attention_pool_384.json").read_text())
    return {**loaded, "variables": {key: tuple(shape) for key, shape in loaded["variables"]}}


@functools.cache
def arrays():
    with np.load(FIXTURES / "attention_pool_384.npz") as archive:
        return dict(archive)


def one_hot():
    """[2, 16384, 4]; index 4 is N, four zeros."""
    return np.eye(5, 4, dtype=np.float32)[arrays()["sequence"]]


def tensor(key, shape):
    """The value that the golden data's weights have under a checkpoint key (fixtures/README.md)."""
    parts = key.split("/")
    if parts[-1] == "_counter":
        return np.int64(0)
    if parts[-1] == "_hidden":
        return np.zeros(shape, np.float32)
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    fan_in = np.float32(np.prod(shape[:-1]))
    if parts[-1] == "average":
        return 0.1 * z if "moving_mean" in parts else np.exp(0.2 * z)
    if parts[-1] == "scale":
        return 1 + 0.1 * z
    if parts[-1] in ("offset", "b"):
        return 0.1 * z
    if parts[-1] in ("_r_w_bias", "_r_r_bias"):
        return 0.3 * z
    scaled = z / np.sqrt(fan_in)
    return 2 * np.eye(*shape, dtype=np.float32) + 0.5 * scaled if parts[-2] == "_logit_linear" else scaled


def write_checkpoint(prefix, variables):
    """Write ``{key: shape}`` as a TensorFlow checkpoint with the weights of `tensor`."""
    import tensorflow as tf

    keys = sorted(variables)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[f"{key}/.ATTRIBUTES/VARIABLE_VALUE" for key in keys],
        shape_and_slices=[""] * len(keys),
        tensors=[tf.constant(tensor(key, variables[key])) for key in keys],
    )
