"""Scoring SNVs beside enformer-pytorch, in turns within one run: SNVs a second, and their ratio.

    .venv/bin/python benchmarks/scoring_peer.py --peer-python .venv-benchmarks/bin/python [--alleles 16]

Both have 384 channels, 11 layers, 5,313 tracks and 32,768 bp, fresh weights, one strand, and the same SNVs of
random sequence. The peer predicts the windows of REF and ALT about each, in batches: it has nothing else. Here
they are scored as `enformer score` does, on KERAS_BACKEND (jax), `dense` ones, which lie 300 bp apart, with
`--share-windows 4096`; `isolated` ones lie more than a window apart. Each has a process of its own. Every turn
has other SNVs, so nothing is kept from the last one.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS, LAYERS, HEADS, TRACKS = 384, 11, 8, 5313
LENGTH, BIN_SIZE = 32_768, 128
APART = {"dense": 300, "isolated": LENGTH + 1}
CELL = 4096
LETTERS = "ACGT"

# From the SNVs' 0-based positions and whether they are dense to their scores, [SNVs, tracks].
Score = Callable[[list[int], bool], np.ndarray]


def next_letter(base: str) -> str:
    """Returns the alternative allele."""
    return LETTERS[(LETTERS.index(base) + 1) % 4]


def ours(bases: str, fasta: Path, batch_size: int, winograd: bool) -> Score:
    """This project, on the backend of KERAS_BACKEND."""
    from enformer_keras import Enformer
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.variants import Variant
    from enformer_keras.prediction import Frame, PredictedTrack, Predictor

    model = Enformer(
        channels=CHANNELS,
        num_transformer_layers=LAYERS,
        num_heads=HEADS,
        heads={"human": TRACKS},
        sequence_length=LENGTH,
        target_length=None,
        winograd=winograd,
    )
    tracks = [PredictedTrack(at, str(at), "", at) for at in range(TRACKS)]
    frame = Frame(LENGTH, LENGTH // BIN_SIZE, BIN_SIZE)
    predictor = Predictor(model.head_model("human"), frame, tracks, batch_size=batch_size)
    genome = Genome(fasta)

    def score(places: list[int], dense: bool) -> np.ndarray:
        variants = [Variant("c", at + 1, bases[at], next_letter(bases[at])) for at in places]
        scores = predictor.score_variants(
            variants, genome, strands="forward", share_windows=CELL if dense else None
        )
        return scores.statistics["SAD"]

    return score


def peer(bases: str, batch_size: int) -> Score:
    """enformer-pytorch: a window for each allele."""
    import torch
    from enformer_pytorch import Enformer

    model = Enformer.from_hparams(
        dim=CHANNELS, depth=LAYERS, heads=HEADS, output_heads={"human": TRACKS}, target_length=-1
    ).eval()
    letters = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
    one_hot = (np.frombuffer(bases.encode(), dtype=np.uint8)[:, np.newaxis] == letters).astype(np.float32)

    def windows(at: int) -> list[np.ndarray]:
        start = at - (LENGTH // 2 - 1)
        reference = one_hot[start : start + LENGTH]
        alternate = reference.copy()
        alternate[at - start] = np.roll(alternate[at - start], 1)
        return [reference, alternate]

    def score(places: list[int], dense: bool) -> np.ndarray:
        asked = [window for at in places for window in windows(at)]
        predicted = []
        with torch.inference_mode():
            for first in range(0, len(asked), batch_size):
                batch = torch.from_numpy(np.stack(asked[first : first + batch_size]))
                predicted.extend(model(batch, head="human").numpy())
        pairs = zip(predicted[::2], predicted[1::2], strict=True)
        return np.stack([(alternate - reference).sum(axis=0) for reference, alternate in pairs])

    return score


def answer(contender: str, fasta: Path, batch_size: int, winograd: bool) -> None:
    """Answers each question of the standard input, a line of JSON, with the seconds that it took."""
    # What libraries print goes to stderr; the answers have stdout to themselves.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    bases = fasta.read_text().split("\n", 1)[1].strip()
    score = ours(bases, fasta, batch_size, winograd) if contender == "ours" else peer(bases, batch_size)
    print(json.dumps("built"), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        begun = time.perf_counter()
        scores = score(question["places"], question["dense"])
        seconds = time.perf_counter() - begun
        if scores.shape != (len(question["places"]), TRACKS) or not np.isfinite(scores).all():
            raise SystemExit(f"{contender}: {scores.shape} scores, some not finite")
        print(json.dumps(seconds), file=answers, flush=True)


class Contender:
    """A process that answers questions."""

    def __init__(self, name: str, python: str, fasta: Path, batch_size: int, winograd: bool) -> None:
        here = Path(__file__).resolve()
        environment = {"KERAS_BACKEND": "jax", **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = f"{here.parents[1]}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        command = [python, str(here), "--answer-as", name, "--fasta", str(fasta)]
        command += ["--batch-size", str(batch_size), *(["--winograd"] if winograd else [])]
        self._name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._read()

    def ask(self, places: list[int], dense: bool) -> float:
        """Returns the seconds that scoring SNVs takes."""
        print(json.dumps({"places": places, "dense": dense}), file=self._process.stdin, flush=True)
        return float(self._read())

    def _read(self) -> Any:
        line = next(iter(self._process.stdout or ()), "")
        if not line:
            raise SystemExit(f"{self._name} stopped")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def main() -> None:
    """Measures, and prints one JSON object for each kind of SNVs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", help="of an environment with torch and enformer-pytorch")
    parser.add_argument("--alleles", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=APART, default=list(APART))
    parser.add_argument("--winograd", action="store_true", help="in this project's tower")
    parser.add_argument("--answer-as", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--fasta", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size, winograd = arguments.batch_size, arguments.winograd
    if arguments.answer_as:
        answer(arguments.answer_as, arguments.fasta, size, winograd)
        return
    if not arguments.peer_python:
        parser.error("give --peer-python")

    stretch = (arguments.alleles + 1) * (LENGTH + 1)
    length = LENGTH + stretch * (arguments.turns + 1)
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "c.fa"
        bases = "".join(np.random.default_rng(0).choice(list(LETTERS), length))
        fasta.write_text(f">c\n{bases}\n")
        contenders = {
            "ours": Contender("ours", sys.executable, fasta, size, winograd),
            "peer": Contender("peer", arguments.peer_python, fasta, size, False),
        }
        order = random.Random(0)
        for kind in arguments.kinds:
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for turn in range(arguments.turns + 1):  # the first one compiles, and does not count
                start = LENGTH + turn * stretch
                places = [start + number * APART[kind] for number in range(arguments.alleles)]
                for name in order.sample(list(contenders), len(contenders)):
                    took = contenders[name].ask(places, kind == "dense")
                    if turn:
                        seconds[name].append(took)
            ratios = [a / b for a, b in zip(seconds["peer"], seconds["ours"], strict=True)]
            print(
                json.dumps(
                    {
                        "kind": kind,
                        "SNVs a second": {
                            name: round(arguments.alleles / statistics.median(took), 3)
                            for name, took in seconds.items()
                        },
                        "times the peer": round(statistics.median(ratios), 2),
                        "of each turn": [round(ratio, 2) for ratio in ratios],
                    }
                ),
                flush=True,
            )
        for contender in contenders.values():
            contender.close()


if __name__ == "__main__":
    main()
