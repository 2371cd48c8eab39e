"""Weights of enformer-pytorch, read without it: `model.safetensors`, or `pytorch_model.bin` with torch."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.model.enformer import BIN_SIZE, NUM_TOWER_BLOCKS, Enformer

# In a folder, the first that is there.
PYTORCH_FILES = ("model.safetensors", "pytorch_model.bin")
_CONFIG = "config.json"
# enformer-pytorch has every layer of the trunk under two names, and files keep either or both.
_TWINS = {
    "_trunk.1.": "stem.",
    "_trunk.2.": "conv_tower.",
    "_trunk.4.": "transformer.",
    "_trunk.6.": "final_pointwise.",
}
_HEADS = "_heads."
# Of batch normalization: how many batches its averages have seen, which inference does not use.
_COUNTER = "num_batches_tracked"
# What its table of the reference's positional features is for (`use_tf_gamma`).
_TABLE_BINS, _TABLE_FEATURES = 1536, 192
# Its configuration -> argument of Enformer.
_ARGUMENTS = {
    "dim": "channels",
    "depth": "num_transformer_layers",
    "heads": "num_heads",
    "attn_dim_key": "key_size",
    "dim_divisible_by": "filters_divisible_by",
    "target_length": "target_length",
}


class _Entry(NamedTuple):
    """A weight: the model's variable, its shape in the file, and whether axes come in reverse there."""

    variable: keras.Variable
    shape: tuple[int, ...]
    reversed: bool = True


class _File(NamedTuple):
    """An open file: shapes by name, and how a tensor is read."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def load_pytorch_checkpoint(model: Enformer, path: str | os.PathLike[str]) -> None:
    """Load weights of enformer-pytorch into a model.

    Predictions are those of enformer-pytorch where it takes its positional features from the reference's table:
    with `use_tf_gamma`, as its pretrained models have it, at 1,536 bins and 192 features. Everywhere else it
    computes them by a formula of its own, which divides the gamma densities by their maximum over the features
    of a distance where the reference takes that over the distances; of this a warning tells.

    Args:
        model: An Enformer of the checkpoint's sizes.
        path: ``model.safetensors``, ``pytorch_model.bin``, or a folder with one of these (the first is taken).

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: safetensors, or for ``.bin`` torch, is not installed.
        ValueError: The file cannot be read; a weight of the model is missing in it, one of the file is left
            over, a shape differs, or a weight that is there under two names has two values. The message lists
            all of them and the model is unchanged.

    Source: modules of enformer-pytorch 0.8.12.
    """
    path = pytorch_file(path)
    entries = dict(_entries(model))
    with _opened(path) as file:
        names: dict[str, list[str]] = {}
        for name in file.shapes:
            names.setdefault(_plain(name), []).append(name)
        left_over = [
            name
            for plain, ours in names.items()
            for name in ours
            if plain not in entries and not (name.endswith(_COUNTER) and _beside(plain) in entries)
        ]
        named = {id(entry.variable) for entry in entries.values()}
        missing = sorted(entries.keys() - names.keys())
        missing += [weight.path for weight in model.weights if id(weight) not in named]
        found = [(plain, entry, name) for plain, entry in entries.items() for name in names.get(plain, ())]
        other_shape = [
            f"{name}: {file.shapes[name]}, the model wants {entry.shape}"
            for _, entry, name in found
            if file.shapes[name] != entry.shape
        ]
        two_values = [
            f"{plain}: {' and '.join(names[plain])}"
            for plain in entries
            if len(names.get(plain, ())) == 2 and not other_shape
            if not np.array_equal(file.read(names[plain][0]), file.read(names[plain][1]))
        ]
        problems = [
            f"{len(lines)} {what}:\n  " + "\n  ".join(lines)
            for what, lines in (
                ("missing in the file", missing),
                ("left over in the file", sorted(left_over)),
                ("of another shape", sorted(other_shape)),
                ("with two values", two_values),
            )
            if lines
        ]
        if problems:
            raise ValueError(f"{path}: does not fit the model\n" + "\n".join(problems))
        for plain, (variable, _, is_reversed) in entries.items():
            value = file.read(names[plain][0])
            variable.assign(np.reshape(value.T if is_reversed else value, variable.shape))
    _warn_of_features(model, path)


def pytorch_file(path: str | os.PathLike[str]) -> Path:
    """Find the file of weights.

    Args:
        path: As for `load_pytorch_checkpoint`.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    files = [path / name for name in PYTORCH_FILES] if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            return file
    raise FileNotFoundError(f"{path}: no such file, or a folder without {' or '.join(PYTORCH_FILES)}")


