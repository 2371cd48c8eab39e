"""What the Trainer is told, and where it puts things; without TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

# Where the trainable twin lies in a SavedModel: its place for files that go with it, which TFX pushes along.
TRAINABLE_MODEL = Path("assets.extra") / "model.keras"
# Beside it: what a user needs to know (`serving.ModelCard`).
MODEL_CARD = TRAINABLE_MODEL.with_name("model.json")

# See `components.trainer.strategy.make_strategy`.
STRATEGIES = ("auto", "tpu", "mirrored", "one")
KEEP = ("last", "best")
_LEAST = {"steps": 1, "batch_size": 1, "epochs": 1, "patience": 0, "steps_per_execution": 1}


@dataclasses.dataclass(frozen=True)
class Averaging:
    """What the served model's endpoint `serving_averaged` averages over: every shift, on each strand.

    Attributes:
        shifts: bp by which the window moves along the forward strand.
        strands: whether the other strand is asked about too.
    """

    shifts: Sequence[int] = (0,)
    strands: bool = True


@dataclasses.dataclass(frozen=True)
class Training:
    """How to train. The defaults are the paper's, but for its batch of 64 on 64 TPU cores.

    Attributes:
        steps: of the training; in each, one optimizer update for every organism.
        batch_size: examples of an update, over all replicas.
        learning_rate: Adam's, after the warm-up.
        rates: factors of the learning rate by the beginning of layers' names, such as `{"tower": 0.1}`.
        warm_up_steps: steps of the linear warm-up.
        decay: whether a half cosine takes the rate to zero by the last step.
        clip_norm: global norm of the gradient at which it is clipped.
        max_shift: augmentation: largest shift, in bp.
        reverse_complement: augmentation: whether half of the examples show the other strand.
        epochs: the steps are divided into at most so many equal parts (`steps_per_part`); each ends with a
            validation and a checkpoint.
        patience: parts without a better validation after which training stops; 0 for never.
        keep: whose weights are exported: those of the `last` part or of the `best` in validation.
        steps_per_execution: steps between two looks at what happens outside (SIGTERM, a loss that is not
            finite).
        strategy: one of `STRATEGIES`.
        jit_compile: whether XLA compiles the step, where one device trains.
        seed: of weights, order and augmentation, from 0 to 2**32 - 1.
    """

    steps: int = 150_000
    batch_size: int = 1
    learning_rate: float = 5e-4
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    warm_up_steps: int = 5_000
    decay: bool = False
    clip_norm: float = 0.2
    max_shift: int = 3
    reverse_complement: bool = True
    epochs: int = 10
    patience: int = 0
    keep: str = "last"
    steps_per_execution: int = 1
    strategy: str = "auto"
    jit_compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot train."""
        for field, least in _LEAST.items():
            if getattr(self, field) < least:
                raise ValueError(f"training.{field} must be at least {least}, got {getattr(self, field)}")
        if self.keep not in KEEP:
            raise ValueError(f"training.keep must be one of {KEEP}, got {self.keep!r}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"training.seed must be from 0 to 2**32 - 1, got {self.seed}")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"training.strategy must be one of {STRATEGIES}, got {self.strategy!r}")
        if not 0 <= self.warm_up_steps < self.steps and self.decay:
            raise ValueError(
                f"training.warm_up_steps={self.warm_up_steps} leaves none of {self.steps} steps to decay over"
            )
        if self.steps_per_part % self.steps_per_execution:
            raise ValueError(
                f"training.steps_per_execution={self.steps_per_execution} must divide the "
                f"{self.steps_per_part} steps of a part (training.steps over training.epochs)"
            )

    @property
    def steps_per_part(self) -> int:
        """Steps from one validation to the next."""
        return self.steps // max(parts for parts in range(1, self.epochs + 1) if self.steps % parts == 0)
