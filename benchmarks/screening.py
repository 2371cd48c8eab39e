"""Screening by gradients beside exact scores: rank correlation, how many of the best are found, time.

    .venv/bin/python benchmarks/screening.py runs/demo data/ecoli/MG1655_U00096.fasta [--tracks chip_1]

Regions of --length bp lie about occurrences of a motif, spread over the genome; all their SNVs are scored, and
estimated to first order. Of each region and track: Spearman's correlation of estimate and exact score, and how
many of the --best largest exact scores are among the --screen largest estimates. Times are those of plain ISM,
of estimates alone and of `--screen`, region by region in turns; the first region compiles and does not count.
"""

import argparse
import json
import os
import re
import statistics
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from enformer_command.options import choose_tracks
from enformer_keras import open_model
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction.screening import estimate_effects


def find_regions(genome: Genome, motif: str, length: int, count: int) -> list[Interval]:
    """Returns regions about occurrences of a motif on the first contig, evenly spread among them."""
    contig, bp = next(iter(genome.contig_lengths.items()))
    bases = genome.sequence(Interval(contig, 0, bp)).decode()
    middles = [found.start() + (found.end() - found.start()) // 2 for found in re.finditer(motif, bases)]
    chosen = middles[:: max(1, len(middles) // count)][:count]
    return [Interval(contig, at, at + 1).resize(length) for at in chosen]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def main() -> None:
    """Measures, and prints one JSON object for each statistic and track, and one of the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--tracks", nargs="+", default=["0"])
    parser.add_argument("--statistics", nargs="+", default=["SAD", "SADR"])
    parser.add_argument("--width", type=int, help="bp about the middle whose bins count")
    parser.add_argument("--strands", choices=["both", "forward"], default="both")
    parser.add_argument("--motif", default="ACCCA.GG", help="a regular expression")
    parser.add_argument("--regions", type=int, default=8)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--best", type=int, default=10)
    parser.add_argument("--screen", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()

    predictor = open_model(arguments.model, batch_size=arguments.batch_size)
    genome = Genome(arguments.fasta)
    columns = choose_tracks(predictor.tracks, arguments.tracks)
    options = {
        "statistics": arguments.statistics,
        "width": arguments.width,
        "strands": arguments.strands,
    }
    seconds: dict[str, list[float]] = {"ism": [], "estimates": [], "screened": []}
    correlations: dict[tuple[str, int], list[float]] = {}
    recalls: dict[tuple[str, int], list[float]] = {}
    for region in find_regions(genome, arguments.motif, arguments.length, arguments.regions + 1):
        begun = time.perf_counter()
        (exact,) = predictor.saturation_mutagenesis([region], genome, tracks=columns, **options)
        after_ism = time.perf_counter()
        estimates = estimate_effects(predictor, region, genome, columns=columns, shifts=(0,), **options)
        after_estimates = time.perf_counter()
        moved = region.shift(1)  # whose window the predictor has not kept
        next(
            predictor.saturation_mutagenesis(
                [moved], genome, tracks=columns, screen=arguments.screen, **options
            )
        )
        ended = time.perf_counter()
        seconds["ism"].append(after_ism - begun)
        seconds["estimates"].append(after_estimates - after_ism)
        seconds["screened"].append(ended - after_estimates)
        one_hot = one_hot_encode(exact.sequence)
        is_change = (one_hot == 0) & one_hot.any(axis=1, keepdims=True)
        for name in arguments.statistics:
            for number, column in enumerate(columns):
                key = name, column
                true, guessed = (x[name][is_change][:, number] for x in (exact.effects, estimates))
                correlations.setdefault(key, []).append(rank_correlation(true, guessed))
                best = np.argsort(-np.abs(true), kind="stable")[: arguments.best]
                kept = np.argsort(-np.abs(guessed), kind="stable")[: arguments.screen]
                recalls.setdefault(key, []).append(len(set(best) & set(kept)) / arguments.best)
    for (name, column), found in correlations.items():
        of_key = recalls[name, column]
        print(
            json.dumps(
                {
                    "statistic": name,
                    "track": predictor.tracks[column].identifier,
                    "rank correlation": {
                        "mean": round(statistics.mean(found), 3),
                        "lowest": round(min(found), 3),
                    },
                    f"of the best {arguments.best} among {arguments.screen} of {3 * arguments.length}": {
                        "mean": round(statistics.mean(of_key), 3),
                        "lowest": round(min(of_key), 3),
                    },
                }
            )
        )
    median = {name: statistics.median(took[1:]) for name, took in seconds.items()}
    print(
        json.dumps(
            {
                "seconds a region": {name: round(took, 2) for name, took in median.items()},
                "ism, times screened": round(
                    statistics.median(
                        a / b for a, b in zip(seconds["ism"][1:], seconds["screened"][1:], strict=True)
                    ),
                    2,
                ),
                "regions": len(seconds["ism"]) - 1,
            }
        )
    )


if __name__ == "__main__":
    main()
