"""How a track's values were made of its file's, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

# How the bp of a bin became one value: a multiple of the file's values, or sqrt(1 + x) - 1 of one.
_LINEAR = ("sum", "mean", "avg", "max", "median")
_ROOTS = ("sum_sqrt", "mean_sqrt", "avg_sqrt")
# What is done to predictions [..., tracks] before anybody sees them; takes outputs of Keras models too.
Finish = Callable[[Any], Any]
# Above all values, and still a number: infinity would give gradients that are none.
_NO_BOUND = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Transformation:
    """What was done to a bin's values, in this order, as basenji's tables say it; `None`: not known, not done.

    Attributes:
        scale: the factor on every bp; `None` where it is not known.
        sum_stat: how the bp became one value; of `sum_sqrt` and its kind sqrt(1 + x) - 1.
        clip_soft: values x above it became clip_soft - 1 + sqrt(x - clip_soft + 1).
        clip: values were limited to [-clip, clip].
    """

    scale: float | None = None
    sum_stat: str | None = None
    clip_soft: float | None = None
    clip: float | None = None

    def find_fault(self) -> str | None:
        """Says why values cannot be given in the file's units, `None` where they can."""
        if self.scale is None:
            return "its scale is not known"
        if self.scale <= 0:
            return f"its scale is {self.scale:g}"
        if self.sum_stat not in (None, *_LINEAR, *_ROOTS):
            return f"its sum_stat is {self.sum_stat}, of which nothing is known here"
        return None


class FileUnits:
    """Undoes transformations: soft clip, root and scale, the last one first.

    What stands there then is the track's `sum_stat` (sum, mean, ...) of its file's values over a bin. A hard
    clip cannot be undone: the model has never seen more than `clip`, and so predicts no more.

    Args:
        transformations: of each track, without fault (`Transformation.find_fault`).
    """

    def __init__(self, transformations: Sequence[Transformation]) -> None:
        def row(values: Sequence[float]) -> np.ndarray:
            return np.array(values, dtype=np.float32)

        self._bound = row([_NO_BOUND if one.clip_soft is None else one.clip_soft for one in transformations])
        self._rooted = row([one.sum_stat in _ROOTS for one in transformations])
        self._factor = 1 / row([1.0 if one.scale is None else one.scale for one in transformations])

    def __call__(self, values: Any) -> Any:
        """Turns values [..., tracks] into the file's units: arrays, tensors, and outputs of Keras models."""
        values = ops.cast(values, "float32")
        # bound - 1 + (x - bound + 1)^2 is x + excess * (excess + 1); (x + 1)^2 - 1 is x + x * (x + 1).
        excess = ops.maximum(ops.subtract(values, self._bound), 0.0)
        values = values + excess * (excess + 1.0)
        values = values + ops.multiply(values * (values + 1.0), self._rooted)
        return ops.multiply(values, self._factor)