def pytorch_heads(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read which heads a file of enformer-pytorch has.

    Args:
        path: As for `load_pytorch_checkpoint`.

    Returns:
        Number of tracks by name, as `Enformer` takes them.

    Raises:
        FileNotFoundError, ImportError, ValueError: As for `load_pytorch_checkpoint`.
    """
    path = pytorch_file(path)
    with _opened(path) as file:
        heads = {
            name.removeprefix(_HEADS).partition(".")[0]: shape[0]
            for name, shape in sorted(file.shapes.items())
            if name.startswith(_HEADS) and name.endswith(".0.weight")
        }
    if not heads:
        raise ValueError(f"{path}: holds no head ({_HEADS}<name>.0.weight): is it of enformer-pytorch?")
    return heads


def pytorch_arguments(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the sizes of a model of enformer-pytorch from the ``config.json`` beside its weights.

    Args:
        path: As for `load_pytorch_checkpoint`.

    Returns:
        Arguments of `Enformer`; the window's length is not among them. ``None`` where there is no such file.

    Raises:
        FileNotFoundError: There are no weights.
        ValueError: The file cannot be read, or asks for what Enformer does not have.
    """
    file = pytorch_file(path).with_name(_CONFIG)
    config = _read_config(file)
    if config is None:
        return None
    if config.get("num_downsamples", 7) != 7 or config.get("use_convnext"):
        raise ValueError(f"{file}: asks for bins that are not of {BIN_SIZE} bp, or for ConvNeXt: no Enformer")
    arguments = {ours: config[theirs] for theirs, ours in _ARGUMENTS.items() if theirs in config}
    if arguments.get("target_length") == -1:
        arguments["target_length"] = None
    return arguments


def _read_config(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is not JSON ({error}); fetch it again") from error
    return config


def _warn_of_features(model: Enformer, path: Path) -> None:
    """Tells where enformer-pytorch has other positional features than the reference."""
    if not model.num_transformer_layers:
        return
    bins, features = model.sequence_length // BIN_SIZE, model.channels // model.num_heads
    config = _read_config(path.with_name(_CONFIG)) or {}
    if (bins, features) != (_TABLE_BINS, _TABLE_FEATURES):
        why = (
            f"the table of the reference's features is for {_TABLE_BINS} bins and {_TABLE_FEATURES} features; "
            f"at {bins} and {features}"
        )
    elif config.get("use_tf_gamma") is False:  # pretrained models were written before it could be said
        why = f"{_CONFIG} says use_tf_gamma false, so"
    else:
        return
    warnings.warn(
        f"{path}: {why} enformer-pytorch computes positional features by a formula of its own, which is not "
        "the reference's: predictions will differ from those that it makes",
        stacklevel=3,
    )


def _plain(name: str) -> str:
    for twin, plain in _TWINS.items():
        if name.startswith(twin):
            return plain + name.removeprefix(twin)
    return name


def _beside(counter: str) -> str:
    return counter.removesuffix(_COUNTER) + "running_mean"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """Opens either kind of file; what it does not read is not in memory."""
    if path.suffix == ".safetensors":
        try:
            with from_extra("command"):
                from safetensors import SafetensorError, safe_open
        except ImportError as error:
            raise ImportError(
                f"{path}: reading it needs the package safetensors: install enformer-keras[command]"
            ) from error
        try:
            with safe_open(path, framework="numpy") as file:
                names = file.keys()
                yield _File({name: tuple(file.get_slice(name).get_shape()) for name in names}, file.get_tensor)
        except (SafetensorError, TypeError) as error:  # a TypeError of data types that numpy does not have
            raise ValueError(f"{path}: cannot be read as safetensors ({error}); fetch it again") from error
        return
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path}: reading it needs torch: install enformer-keras[torch], or take {PYTORCH_FILES[0]}"
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    except Exception as error:  # pickle, zipfile and torch have errors of many kinds
        raise ValueError(f"{path}: cannot be read as weights of torch ({error}); fetch it again") from error
    yield _File(shapes, lambda name: tensors[name].float().numpy())


def _entries(model: Enformer) -> Iterator[tuple[str, _Entry]]:
    """Name every weight of a model as enformer-pytorch does."""
    yield from _linear(model, "stem.0", "stem_conv")
    yield from _conv_block(model, "stem.1.fn", "stem_pointwise")
    yield from _pool(model, "stem.2", "stem_pool")

    for block in range(NUM_TOWER_BLOCKS):
        key, name = f"conv_tower.{block}", f"tower_{block}"
        yield from _conv_block(model, f"{key}.0", name)
        yield from _conv_block(model, f"{key}.1.fn", f"{name}_pointwise")
        yield from _pool(model, f"{key}.2", f"{name}_pool")

    for block in range(model.num_transformer_layers):
        key, name = f"transformer.{block}", f"transformer_{block}"
        yield from _norm(model, f"{key}.0.fn.0", f"{name}_attention_norm")
        yield from _attention(model, f"{key}.0.fn.1", f"{name}_attention")
        yield from _norm(model, f"{key}.1.fn.0", f"{name}_mlp_norm")
        yield from _linear(model, f"{key}.1.fn.1", f"{name}_mlp_expand")
        yield from _linear(model, f"{key}.1.fn.4", f"{name}_mlp_project")

    yield from _conv_block(model, "final_pointwise.1", "final_pointwise")
    for head in model.heads:
        yield from _linear(model, f"{_HEADS}{head}.0", f"head_{head}")


def _turned(variable: keras.Variable, leading: int = 0) -> _Entry:
    """A weight whose axes come in reverse, after axes of length one."""
    return _Entry(variable, tuple(variable.shape)[::-1] + (1,) * leading)


def _linear(model: Enformer, key: str, name: str, leading: int = 0) -> Iterator[tuple[str, _Entry]]:
    layer = model.get_layer(name)
    yield f"{key}.weight", _turned(layer.kernel, leading)
    yield f"{key}.bias", _turned(layer.bias)


def _norm(model: Enformer, key: str, name: str) -> Iterator[tuple[str, _Entry]]:
    layer = model.get_layer(name)
    yield f"{key}.weight", _turned(layer.gamma)
    yield f"{key}.bias", _turned(layer.beta)
    if isinstance(layer, keras.layers.BatchNormalization):
        yield f"{key}.running_mean", _turned(layer.moving_mean)
        yield f"{key}.running_var", _turned(layer.moving_variance)


def _conv_block(model: Enformer, key: str, name: str) -> Iterator[tuple[str, _Entry]]:
    yield from _norm(model, f"{key}.0", f"{name}_norm")
    # Convolutions of width 1 are matrix products here.
    pointwise = isinstance(model.get_layer(f"{name}_conv"), keras.layers.Dense)
    yield from _linear(model, f"{key}.2", f"{name}_conv", leading=1 if pointwise else 0)


def _pool(model: Enformer, key: str, name: str) -> Iterator[tuple[str, _Entry]]:
    if model.pooling_type == "attention":
        yield f"{key}.to_attn_logits.weight", _turned(model.get_layer(name).kernel, leading=2)


def _attention(model: Enformer, key: str, name: str) -> Iterator[tuple[str, _Entry]]:
    layer = model.get_layer(name)
    for ending, variable in {
        "to_q.weight": layer.query_kernel,
        "to_k.weight": layer.key_kernel,
        "to_v.weight": layer.value_kernel,
        "to_rel_k.weight": layer.position_kernel,
        "to_out.weight": layer.output_kernel,
        "to_out.bias": layer.output_bias,
    }.items():
        yield f"{key}.{ending}", _turned(variable)
    for ending, variable in {
        "rel_content_bias": layer.content_bias,
        "rel_pos_bias": layer.position_bias,
    }.items():
        yield f"{key}.{ending}", _Entry(variable, tuple(variable.shape), reversed=False)
