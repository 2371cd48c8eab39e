"""Weights from the authors' Sonnet checkpoints, read without Sonnet."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.model.enformer import NUM_TOWER_BLOCKS, Enformer

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_HEADS = "module/_heads/"
_TENSORFLOW_KEYS = {"_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"}

Entry = tuple[str, keras.Variable, tuple[int, ...]]


def load_sonnet_checkpoint(model: Enformer, prefix: str | os.PathLike[str]) -> None:
    """Load a checkpoint of the authors' layout into a model.

    Args:
        model: An Enformer of the checkpoint's sizes.
        prefix: The checkpoint's path without ``.index`` or ``.data-...``.

    Raises:
        FileNotFoundError: There is no checkpoint under ``prefix``.
        ImportError: TensorFlow, whose file format it is, is not installed.
        ValueError: A variable of the model is missing in the checkpoint, one of the checkpoint is left over,
            or a shape differs; the message lists all of them and the model is unchanged.

    Source: variable layout of the checkpoint that the authors released with the paper.
    """
    reader = _open(prefix)
    shapes = {
        key.removesuffix(_VALUE): tuple(shape)
        for key, shape in reader.get_variable_to_shape_map().items()
        if key.removesuffix(_VALUE) not in _TENSORFLOW_KEYS
    }
    entries = {key: (variable, shape) for key, variable, shape in sonnet_entries(model)}
    # Sonnet's moving averages keep a counter and the biased average beside the debiased one, which is the one
    # that inference uses.
    averages = [key.removesuffix("/average") for key in entries if key.endswith("/average")]
    accounted = entries.keys() | {f"{key}/{state}" for key in averages for state in ("_counter", "_hidden")}

    named = {id(variable) for variable, _ in entries.values()}
    missing = sorted(entries.keys() - shapes.keys())
    missing += [weight.path for weight in model.weights if id(weight) not in named]
    left_over = sorted(shapes.keys() - accounted)
    other_shape = [
        f"{key}: {shapes[key]}, the model wants {shape}"
        for key, (_, shape) in sorted(entries.items())
        if key in shapes and shapes[key] != shape
    ]
    problems = [
        f"{len(lines)} {what}:\n  " + "\n  ".join(lines)
        for what, lines in (
            ("missing in the checkpoint", missing),
            ("left over in the checkpoint", left_over),
            ("of another shape", other_shape),
        )
        if lines
    ]
    if problems:
        raise ValueError(f"checkpoint {os.fspath(prefix)!r} does not fit the model\n" + "\n".join(problems))
    for key, (variable, _) in entries.items():
        variable.assign(np.reshape(reader.get_tensor(key + _VALUE), variable.shape))


def sonnet_heads(prefix: str | os.PathLike[str]) -> dict[str, int]:
    """Read which heads a checkpoint of the authors' layout has.

    Args:
        prefix: As for `load_sonnet_checkpoint`.

    Returns:
        Number of tracks by name, as `Enformer` takes them.

    Raises:
        FileNotFoundError: There is no checkpoint under ``prefix``.
        ImportError: TensorFlow, whose file format it is, is not installed.
        ValueError: It has no head.
    """
    shapes = _open(prefix).get_variable_to_shape_map()
    heads = {
        key.removeprefix(_HEADS).partition("/")[0]: shape[-1]
        for key, shape in sorted(shapes.items())
        if key.startswith(_HEADS) and key.endswith(f"/w{_VALUE}")
    }
    if not heads:
        raise ValueError(
            f"{os.fspath(prefix)}: holds no head ({_HEADS}<name>/...): is it of the authors' layout?"
        )
    return heads


def _open(prefix: str | os.PathLike[str]) -> Any:
    """Open a checkpoint with TensorFlow's reader."""
    prefix = os.fspath(prefix)
    if not Path(f"{prefix}.index").exists():
        raise FileNotFoundError(f"no checkpoint at {prefix!r}: the file {prefix + '.index'!r} does not exist")
    with from_extra("tensorflow"):
        import tensorflow as tf

    return tf.train.load_checkpoint(prefix)


