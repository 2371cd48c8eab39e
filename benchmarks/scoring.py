"""Scoring by reuse of stem and tower beside full passes, in turns: alleles a second, their ratio, the error.

    .venv/bin/python benchmarks/scoring.py [--size demo] [--alleles 192] [--plain 24] [--turns 3]

Fresh weights on random sequence: neither matters for time. `ism`: all substitutions of neighbouring bases in
one window, whose reference full passes predict once too. `dense`: SNVs 300 bp apart; with reuse they share
the windows of a grid of 4,096 bp, full passes take two windows each. `along`: SNVs 2,000 bp apart, each with a
window of its own, of a grid of 128 bp, so that reuse computes the tower once along the contig. `isolated`:
SNVs whose windows do not touch. One strand; two take twice as long either way. Full passes take a time in
proportion to their number, so fewer alleles measure it (`--plain`; of ism one less, for the reference). Beside
the ratios of the clock's times stand those of the process's CPU times, on which other work tells less. Error:
the largest difference of any bin and track of REF and ALT from full passes over the same windows, as a share
of the largest prediction; effect: the largest difference of ALT from REF, as well.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

from enformer_keras import Enformer
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.model.enformer import BIN_SIZE
from enformer_keras.prediction import Frame, PredictedTrack, Predictor

# Preset, window in bp, bins, tracks: the demo's model, one between, the published one.
SIZES = {
    "demo": ("laptop", 16_384, 112, 4),
    "middle": ("paper", 65_536, 448, 5313),
    "full": ("paper", 196_608, 896, 5313),
}
# Of each kind: bp between SNVs, and of the grid whose cells share a window (0: none).
KINDS = {"ism": (0, 0), "dense": (300, 4096), "along": (2000, 128), "isolated": (0, 0)}
NEXT = {"A": "C", "C": "G", "G": "T", "T": "A"}


def make_variants(bases: str, kind: str, count: int, window: int) -> list[Variant]:
    """SNVs of the kind, as many as that."""
    start = window
    if kind == "ism":
        changes = (
            Variant("c", at + 1, bases[at], letter)
            for at in itertools.count(start)
            for letter in "ACGT"
            if letter != bases[at]
        )
        return list(itertools.islice(changes, count))
    apart = KINDS[kind][0] or window + 1
    places = range(start, start + count * apart, apart)
    return [Variant("c", at + 1, bases[at], NEXT[bases[at]]) for at in places]


def score(
    predictor: Predictor, genome: Genome, variants: list[Variant], kind: str, cell: int, *, keep: bool
) -> Iterator[np.ndarray]:
    """Yields REF and ALT of each allele if they are to be kept; with a cell in bp, near ones share windows."""
    region = Interval("c", variants[0].start, variants[-1].start + 1)
    for part in predictor.score_in_parts(
        variants,
        genome,
        strands="forward",
        statistics=["SAD"],
        centers=[region] * len(variants) if kind == "ism" else None,
        share_windows=cell or None,
        keep_predictions=keep,
    ):
        for found in part.predictions:
            if found is not None:
                yield np.stack([found.reference, found.alternate])


def main() -> None:
    """Measures, and prints one JSON object a kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--alleles", type=int, default=192)
    parser.add_argument("--plain", type=int, default=24, help="alleles that full passes take")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--winograd", action="store_true", help="in the tower's convolutions")
    arguments = parser.parse_args()

    preset, window, bins, tracks = SIZES[arguments.size]
    keras.utils.set_random_seed(0)
    model = Enformer.from_preset(
        preset, heads={"h": tracks}, sequence_length=window, target_length=bins, winograd=arguments.winograd
    )
    described = [PredictedTrack(at, str(at), "", at) for at in range(tracks)]
    frame = Frame(window, bins, BIN_SIZE)
    ways = {
        name: Predictor(model.head_model("h"), frame, described, batch_size=arguments.batch_size, reuse=reuse)
        for name, reuse in (("full passes", False), ("reuse", True))
    }
    length = (arguments.alleles + 2) * (window + 1)
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), length))
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "c.fa"
        fasta.write_text(f">c\n{bases}\n")
        genome = Genome(fasta)
        for kind in arguments.kinds:
            variants = make_variants(bases, kind, arguments.alleles, window)
            # So many that full passes have no batch to fill up.
            some, cell = variants[: arguments.plain - (kind == "ism")], KINDS[kind][1]
            largest, error, effect = 0.0, 0.0, 0.0
            pairs = (score(way, genome, some[:8], kind, cell, keep=True) for way in ways.values())
            for a, b in zip(*pairs, strict=True):
                largest, error = max(largest, float(a.max())), max(error, float(np.abs(a - b).max()))
                effect = max(effect, float(np.abs(a[1] - a[0]).max()))
            each: dict[str, list[float]] = {name: [] for name in ways}
            of_cpu: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(arguments.turns + 1):  # the first compiles
                for name, way in ways.items():
                    asked = some if name == "full passes" else variants
                    way.forget()
                    begun, cpu_begun = time.perf_counter(), time.process_time()
                    for _ in score(way, genome, asked, kind, cell if name == "reuse" else 0, keep=False):
                        pass
                    if turn:
                        each[name].append((time.perf_counter() - begun) / len(asked))
                        of_cpu[name].append((time.process_time() - cpu_begun) / len(asked))
            # Of ism the one reference is among fewer alleles where full passes have fewer.
            passes = (1 + 1 / len(some)) / (1 + 1 / len(variants)) if kind == "ism" else 1.0
            ratios, cpu_ratios = (
                [a / passes / b for a, b in zip(times["full passes"], times["reuse"], strict=True)]
                for times in (each, of_cpu)
            )
            rates = {name: round(1 / statistics.median(took), 3) for name, took in each.items()}
            told = {
                "size": arguments.size,
                "backend": keras.backend.backend(),
                "kind": kind,
                "alleles": [len(some), len(variants)],
                "alleles a second": rates,
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                "ratios of CPU time": [round(ratio, 2) for ratio in cpu_ratios],
                "error": f"{error / largest:.1e}",
                "effect": f"{effect / largest:.1e}",
            }
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
