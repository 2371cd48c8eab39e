"""Real variants of a motif on the model that `make demo` trains: does what it says of them hold?

    .venv/bin/python benchmarks/motif_variants.py [RUN] [--others N] [--statistic SADR] [--width BP]

Of the differences between two strains in `datasets/ecoli/ecoli_536.vcf.gz` 58 break a site of ACCCANGG, which
the demo's ChIP-seq shows bound, and 37 make one. Each is scored, and so is a random sample of all other SNVs
(`--others 0`: all of them). The sites are counted in the strings here, not by the code under test.
"""

import argparse
import json
import os
import re
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from enformer_keras import open_model
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant, read_variants

ROOT = Path(__file__).resolve().parents[1]
SITE = re.compile("(?=ACCCA[ACGT]GG|CC[ACGT]TGGGT)")
REACH = 7  # bp: a site of 8 bp that holds the variant reaches no further


def change_of_sites(variant: Variant, genome: Genome) -> int:
    """Sites that an SNV makes, less those that it breaks."""
    around = Interval(variant.chrom, variant.start - REACH, variant.start + REACH + 1)
    before = genome.sequence(around).decode()
    after = before[:REACH] + variant.alternate + before[REACH + 1 :]
    return len(SITE.findall(after)) - len(SITE.findall(before))


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """The area under the receiver operating characteristic, and its standard error (DeLong 1988)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    of_positive = below / (2 * len(negative))
    ordered = np.sort(positive)
    above = np.searchsorted(ordered, negative, "left") + np.searchsorted(ordered, negative, "right")
    of_negative = 1 - above / (2 * len(positive))
    error = np.sqrt(of_positive.var(ddof=1) / len(positive) + of_negative.var(ddof=1) / len(negative))
    return float(of_positive.mean()), float(error)


def main() -> None:
    """Scores, and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--fasta", type=Path, default=ROOT / "data" / "ecoli" / "MG1655_U00096.fasta")
    parser.add_argument("--variants", type=Path, default=ROOT / "datasets" / "ecoli" / "ecoli_536.vcf.gz")
    parser.add_argument("--track", default="chip_1")
    parser.add_argument("--statistic", default="SADR")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--others", type=int, default=2000, help="SNVs beside those of sites; 0: all")
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()

    genome = Genome(arguments.fasta)
    snvs = [v for v in read_variants(arguments.variants) if len(v.reference) == len(v.alternate) == 1]
    change = np.array([change_of_sites(variant, genome) for variant in snvs])
    others = np.flatnonzero(change == 0)
    if arguments.others:
        others = np.random.default_rng(0).choice(others, arguments.others, replace=False)
    chosen = np.concatenate([np.flatnonzero(change), np.sort(others)])

    predictor = open_model(arguments.run, batch_size=arguments.batch_size)
    track = next(track.index for track in predictor.tracks if track.identifier == arguments.track)
    begun = time.perf_counter()
    scores = predictor.score_variants(
        [snvs[index] for index in chosen],
        genome,
        statistics=[arguments.statistic],
        tracks=[track],
        width=arguments.width,
    ).statistics[arguments.statistic][:, 0]
    seconds = time.perf_counter() - begun
    change = change[chosen]
    area, error = area_under_curve(np.abs(scores[change != 0]), np.abs(scores[change == 0]))
    print(
        json.dumps(
            {
                "snvs": len(snvs),
                "scored": len(scores),
                "breaking": int((change < 0).sum()),
                "of these fall": int((scores[change < 0] < 0).sum()),
                "their median": float(np.median(scores[change < 0])),
                "making": int((change > 0).sum()),
                "of these rise": int((scores[change > 0] > 0).sum()),
                "median of these": float(np.median(scores[change > 0])),
                "auroc": area,
                "its standard error": error,
                "variants a second": len(scores) / seconds,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
