"""Scoring by reuse of stem and tower beside full passes, in turns: alleles a second, their ratio, the error.

    .venv/bin/python benchmarks/scoring.py [--size demo] [--alleles 192] [--plain 24] [--turns 3]

Fresh weights, but for those of attention's outputs, on random sequence: neither matters for time. `ism`: all
substitutions of neighbouring bases in one window, whose reference full passes predict once too. `dense`: SNVs
300 bp apart; with reuse they share the windows of a grid of 4,096 bp, full passes take two windows each.
`along`: SNVs 2,000 bp apart, each with a window of its own, of a grid of 128 bp, so that reuse computes the
tower once along the contig. `isolated`: SNVs whose windows do not touch. One strand; two take twice as long
either way. Full passes take a time in proportion to their number, so fewer alleles measure it (`--plain`; of
ism one less, for the reference). Beside the ratios of the clock's times stand those of the process's CPU
times, on which other work tells less. Error: the largest difference of any bin and track of REF and ALT from
full passes over the same windows, as a share of the largest prediction; effect: the largest difference of ALT
from REF, as well.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

from enformer_keras import Enformer
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.model.enformer import BIN_SIZE
from enformer_keras.prediction import Frame, PredictedTrack, Predictor

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# Preset, window in bp, bins, tracks: the demo's model, one between, the published one.
SIZES = {
    "demo": ("laptop", 16_384, 112, 4),
    "middle": ("paper", 65_536, 448, 5313),
    "full": ("paper", 196_608, 896, 5313),
}
# Of each kind: bp between SNVs, and of the grid whose cells share a window (0: none).
KINDS = {"ism": (0, 0), "dense": (300, 4096), "along": (2000, 128), "isolated": (0, 0)}
NEXT = {"A": "C", "C": "G", "G": "T", "T": "A"}


class RandomContig:
    """One contig, `c`, of random bases in memory; a `Predictor` asks it as it asks a `Genome`.

    Args:
        length: in bp.
        seed: of the bases.
    """

    path = Path("random")

    def __init__(self, length: int, seed: int = 0) -> None:
        drawn = np.random.default_rng(seed).integers(0, 4, length, dtype=np.uint8)
        self.bases = np.frombuffer(b"ACGT", dtype=np.uint8)[drawn].tobytes()
        self.contig_lengths = {"c": length}

    def sequence(self, interval: Interval) -> bytes:
        """Returns bases, with N beyond the contig."""
        inside = self.bases[max(0, interval.start) : max(0, interval.end)]
        left = min(max(0, -interval.start), interval.end - interval.start)
        return b"N" * left + inside + b"N" * (interval.end - interval.start - left - len(inside))

    @property
    def genome(self) -> "Genome":
        """The contig, as what takes a genome names it."""
        return cast("Genome", self)


def draw_attention(model: keras.Model) -> None:
    """Draws the weights of attention's outputs, which start at zero: else what it does would not be seen."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("attention/output_kernel"):
            drawn = rng.standard_normal(weight.shape, dtype=np.float32)
            weight.assign(drawn / np.sqrt(weight.shape[0], dtype=np.float32))


