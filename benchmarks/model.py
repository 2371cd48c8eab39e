"""Times the model's forward pass and training step against its peers', interleaved in one run.

    python benchmarks/model.py [--turns 10] [--json results.json] [CONTENDER ...]

prints medians, ratios, peak memory and, by the operations that each contender really makes, the shares of
two rates of a float32 matrix multiply: that of XLA, which multiplies in compiled steps, and that of the
library which multiplies fastest here. It needs an environment with the peers in it (benchmarks/README.md).
Each contender lives in a process of its own; they take turns, so that a machine whose speed drifts is the
same for all.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from contender import MATMUL_SIZE, SIZES
from operations import operations

HERE = Path(__file__).resolve().parent
# Name, then the backend, then whether XLA (or torch.compile) compiles the step. A fourth field, which none of
# these has, is the width in bits of the vectors that XLA prefers on CPUs; by itself it takes 256.
CONTENDERS = (
    "ours:tensorflow:1",
    "ours:jax:1",
    "ours:torch:0",
    "ours-direct:tensorflow:1",
    "crested:tensorflow:1",
    "crested:torch:0",
    "enformer-pytorch",
)
STEPS = ("forward", "train")
XLA = "XLA"


def operations_of(model: str) -> dict[str, float]:
    """Returns the operations that a step of a contender really makes, by its name's first part."""
    return operations(SIZES, winograd=model == "ours", peer=not model.startswith("ours"))


class Contender:
    """A process of `contender.py` that answers one word at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        model, *rest = name.split(":")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        # OpenBLAS by the processor's own kernels, whatever the environment asks for.
        environment.pop("OPENBLAS_CORETYPE", None)
        environment["PYTHONPATH"] = f"{HERE.parent}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        environment.update(zip(("KERAS_BACKEND", "JIT_COMPILE"), rest, strict=False))
        if len(rest) > 2:
            flags = environment.get("XLA_FLAGS", "")
            environment["XLA_FLAGS"] = f"{flags} --xla_cpu_prefer_vector_width={rest[2]}"
        self._log = (HERE / f"{name.replace(':', '-')}.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "contender.py"), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        # Names of the libraries whose multiply it can time.
        self.libraries: list[str] = self._answer()

    def ask(self, word: str) -> Any:
        """Send a word and wait for the answer."""
        print(word, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = next(iter(self._process.stdout or ()), "")
        if not line:
            raise RuntimeError(f"{self.name} stopped: see {self._log.name}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._log.close()


def peak_memory(name: str) -> dict[str, float]:
    """MiB of a process that does nothing but build the model and train it for four steps.

    Returns:
        ``process``: the peak of its whole life, compilation included; ``step``: the peak of three steps after
        the compiler's memory was handed back; ``built``: before the first step.
    """
    contender = Contender(name)
    built = contender.ask("memory")["resident"]
    contender.ask("train")
    process = contender.ask("memory")["peak"]
    contender.ask("trim")
    for _ in range(3):
        contender.ask("train")
    step = contender.ask("memory")["peak"]
    contender.close()
    return {"built": built, "process": max(process, step), "step": step}


def times(
    names: list[str], turns: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, list[float]]]]:
    """Seconds of each step, and of the multiply by each library, of each contender, two for each turn."""
    contenders = {name: Contender(name) for name in names}
    seconds: dict[str, dict[str, list[float]]] = {name: {step: [] for step in STEPS} for name in names}
    multiplies: dict[str, dict[str, list[float]]] = {
        name: {library: [] for library in contender.libraries} for name, contender in contenders.items()
    }
    for name, contender in contenders.items():
        print(f"compiling {name}", file=sys.stderr, flush=True)
        for step in STEPS:
            contender.ask(step)
        contender.ask(
            "trim"
        )  # what a compiler leaves, gigabytes with XLA: all contenders are in memory at once
    order = random.Random(0)
    for turn in range(turns):
        print(f"turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
        for step in STEPS:
            for name in order.sample(names, len(names)):
                contenders[name].ask(step)  # not counted: its memory is warm and the others' threads sleep
                seconds[name][step] += [contenders[name].ask(step) for _ in range(2)]
        for name in order.sample(names, len(names)):
            for library, values in multiplies[name].items():
                contenders[name].ask(library)
                values += [contenders[name].ask(library) for _ in range(2)]
    for contender in contenders.values():
        contender.close()
    return seconds, multiplies


def rates(multiplies: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Operations a second of each library's multiply, in the process where it is fastest."""
    found: dict[str, float] = {}
    for by_library in multiplies.values():
        for library, values in by_library.items():
            rate = 2.0 * MATMUL_SIZE**3 / statistics.median(values)
            found[library] = max(rate, found.get(library, 0.0))
    return found


def report(
    seconds: dict[str, dict[str, list[float]]],
    multiplies: dict[str, dict[str, list[float]]],
    memory: dict[str, dict[str, float]],
) -> str:
    """Tables in Markdown."""
    median = {
        name: {step: statistics.median(values) for step, values in by_step.items()}
        for name, by_step in seconds.items()
    }
    rate = rates(multiplies)
    fastest = max(rate, key=lambda library: rate[library])
    lines = [
        f"Multiply ({MATMUL_SIZE} x {MATMUL_SIZE}, float32), GFLOP/s: "
        + ", ".join(f"{library} {value / 1e9:.0f}" for library, value in rate.items())
        + f". Shares are of {XLA}'s and of the fastest, which is {fastest}'s.",
        "",
        "| contender | forward, ms | GFLOP | shares | training step, ms | GFLOP | shares "
        "| peak MiB: process | step |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, by_step in median.items():
        made = operations_of(name.split(":")[0])
        cells = [name]
        for step in STEPS:
            reached = made[step] / by_step[step]
            shares = [f"{reached / rate[library]:.0%}" for library in (XLA, fastest) if library in rate]
            cells += [f"{by_step[step] * 1e3:.0f}", f"{made[step] / 1e9:.1f}", ", ".join(shares)]
        peak = memory.get(name)
        cells += [f"{peak['process']:.0f}", f"{peak['step']:.0f}"] if peak else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    peers = [name for name in median if not name.startswith("ours")]
    for step in STEPS:
        if peers:
            best = min(peers, key=lambda name: median[name][step])
            lines += ["", f"{step}: times the faster peer ({best}):"]
            lines += [
                f"- {name}: {median[best][step] / median[name][step]:.2f}"
                for name in median
                if name.startswith("ours")
            ]
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "contenders", nargs="*", default=CONTENDERS, metavar="CONTENDER", help=", ".join(CONTENDERS)
    )
    parser.add_argument("--turns", type=int, default=10, help="turns of each contender; two counted runs each")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, half of the time")
    parser.add_argument("--json", type=Path, help="write every figure here")
    arguments = parser.parse_args()
    names = list(arguments.contenders)
    memory = {}
    for name in () if arguments.no_memory else names:
        print(f"memory of {name}", file=sys.stderr, flush=True)
        memory[name] = peak_memory(name)
    seconds, multiplies = times(names, arguments.turns)
    if arguments.json:
        figures = {"seconds": seconds, "multiplies": multiplies, "memory": memory}
        arguments.json.write_text(json.dumps(figures, indent=1))
    print(report(seconds, multiplies, memory))


if __name__ == "__main__":
    main()
