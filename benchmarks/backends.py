"""Ways to compute a model on CPUs: time of a window, error of predictions, rank correlation of scores.

    .venv/bin/python benchmarks/backends.py [--size demo] [--torch-python .venv-benchmarks/bin/python]

Each way has a process of its own with the same weights; they take turns at one batch, so that a machine whose
speed drifts is the same for all. Where other work runs, the time of all cores says more than the clock's. What
they are held against is JAX in float32: the largest difference of any bin and track, as a share of the largest
prediction; and Spearman's correlation over SNVs of SAD, of each track, in the mean and at worst. All by full
passes, on one strand, with fresh weights on random sequence, or with those of --model (on the first contig of
--fasta).
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from enformer_keras import Enformer

# Channels, layers, heads, key size, filters' divisor, window in bp, bins, tracks.
SIZES = {
    "demo": (144, 2, 4, 32, 16, 16_384, 112, 4),
    "small": (384, 11, 8, 64, 128, 32_768, 256, 5313),
    "middle": (768, 11, 8, 64, 128, 65_536, 512, 5313),
}
# Name -> Keras's backend, whether XLA compiles, what the model computes in, whether by Winograd's convolutions.
WAYS = {
    "jax": ("jax", True, "float32", False),
    "jax-winograd": ("jax", True, "float32", True),
    "jax-bfloat16": ("jax", True, "mixed_bfloat16", False),
    "tensorflow-xla": ("tensorflow", True, "float32", False),
    "tensorflow-xla-winograd": ("tensorflow", True, "float32", True),
    "tensorflow-onednn": ("tensorflow", False, "float32", False),
    "tensorflow-onednn-bfloat16": ("tensorflow", False, "mixed_bfloat16", False),
    "torch-onednn": ("torch", False, "float32", False),
    "torch-onednn-bfloat16": ("torch", False, "mixed_bfloat16", False),
}
FIRST = "jax"
LETTERS = "ACGT"


def write_model(path: Path, size: str) -> None:
    """Writes a model with fresh weights, whose biases and statistics are not 0, as after training."""
    import keras

    from enformer_keras import Enformer

    channels, layers, heads, key_size, divisor, window, bins, tracks = SIZES[size]
    keras.utils.set_random_seed(0)
    model = Enformer(
        channels=channels,
        num_transformer_layers=layers,
        num_heads=heads,
        key_size=key_size,
        filters_divisible_by=divisor,
        heads={"h": tracks},
        sequence_length=window,
        target_length=bins,
    )
    for variable in model.variables:
        if variable.path.endswith(("bias", "beta", "moving_mean")):
            variable.assign(keras.random.normal(variable.shape, stddev=0.1))
    model.save(path)


def load_model(path: Path) -> "Enformer":
    """Opens a `.keras` file."""
    import keras

    from enformer_keras import Enformer

    model = keras.saving.load_model(path, compile=False)
    if not isinstance(model, Enformer):
        raise SystemExit(f"{path}: is a {type(model).__name__}, no Enformer")
    return model


class Way:
    """What a process computes.

    Args:
        name: of `WAYS`.
        path: the `.keras` file.
        sequences: bases of windows, each one batch long or longer.
        batch_size: windows at a time.
    """

    def __init__(self, name: str, path: Path, sequences: list[str], batch_size: int) -> None:
        import keras

        from enformer_keras import one_hot_encode

        _, xla, dtype, winograd = WAYS[name]
        model = load_model(path)
        if winograd:
            model = model.with_winograd()
        if dtype != "float32":
            model = model.with_dtype(dtype)
        self._model = model.head_model(next(iter(model.heads)))
        if keras.backend.backend() == "tensorflow":
            self._model.compile(jit_compile=xla)
        self._windows = one_hot_encode(sequences)
        self._batch_size = batch_size

    def seconds(self) -> tuple[float, float]:
        """Returns the time of a window, of the clock and of all cores: of one batch, by its windows."""
        begun, used = time.perf_counter(), time.process_time()
        self._predict(self._windows[: self._batch_size])
        took = time.perf_counter() - begun, time.process_time() - used
        return took[0] / self._batch_size, took[1] / self._batch_size

    def predictions(self) -> np.ndarray:
        """Returns float32 [windows, bins, tracks]."""
        size = self._batch_size
        batches = [self._windows[first : first + size] for first in range(0, len(self._windows), size)]
        return np.concatenate([self._predict(batch) for batch in batches])

    def _predict(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self._model.predict_on_batch(batch), dtype=np.float32)


def make_windows(source: str, length: int, count: int) -> list[str]:
    """Returns pairs of windows, of REF and ALT of an SNV in its middle each, drawn from a sequence."""
    rng = np.random.default_rng(1)
    windows = []
    for start in rng.choice(len(source) - length, count, replace=False):
        reference = source[start : start + length]
        at = length // 2 - 1
        other = LETTERS[(LETTERS.index(reference[at]) + rng.integers(1, 4)) % 4]
        windows += [reference, reference[:at] + other + reference[at + 1 :]]
    return windows


def answer(name: str, path: Path, batch_size: int) -> None:
    """Answers `time` with seconds, `predict` by a file; a word a line of the standard input."""
    # What libraries print goes to stderr; the answers have stdout to themselves.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sequences = json.loads(path.with_suffix(".json").read_text())
    way = Way(name, path, sequences, batch_size)
    way.seconds()  # compiles
    print(json.dumps("built"), file=answers, flush=True)
    for line in sys.stdin:
        found: Any = None
        if line.strip() == "time":
            found = way.seconds()
        else:
            np.save(path.with_name(f"{name}.npy"), way.predictions())
        print(json.dumps(found), file=answers, flush=True)


class Process:
    """One way's process."""

    def __init__(self, name: str, python: str, path: Path, batch_size: int) -> None:
        here = Path(__file__).resolve()
        environment = {**os.environ, "KERAS_BACKEND": WAYS[name][0], "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = f"{here.parents[1]}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        command = [python, str(here), "--answer-as", name, "--model", str(path)]
        self._name = name
        self._process = subprocess.Popen(
            [*command, "--batch-size", str(batch_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._read()

    def ask(self, word: str) -> Any:
        """Sends a word and waits for the answer."""
        print(word, file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> Any:
        line = next(iter(self._process.stdout or ()), "")
        if not line:
            raise SystemExit(f"{self._name} stopped")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def rank_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column of [rows, columns]; NaN where one is constant."""
    ranks = [x.argsort(axis=0).argsort(axis=0).astype(np.float64) for x in (a, b)]
    centred = [x - x.mean(axis=0) for x in ranks]
    found: np.ndarray = (centred[0] * centred[1]).sum(axis=0) / (centred[0] ** 2).sum(axis=0)
    return np.where((np.ptp(a, axis=0) > 0) & (np.ptp(b, axis=0) > 0), found, np.nan)


def describe_processor() -> str:
    """Returns the processor's name, and whether it multiplies bfloat16 in tiles (AMX)."""
    text = Path("/proc/cpuinfo").read_text()
    name = next((line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line), "")
    return f"{name}, {os.cpu_count()} cores, {'with' if 'amx_bf16' in text else 'without'} AMX"


def main() -> None:
    """Measures, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="demo", help="of a model with fresh weights")
    parser.add_argument("--model", type=Path, help="a .keras file instead")
    parser.add_argument("--fasta", type=Path, help="where windows are read from; else they are random")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--torch-python", help="of an environment with torch; without, its ways are left out")
    parser.add_argument("--snvs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--answer-as", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = arguments.batch_size
    if arguments.answer_as:
        answer(arguments.answer_as, arguments.model, size)
        return
    if 2 * arguments.snvs % size:
        parser.error("two windows of each SNV must fill batches")
    os.environ.setdefault("KERAS_BACKEND", "jax")

    ways = [name for name in arguments.ways if WAYS[name][0] != "torch" or arguments.torch_python]
    ways = [FIRST, *(name for name in ways if name != FIRST)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        if arguments.model:
            path.write_bytes(arguments.model.read_bytes())
        else:
            write_model(path, arguments.size)
        window = load_model(path).sequence_length
        if arguments.fasta:
            lines = arguments.fasta.read_text().split(">")[1].splitlines()[1:]
            source = "".join(lines).upper()
        else:
            source = "".join(np.random.default_rng(0).choice(list(LETTERS), 4 * window + 4096))
        sequences = make_windows(source, window, arguments.snvs)
        path.with_suffix(".json").write_text(json.dumps(sequences))
        processes: dict[str, Process] = {}
        for name in ways:
            print(f"compiling {name}", file=sys.stderr, flush=True)
            python = arguments.torch_python if WAYS[name][0] == "torch" else sys.executable
            processes[name] = Process(name, python, path, size)
        clock: dict[str, list[float]] = {name: [] for name in ways}
        cores: dict[str, list[float]] = {name: [] for name in ways}
        order = random.Random(0)
        for _ in range(arguments.turns):
            for name in order.sample(ways, len(ways)):
                processes[name].ask("time")  # not counted: its memory is warm and the others' threads sleep
                took, used = processes[name].ask("time")
                clock[name].append(took)
                cores[name].append(used)
        rows = {}
        for name, process in processes.items():
            process.ask("predict")
            process.close()
            predicted = np.load(path.with_name(f"{name}.npy"))
            scores = (predicted[1::2].astype(np.float64) - predicted[::2]).sum(axis=1)
            rows[name] = predicted, scores
        first, of_first = rows[FIRST]
        print(f"{describe_processor()}; windows of {window} bp, {arguments.snvs} SNVs\n")
        columns = ("ms a window", "of the first's", "CPU ms", "of the first's", "largest error", "ranks, mean")
        print(f"| way | {' | '.join(columns)} | worst |")
        print("|---|---|---|---|---|---|---|---|")
        for name, (predicted, scores) in rows.items():
            error = np.abs(predicted - first).max() / np.abs(first).max()
            ranks = rank_correlations(of_first, scores)
            cells = [name]
            for seconds in (clock, cores):
                ratios = [a / b for a, b in zip(seconds[name], seconds[FIRST], strict=True)]
                cells += [f"{1e3 * statistics.median(seconds[name]):.0f}", f"{statistics.median(ratios):.2f}"]
            cells += [f"{error:.1e}", f"{np.nanmean(ranks):.4f}", f"{np.nanmin(ranks):.4f}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