def cell_of(kind: str, target: int) -> int:
    """Returns bp of the grid whose cells share a window, at most half of a target in bp; 0: none."""
    return min(KINDS[kind][1], target // 2)


def make_variants(contig: RandomContig, kind: str, count: int, window: int) -> list[Variant]:
    """SNVs of the kind, as many as that."""
    start, bases = window, contig.bases
    if kind == "ism":
        changes = (
            Variant("c", at + 1, chr(bases[at]), letter)
            for at in itertools.count(start)
            for letter in "ACGT"
            if letter != chr(bases[at])
        )
        return list(itertools.islice(changes, count))
    apart = KINDS[kind][0] or window + 1
    places = range(start, start + count * apart, apart)
    return [Variant("c", at + 1, chr(bases[at]), NEXT[chr(bases[at])]) for at in places]


def score(
    predictor: Predictor,
    contig: RandomContig,
    variants: Sequence[Variant],
    kind: str,
    cell: int,
    *,
    keep: bool,
) -> Iterator[np.ndarray]:
    """Yields REF and ALT of each allele if they are to be kept; with a cell in bp, near ones share windows."""
    region = Interval("c", variants[0].start, variants[-1].start + 1)
    for part in predictor.score_in_parts(
        variants,
        contig.genome,
        strands="forward",
        statistics=["SAD"],
        centers=[region] * len(variants) if kind == "ism" else None,
        share_windows=cell or None,
        keep_predictions=keep,
    ):
        for found in part.predictions:
            if found is not None:
                yield np.stack([found.reference, found.alternate])


def make_ways(model: keras.Model, window: int, bins: int, tracks: int, batch_size: int) -> dict[str, Predictor]:
    """Predictors of a model of one head, by full passes and with reuse."""
    described = [PredictedTrack(at, str(at), "", at) for at in range(tracks)]
    frame = Frame(window, bins, BIN_SIZE)
    return {
        name: Predictor(model, frame, described, batch_size=batch_size, reuse=reuse)
        for name, reuse in (("full passes", False), ("reuse", True))
    }


def largest_differences(
    ways: Mapping[str, Predictor], contig: RandomContig, variants: Sequence[Variant], kind: str
) -> tuple[float, float]:
    """Compares the ways over the same windows.

    Returns:
        How far they are apart, and how far ALT is from REF, as shares of the largest prediction: an error says
        something only where it is far below an effect.
    """
    frame = ways["reuse"].frame
    cell = cell_of(kind, frame.target_length * frame.bin_size)
    pairs = (score(way, contig, variants, kind, cell, keep=True) for way in ways.values())
    largest, error, effect = 0.0, 0.0, 0.0
    for a, b in zip(*pairs, strict=True):
        largest, error = max(largest, float(a.max())), max(error, float(np.abs(a - b).max()))
        effect = max(effect, float(np.abs(a[1] - a[0]).max()))
    return error / largest, effect / largest


def seconds_an_allele(
    way: Predictor, contig: RandomContig, variants: Sequence[Variant], kind: str, cell: int
) -> tuple[float, float]:
    """Returns the time that an allele takes, by the clock and of CPU, with nothing kept from before."""
    way.forget()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for _ in score(way, contig, variants, kind, cell, keep=False):
        pass
    took, cpu_took = time.perf_counter() - begun, time.process_time() - cpu_begun
    return took / len(variants), cpu_took / len(variants)


def measure(
    ways: Mapping[str, Predictor], contig: RandomContig, kind: str, alleles: int, plain: int, turns: int
) -> dict[str, Any]:
    """Measures both ways in turns.

    Args:
        ways: see `make_ways`.
        contig: of random bases, long enough for the alleles.
        kind: of `KINDS`.
        alleles: that are scored with reuse.
        plain: that full passes take.
        turns: that count; one before them, of as few alleles as full passes take, compiles.

    Returns:
        What is printed of a kind.
    """
    frame = ways["reuse"].frame
    variants = make_variants(contig, kind, alleles, frame.window_length)
    # So many that full passes have no batch to fill up.
    some = variants[: plain - (kind == "ism")]
    cell = cell_of(kind, frame.target_length * frame.bin_size)
    error, effect = largest_differences(ways, contig, some[:8], kind)
    each: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            reuse = name == "reuse"
            took = seconds_an_allele(
                way, contig, variants if reuse and turn else some, kind, cell if reuse else 0
            )
            if turn:
                each[name].append(took)
    # Of ism the one reference is among fewer alleles where full passes have fewer.
    passes = (1 + 1 / len(some)) / (1 + 1 / len(variants)) if kind == "ism" else 1.0
    pairs = list(zip(each["full passes"], each["reuse"], strict=True))
    ratios, cpu_ratios = ([a[of] / passes / b[of] for a, b in pairs] for of in (0, 1))
    rates = {name: 1 / statistics.median(clock for clock, _ in took) for name, took in each.items()}
    return {
        "kind": kind,
        "alleles": [len(some), len(variants)],
        "alleles a second": {name: round(rate, 3) for name, rate in rates.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "ratios of CPU time": [round(ratio, 2) for ratio in cpu_ratios],
        "error": f"{error:.1e}",
        "effect": f"{effect:.1e}",
    }


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
    draw_attention(model)
    ways = make_ways(model.head_model("h"), window, bins, tracks, arguments.batch_size)
    contig = RandomContig((arguments.alleles + 2) * (window + 1))
    for kind in arguments.kinds:
        told = measure(ways, contig, kind, arguments.alleles, arguments.plain, arguments.turns)
        of_run = {"size": arguments.size, "backend": keras.backend.backend()}
        print(json.dumps({**of_run, **told}), flush=True)


if __name__ == "__main__":
    main()
