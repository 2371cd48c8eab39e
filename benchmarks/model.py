"""Times the model's forward pass and training step against its peers', interleaved in one run.

    python benchmarks/model.py [--turns 10] [--json results.json] [CONTENDER ...]

prints medians, ratios, the share of the machine's own float32 matrix-multiply rate and peak memory. It needs an
environment with the peers in it (benchmarks/README.md). Each contender lives in a process of its own; they take
turns, so that a machine whose speed drifts is the same for all.
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
# Name, then the backend, then whether XLA (or torch.compile) compiles the step.
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


class Contender:
    """A process of `contender.py` that answers one word at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        model, *rest = name.split(":")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = f"{HERE.parent}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        environment.update(zip(("KERAS_BACKEND", "JIT_COMPILE"), rest, strict=False))
        self._log = (HERE / f"{name.replace(':', '-')}.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "contender.py"), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self._answer()

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


def times(names: list[str], turns: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each step of each contender, two for each turn."""
    contenders = {name: Contender(name) for name in names}
    seconds: dict[str, dict[str, list[float]]] = {
        name: {step: [] for step in (*STEPS, "matmul")} for name in names
    }
    for name, contender in contenders.items():
        print(f"compiling {name}", file=sys.stderr, flush=True)
        for step in STEPS:
            contender.ask(step)
    order = random.Random(0)
    for turn in range(turns):
        print(f"turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
        for step in (*STEPS, "matmul"):
            for name in order.sample(names, len(names)):
                contenders[name].ask(step)  # not counted: its memory is warm and the others' threads sleep
                seconds[name][step] += [contenders[name].ask(step) for _ in range(2)]
    for contender in contenders.values():
        contender.close()
    return seconds


def report(seconds: dict[str, dict[str, list[float]]], memory: dict[str, dict[str, float]]) -> str:
    """Tables in Markdown."""
    median = {
        name: {step: statistics.median(values) for step, values in by_step.items()}
        for name, by_step in seconds.items()
    }
    # The machine's rate is that of the library which multiplies fastest here.
    rate = 2.0 * MATMUL_SIZE**3 / min(by_step["matmul"] for by_step in median.values())
    count, fewer = operations(SIZES), operations(SIZES, winograd=True)
    lines = [
        f"Forward {count['forward'] / 1e9:.1f} GFLOP, training step {count['train'] / 1e9:.1f} GFLOP (`ours`: "
        f"{fewer['forward'] / 1e9:.1f} and {fewer['train'] / 1e9:.1f}); multiply "
        f"({MATMUL_SIZE} x {MATMUL_SIZE}, float32) {rate / 1e9:.0f} GFLOP/s.",
        "",
        "| contender | forward, ms | share | training step, ms | share | peak MiB: process | step |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, by_step in median.items():
        share = {step: count[step] / by_step[step] / rate for step in STEPS}
        peak = memory.get(name)
        lines.append(
            f"| {name} | {by_step['forward'] * 1e3:.0f} | {share['forward']:.0%} "
            f"| {by_step['train'] * 1e3:.0f} | {share['train']:.0%} "
            + (f"| {peak['process']:.0f} | {peak['step']:.0f} |" if peak else "| | |")
        )
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
    parser.add_argument("--json", type=Path, help="write every figure here")
    arguments = parser.parse_args()
    names = list(arguments.contenders)
    memory = {}
    for name in names:
        print(f"memory of {name}", file=sys.stderr, flush=True)
        memory[name] = peak_memory(name)
    seconds = times(names, arguments.turns)
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "memory": memory}, indent=1))
    print(report(seconds, memory))


if __name__ == "__main__":
    main()
