"""Weights of one model for another, whose layers have the same names."""

from collections.abc import Collection

import keras


def copy_what_fits(model: keras.Model, source: keras.Model) -> None:
    """Copy all weights that fit by layer, name and shape; the others stay as they are.

    Args:
        model: The model that gets them.
        source: The model to copy from, which is left alone.
    """
    others = {layer.name: layer for layer in source.layers}
    for layer in model.layers:
        theirs = {weight.name: weight for weight in others[layer.name].weights} if layer.name in others else {}
        fits = [(weight, theirs[weight.name]) for weight in layer.weights if weight.name in theirs]
        # A head of another size: none of it fits, its bias of the old tracks no more than its kernel.
        if all(ours.shape == other.shape for ours, other in fits):
            _copy(fits)


def take_trunk(model: keras.Model, source: keras.Model, heads: Collection[str]) -> None:
    """Copy the trunk's weights and those of some heads, all of them or none.

    Low-rank updates of the model stay as they are.

    Args:
        model: The model that gets them.
        source: The model to copy from, which is left alone.
        heads: Names of heads to copy too.

    Raises:
        ValueError: Weights are missing or differ in shape; all of them are named and the model is unchanged.
    """
    others = {layer.name: layer for layer in source.layers}
    wanted = [f"head_{head}" for head in heads]
    pairs, problems = [], []
    for layer in model.layers:
        if layer.name.startswith("head_") and layer.name not in wanted:
            continue
        theirs = {weight.name: weight for weight in others[layer.name].weights} if layer.name in others else {}
        ours = {weight.name: weight for weight in layer.weights if "_lora_" not in weight.name}
        for name in sorted(ours.keys() | theirs.keys()):
            shapes = [tuple(side[name].shape) if name in side else "missing" for side in (ours, theirs)]
            if shapes[0] != shapes[1]:
                problems.append(f"{layer.name}/{name}: {shapes[0]} here, {shapes[1]} in the source")
            else:
                pairs.append((ours[name], theirs[name]))
    here = {layer.name for layer in model.layers}
    problems += [
        f"{name}: only in the source"
        for name, layer in others.items()
        if name not in here and layer.weights and not name.startswith("head_")
    ]
    problems += [f"{name}: not here" for name in wanted if name not in here]
    if problems:
        raise ValueError("the weights do not fit:\n  " + "\n  ".join(problems))
    _copy(pairs)


def _copy(pairs: Collection[tuple[keras.Variable, keras.Variable]]) -> None:
    """Copies into each first variable the second."""
    for ours, theirs in pairs:
        # On JAX an assigned array is shared, and training deletes what it updates.
        ours.assign(keras.ops.copy(theirs))
