"""One contender of `benchmarks/model.py`, in a process of its own.

Reads one word per line from standard input (``forward``, ``train`` or a library that multiplies matrices),
does it once and answers with the seconds that it took. ``memory`` answers with the process's resident set
size and its peak so far, in MiB; ``trim`` hands freed memory back and counts the peak from there. The first
answer, before any word is read, names the libraries and says that the model is built.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from operations import BIN_SIZE, Sizes

if TYPE_CHECKING:
    import keras

CHANNELS = 384
LAYERS = 11
HEADS = 8
LENGTH = 32_768
TRACKS = {"human": 5313, "mouse": 1643}
SIZES = Sizes(CHANNELS, LAYERS, HEADS, LENGTH, None, TRACKS)
MATMUL_SIZE = 2048

Step = Callable[[], object]


def batch() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Random windows and their targets: one-hot ``[B, LENGTH, 4]`` and ``{head: [B, bins, tracks]}``."""
    rng = np.random.default_rng(0)
    size = int(os.environ.get("BATCH_SIZE", "1"))
    sequence = np.eye(4, dtype="float32")[rng.integers(0, 4, size=(size, LENGTH))]
    bins = LENGTH // BIN_SIZE
    return sequence, {
        head: rng.poisson(1.0, size=(size, bins, tracks)).astype("float32") for head, tracks in TRACKS.items()
    }


def ours(winograd: bool) -> dict[str, Step]:
    """This project's model on the backend of KERAS_BACKEND, with convolutions for CPUs or direct ones."""
    from enformer_keras import Enformer

    model = Enformer(
        **SIZES.arguments(), winograd=winograd, rematerialized=os.environ.get("REMATERIALIZED", "").split()
    )
    return _keras_steps(model, *batch())


def crested() -> dict[str, Step]:
    """CREsted's port on the backend of KERAS_BACKEND."""
    from crested.tl.zoo import enformer

    model = enformer(
        seq_len=LENGTH,
        num_classes=list(TRACKS.values()),
        num_transformer_blocks=LAYERS,
        num_transformer_heads=HEADS,
        target_length=LENGTH // BIN_SIZE,
        start_filters=CHANNELS // 2,
        filters=CHANNELS,
        pointwise_filters=2 * CHANNELS,
    )
    sequence, targets = batch()
    return _keras_steps(model, sequence, list(targets.values()))


def _keras_steps(model: "keras.Model", sequence: np.ndarray, targets: object) -> dict[str, Step]:
    """Keras's own steps, as `fit` and `predict` run them: what a user gets without asking for more."""
    import keras

    options = {}
    if "JIT_COMPILE" in os.environ:
        options["jit_compile"] = os.environ["JIT_COMPILE"] == "1"
    model.compile(keras.optimizers.Adam(1e-4, global_clipnorm=0.2), loss=keras.losses.Poisson(), **options)
    return {
        "forward": lambda: model.predict_on_batch(sequence),
        "train": lambda: model.train_on_batch(sequence, targets),
    }


def multiplies(backend: str) -> dict[str, Step]:
    """One product of two square matrices by NumPy and by each library of a backend.

    XLA and TensorFlow without it are two: they do not multiply alike.
    """
    values = _matrix()
    by_library: dict[str, Step] = {"NumPy": lambda: values @ values}
    if backend == "tensorflow":
        import tensorflow as tf

        matrix = tf.constant(values)
        compiled = tf.function(lambda: tf.matmul(matrix, matrix), jit_compile=True)
        plain = tf.function(lambda: tf.matmul(matrix, matrix))
        by_library["XLA"] = lambda: compiled().numpy()
        by_library["TensorFlow without XLA"] = lambda: plain().numpy()
    elif backend == "jax":
        import jax

        array = jax.numpy.asarray(values)
        multiply = jax.jit(lambda x: x @ x)
        by_library["XLA"] = lambda: multiply(array).block_until_ready()
    else:
        import torch

        tensor = torch.from_numpy(values)
        by_library["torch"] = lambda: tensor @ tensor
    return by_library


def enformer_pytorch() -> dict[str, Step]:
    """enformer-pytorch, with the same loss, optimizer and clipping."""
    import torch
    from enformer_pytorch import Enformer

    model = Enformer.from_hparams(
        dim=CHANNELS,
        depth=LAYERS,
        heads=HEADS,
        output_heads=TRACKS,
        target_length=-1,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    poisson = torch.nn.PoissonNLLLoss(log_input=False)
    sequence, targets = batch()
    x = torch.from_numpy(sequence)
    y = {head: torch.from_numpy(target) for head, target in targets.items()}

    def forward() -> object:
        model.eval()
        with torch.inference_mode():
            return {head: output.numpy() for head, output in model(x).items()}

    def train() -> float:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        outputs = model(x)
        loss = sum(poisson(outputs[head], y[head]) for head in y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.2)
        optimizer.step()
        return loss.item()

    return {"forward": forward, "train": train}


def _matrix() -> np.ndarray:
    return np.random.default_rng(0).random((MATMUL_SIZE, MATMUL_SIZE), dtype="float32")


def _memory() -> dict[str, float]:
    """Resident set and its peak since the last `_trim`, in MiB, as Linux counts them."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        name: int(fields[key].split()[0]) / 2**10 for name, key in (("resident", "VmRSS"), ("peak", "VmHWM"))
    }


def _trim() -> None:
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Answer standard input until it ends."""
    # What libraries print goes to stderr; the answers have stdout to themselves.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    steps = {
        "ours": lambda: ours(winograd=True),
        "ours-direct": lambda: ours(winograd=False),
        "crested": crested,
        "enformer-pytorch": enformer_pytorch,
    }[sys.argv[1]]()
    libraries = multiplies("torch" if sys.argv[1] == "enformer-pytorch" else os.environ["KERAS_BACKEND"])
    steps.update(libraries)
    print(json.dumps(list(libraries)), file=answers, flush=True)
    answer: dict[str, float] | float | None
    for line in sys.stdin:
        word = line.strip()
        if word == "memory":
            answer = _memory()
        elif word == "trim":
            _trim()
            answer = None
        else:
            start = time.perf_counter()
            steps[word]()
            answer = time.perf_counter() - start
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
