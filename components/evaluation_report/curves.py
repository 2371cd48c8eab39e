"""Training curves, read from the Trainer's TensorBoard logs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

# Name of a curve -> phase (`train`, `validation`) -> steps and values, [points, 2].
Curves = dict[str, dict[str, np.ndarray]]


def read_curves(folder: str) -> Curves:
    """Reads every scalar that was logged as `<phase>/<name>`.

    Args:
        folder: TensorBoard's.

    Returns:
        The curves by name, e.g. `loss`; none where nothing was logged.
    """
    events = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.TENSORS: 0})
    events.Reload()
    curves: Curves = {}
    for tag in events.Tags()["tensors"]:
        phase, slash, name = tag.partition("/")
        if slash:
            points = [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]
            curves.setdefault(name, {})[phase] = np.array(points, dtype=np.float64)
    return curves
