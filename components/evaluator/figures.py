"""Reading back what the Evaluator measured."""

from pathlib import Path

import numpy as np
import tensorflow_model_analysis as tfma

Figures = dict[str, float | np.ndarray]


def load_figures(evaluation: str | Path) -> dict[tuple[str, ...], Figures]:
    """Reads the candidate's figures from an evaluation.

    Args:
        evaluation: folder that the Evaluator wrote.

    Returns:
        By slice (`()` is all examples, `("chr1",)` one chromosome) the figures by key: a number, or a float64
        array [tracks] for `<metric>_per_track`.
    """
    figures = {}
    for found in tfma.load_metrics(str(evaluation)):
        keys = tuple(key.bytes_value.decode() for key in found.slice_key.single_slice_keys)
        figures[keys] = {
            item.key.name: np.array(item.value.array_value.float64_values)
            if item.value.HasField("array_value")
            else item.value.double_value.value
            for item in found.metric_keys_and_values
            if item.key.model_name != tfma.BASELINE_KEY and not item.key.is_diff
        }
    return figures