def sonnet_entries(model: Enformer) -> Iterator[Entry]:
    """Name every weight of a model as the authors' checkpoint does.

    Args:
        model: Any Enformer.

    Yields:
        Checkpoint key (without ``/.ATTRIBUTES/VARIABLE_VALUE``), the model's variable, and the shape in the
        checkpoint, which has axes of length one where Sonnet keeps them.
    """
    trunk = "module/_trunk/_layers"
    yield from _linear(model, f"{trunk}/0/_layers/0", "stem_conv")
    yield from _conv_block(model, f"{trunk}/0/_layers/1/_module", "stem_pointwise")
    yield from _pool(model, f"{trunk}/0/_layers/2", "stem_pool")

    for block in range(NUM_TOWER_BLOCKS):
        key, name = f"{trunk}/1/_layers/{block}/_layers", f"tower_{block}"
        yield from _conv_block(model, f"{key}/0", name)
        yield from _conv_block(model, f"{key}/1/_module", f"{name}_pointwise")
        yield from _pool(model, f"{key}/2", f"{name}_pool")

    for block in range(model.num_transformer_layers):
        key, name = f"{trunk}/2/_layers/{block}/_layers", f"transformer_{block}"
        yield from _norm(model, f"{key}/0/_module/_layers/0", f"{name}_attention_norm")
        yield from _attention(model, f"{key}/0/_module/_layers/1", f"{name}_attention")
        yield from _norm(model, f"{key}/1/_module/_layers/0", f"{name}_mlp_norm")
        yield from _linear(model, f"{key}/1/_module/_layers/1", f"{name}_mlp_expand")
        yield from _linear(model, f"{key}/1/_module/_layers/4", f"{name}_mlp_project")

    # Layer 3 is the crop, which has no weights.
    yield from _conv_block(model, f"{trunk}/4/_layers/0", "final_pointwise")
    for head in model.heads:
        yield from _linear(model, f"{_HEADS}{head}/_layers/0", f"head_{head}")


def _linear(model: Enformer, key: str, name: str, leading: tuple[int, ...] = ()) -> Iterator[Entry]:
    layer = model.get_layer(name)
    yield f"{key}/w", layer.kernel, leading + tuple(layer.kernel.shape)
    yield f"{key}/b", layer.bias, tuple(layer.bias.shape)


def _norm(model: Enformer, key: str, name: str) -> Iterator[Entry]:
    layer = model.get_layer(name)
    shape = tuple(layer.gamma.shape)
    yield f"{key}/scale", layer.gamma, shape
    yield f"{key}/offset", layer.beta, shape
    if isinstance(layer, keras.layers.BatchNormalization):
        yield f"{key}/moving_mean/average", layer.moving_mean, (1, 1, *shape)
        yield f"{key}/moving_variance/average", layer.moving_variance, (1, 1, *shape)


def _conv_block(model: Enformer, key: str, name: str) -> Iterator[Entry]:
    yield from _norm(model, f"{key}/_layers/0", f"{name}_norm")
    # Convolutions of width 1 are matrix products here.
    pointwise = isinstance(model.get_layer(f"{name}_conv"), keras.layers.Dense)
    yield from _linear(model, f"{key}/_layers/2", f"{name}_conv", leading=(1,) if pointwise else ())


def _pool(model: Enformer, key: str, name: str) -> Iterator[Entry]:
    if model.pooling_type == "attention":
        kernel = model.get_layer(name).kernel
        yield f"{key}/_logit_linear/w", kernel, tuple(kernel.shape)


def _attention(model: Enformer, key: str, name: str) -> Iterator[Entry]:
    layer = model.get_layer(name)
    for ending, variable in {
        "_q_layer/w": layer.query_kernel,
        "_k_layer/w": layer.key_kernel,
        "_v_layer/w": layer.value_kernel,
        "_r_k_layer/w": layer.position_kernel,
        "_r_w_bias": layer.content_bias,
        "_r_r_bias": layer.position_bias,
        "_embedding_layer/w": layer.output_kernel,
        "_embedding_layer/b": layer.output_bias,
    }.items():
        yield f"{key}/{ending}", variable, tuple(variable.shape)
