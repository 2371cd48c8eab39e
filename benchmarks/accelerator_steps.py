"""What both sides of `benchmarks/accelerator.py` have in common: a compiled step, its time, a batch."""

import dataclasses
import importlib
import importlib.metadata
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from operations import Sizes

ROOT = Path(__file__).resolve().parents[1]
# What is computed in: the model's policy in Keras, and what JAX is told of products of float32. Its own default
# (`None`) rounds them to TF32 on GPUs.
PRECISIONS = {
    "bfloat16": ("mixed_bfloat16", None),
    "tf32": ("float32", "tensorfloat32"),
    "float32": ("float32", "float32"),
}
HEAD = "human"
LEARNING_RATE, CLIP_NORM = 1e-4, 0.2
REMATERIALIZED = ("stem", "tower", "transformer")
# Of the machine's memory that the plan of a step may ask for: something else needs some too.
FULL = 0.97

Answer = dict[str, Any]


class TooLargeError(Exception):
    """A step does not fit into the device's memory."""


@dataclasses.dataclass
class Step:
    """A compiled step.

    Attributes:
        run: makes it so many times, and returns when the device has finished.
        compile_s: seconds of tracing and compilation; `None` where it came from the cache of an earlier run.
        memory: bytes of the device that it takes, arguments and results included; `None`: not known.
        fixed: of these, those that do not depend on the batch: weights and the optimizer's.
    """

    run: Callable[[int], None]
    compile_s: float | None
    memory: int | None
    fixed: int | None = None


def seconds_of(run: Callable[[int], None], at_least: float, turns: int = 1) -> float:
    """Returns the time of one call: the median of turns that take so many seconds each."""
    begun = time.perf_counter()
    run(1)
    once = time.perf_counter() - begun
    count = max(1, min(1000, math.ceil(at_least / max(once, 1e-6))))
    found = []
    for _ in range(turns):
        begun = time.perf_counter()
        run(count)
        found.append((time.perf_counter() - begun) / count)
    return statistics.median(found)


def versions_of(*names: str) -> dict[str, str]:
    """Returns the versions of installed packages."""
    return {name: importlib.metadata.version(name) for name in names}


def random_batch(sizes: Sizes, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Random windows and targets: one-hot float32 ``[size, bp, 4]`` and ``{head: [size, bins, tracks]}``."""
    rng = np.random.default_rng(0)
    sequence = np.eye(4, dtype=np.float32)[rng.integers(0, 4, size=(size, sizes.length))]
    targets = {}
    for head, tracks in sizes.tracks.items():
        one = rng.poisson(1.0, size=(sizes.target, tracks)).astype(np.float32)
        # Drawing takes long, and more examples of the same counts take as much to learn from.
        targets[head] = np.stack([np.roll(one, at, axis=0) for at in range(size)])
    return sequence, targets
