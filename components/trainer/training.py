"""What the Trainer is told, and where it puts things; without TensorFlow."""

import dataclasses
from pathlib import Path

# Where the trainable twin lies in a SavedModel: its place for files that go with it, which TFX pushes along.
TRAINABLE_MODEL = Path("assets.extra") / "model.keras"


# See `components.trainer.strategy.make_strategy`.
STRATEGIES = ("auto", "tpu", "mirrored", "one")


@dataclasses.dataclass(frozen=True)
class Training:
    """How to train. The defaults are the paper's, but for its batch of 64 on 64 TPU cores.

    Attributes:
        steps: optimizer updates.
        batch_size: examples of an update, over all replicas.
        learning_rate: Adam's, after the warm-up.
        warm_up_steps: updates of the linear warm-up.
        decay: whether a half cosine takes the rate to zero by the last step.
        clip_norm: global norm of the gradient at which it is clipped.
        max_shift: augmentation: largest shift, in bp.
        reverse_complement: augmentation: whether half of the examples show the other strand.
        shuffle_buffer: examples held for shuffling.
        epochs: the steps are divided into at most so many equal parts; each ends with a validation and a
            checkpoint.
        strategy: one of `STRATEGIES`.
        jit_compile: whether XLA compiles the step, where one device trains.
        seed: of weights, order and augmentation, from 0 to 2**32 - 1.
    """

    steps: int = 150_000
    batch_size: int = 1
    learning_rate: float = 5e-4
    warm_up_steps: int = 5_000
    decay: bool = False
    clip_norm: float = 0.2
    max_shift: int = 3
    reverse_complement: bool = True
    shuffle_buffer: int = 1024
    epochs: int = 10
    strategy: str = "auto"
    jit_compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot train."""
        for field in ("steps", "batch_size", "epochs", "shuffle_buffer"):
            if getattr(self, field) < 1:
                raise ValueError(f"training.{field} must be at least 1, got {getattr(self, field)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"training.seed must be from 0 to 2**32 - 1, got {self.seed}")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"training.strategy must be one of {STRATEGIES}, got {self.strategy!r}")
        if not 0 <= self.warm_up_steps < self.steps and self.decay:
            raise ValueError(
                f"training.warm_up_steps={self.warm_up_steps} leaves none of {self.steps} steps to decay over"
            )
