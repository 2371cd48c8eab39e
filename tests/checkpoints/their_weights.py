"""Weights in the layout of enformer-pytorch, and what it predicted with them."""

import json
from pathlib import Path

import numpy as np

TWINS = {
    "_trunk.1.": "stem.",
    "_trunk.2.": "conv_tower.",
    "_trunk.4.": "transformer.",
    "_trunk.6.": "final_pointwise.",
}


def predictions():
    with np.load(Path(__file__).parents[1] / "fixtures" / "enformer_pytorch.npz") as archive:
        return dict(archive)


def weights_of(shapes):
    """What the fixture's predictions were made with."""
    generator = np.random.default_rng(0)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        normal = generator.standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros(shape, np.int64)
        elif name.endswith("running_var"):
            weights[name] = np.exp(normal / 2).astype(np.float32)
        elif name.endswith("weight") and len(shape) == 1:
            weights[name] = (1 + normal / 4).astype(np.float32)
        else:
            weights[name] = (1.05 * normal / np.sqrt(max(np.prod(shape[1:]), 4))).astype(np.float32)
    return weights


def bases_of(length):
    return "".join(np.random.default_rng(1).choice(list("ACGTN"), length))


def twin(name):
    """The other name under which enformer-pytorch has a weight."""
    return next((name.replace(old, new, 1) for old, new in TWINS.items() if name.startswith(old)), name)


def write(folder, predicted, which, change=lambda weights: weights):
    """Writes the weights as `save_model` of safetensors.torch does, and the configuration beside them."""
    weights = change(weights_of(json.loads(predicted[f"{which}_shapes"].tobytes())))
    from safetensors.numpy import save_file

    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_bytes(predicted[f"{which}_config"].tobytes())
    return folder
