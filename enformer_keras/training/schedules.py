"""Learning-rate schedules."""

import math
from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_integer, is_number


@keras.saving.register_keras_serializable(package="enformer_keras")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from zero, then constant or a half cosine down to zero.

    Args:
        peak: Learning rate after the warm-up.
        warm_up_steps: Steps of the warm-up.
        decay_steps: Steps from the peak down to zero along a half cosine; ``None`` stays at the peak.

    Raises:
        ValueError: ``peak`` is no number or negative, a number of steps is no integer or negative, or
            ``decay_steps`` is zero.

    Source: Enformer, Methods, "Model training and evaluation" (5,000 steps to 5e-4, then constant).
    """

    def __init__(self, peak: float, warm_up_steps: int, decay_steps: int | None = None) -> None:
        if not is_number(peak) or peak < 0:
            raise ValueError(f"peak must be a number of at least 0, got {peak!r}")
        check_integer("warm_up_steps", warm_up_steps, at_least=0)
        check_integer("decay_steps", decay_steps, optional=True)  # None: a constant rate
        self.peak = peak
        self.warm_up_steps = warm_up_steps
        self.decay_steps = decay_steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        # Step 0 already learns: the rate of step n is that of the line at n + 1.
        warm_up = ops.minimum((step + 1.0) / max(self.warm_up_steps, 1), 1.0)
        if self.decay_steps is None:
            return self.peak * warm_up
        progress = ops.clip((step - self.warm_up_steps) / self.decay_steps, 0.0, 1.0)
        return self.peak * warm_up * 0.5 * (1.0 + ops.cos(math.pi * progress))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"peak": self.peak, "warm_up_steps": self.warm_up_steps, "decay_steps": self.decay_steps}
