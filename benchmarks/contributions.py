"""Do contributions give back the motif that is bound? Files for others' loaders, then tfmodisco-lite.

    python benchmarks/contributions.py RUN FASTA BIGWIG [--output FOLDER] [--method gradient-x-input]

RUN is a run's folder of the demo (`make demo`), FASTA its genome and BIGWIG the signal of its track `chip_1`.
The highest peaks of the test block are explained by `enformer contributions`; the files are opened by finemo's
and modisco's loaders and compared with one another; tfmodisco-lite looks for motifs. The truth is ACCCANGG,
whose core is CCANGG: in the measured signal, sites of the whole motif are 12.6 times the genome's mean, those
of the core with other bases in front 3.6 to 6.3 times.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

MOTIF = "ACCCANGG"
PEAKS = 200
LENGTH = 400
# bp of the central bins that are explained; bp that are averaged and kept apart where peaks are looked for.
WIDTH = 512
SMOOTHED = 129
APART = 250
TEST_BLOCK = 0.9  # from this share of the contig on (datasets/ecoli/dataset.yaml)
LEAST_SEEN = 10
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def find_peaks(bigwig: Path) -> list[int]:
    """The middles of the highest peaks of the test block, the highest first; the first contig is the genome."""
    import pyBigWig

    with pyBigWig.open(str(bigwig)) as file:
        contig, length = next(iter(file.chroms().items()))
        start = int(TEST_BLOCK * length)
        signal = np.nan_to_num(file.values(contig, start, length, numpy=True))
    smooth = np.convolve(signal, np.ones(SMOOTHED) / SMOOTHED, "same")
    taken = np.zeros(len(smooth), dtype=bool)
    peaks: list[int] = []
    for at in np.argsort(-smooth, kind="stable"):
        if not taken[max(0, at - APART) : at + APART + 1].any():
            taken[at] = True
            peaks.append(start + int(at))
            if len(peaks) == PEAKS:
                break
    return peaks


def explain(run: Path, fasta: Path, peaks: list[int], folder: Path, method: str) -> float:
    """Writes peaks and asks the command; returns its seconds."""
    contig = fasta.read_text()[1:].split(maxsplit=1)[0]
    bed = folder / "peaks.bed"
    rows = [f"{contig}\t{at - LENGTH // 2}\t{at + LENGTH // 2}\n" for at in peaks]
    bed.write_text("".join(rows))
    command = [sys.executable, "-m", "enformer_command.main", "contributions", str(run), str(bed)]
    command += ["--fasta", str(fasta), "--tracks", "chip_1", "--width", str(WIDTH), "--method", method]
    command += ["--output", str(folder), "--overwrite"]
    command += ["--format", "h5", "--format", "npz", "--format", "bigwig"]
    begun = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - begun


def load_by_others(folder: Path, fasta: Path) -> tuple[np.ndarray, np.ndarray]:
    """Opens every file by finemo's loaders and modisco's way, and holds them against one another.

    Returns:
        One-hot sequences and hypothetical contributions, [peaks, 4, LENGTH].
    """
    import finemo.data_io

    half = LENGTH // 2
    sequences, contributions = (
        np.load(folder / f"{name}.npz")["arr_0"] for name in ("sequences", "contributions")
    )
    of_tree = finemo.data_io.load_regions_from_chrombpnet_h5([str(folder / "contributions.h5")], half)
    of_arrays = finemo.data_io.load_regions_from_modisco_fmt(
        [str(folder / "contributions.npz")], str(folder / "sequences.npz"), half
    )
    for bases, scores in (of_tree, of_arrays):
        np.testing.assert_array_equal(bases, sequences)
        np.testing.assert_allclose(scores, contributions, rtol=2e-3, atol=1e-6)  # finemo keeps float16
    regions = finemo.data_io.load_peaks(str(folder / "regions.bed"), None, half)
    # Reads the genome itself, where the peaks' table says that they are.
    bases, projected = finemo.data_io.load_regions_from_bw(
        regions, str(fasta), [str(folder / "contributions.bw")], half
    )
    np.testing.assert_array_equal(bases, sequences)
    alone = np.ones(len(sequences), dtype=bool)
    starts = regions["peak_region_start"].to_numpy().astype(int)
    for row, start in enumerate(starts):  # where regions overlap, the bigWig has one of them
        alone[row] = (np.abs(starts - start) < LENGTH).sum() == 1
    expected = (sequences * contributions).sum(axis=1)
    np.testing.assert_allclose(projected[alone], expected[alone], rtol=2e-3, atol=1e-6)
    return sequences, contributions


def find_motifs(folder: Path) -> list[dict[str, Any]]:
    """Runs tfmodisco-lite's command on the tree; returns its patterns of positive contributions."""
    import h5py

    found = folder / "modisco.h5"
    command = [str(Path(sys.executable).with_name("modisco")), "motifs", "-i", str(folder / "contributions.h5")]
    subprocess.run([*command, "-n", "2000", "-w", str(LENGTH), "-o", str(found)], check=True)
    patterns = []
    with h5py.File(found) as file:
        groups = file.get("pos_patterns", {})
        for name in sorted(groups, key=lambda text: int(text.rsplit("_", 1)[1])):
            group = groups[name]
            frequencies = group["sequence"][:]
            scores = group["contrib_scores"][:]
            hypothetical = group["hypothetical_contribs"][:]
            # Bases that carry a tenth of the highest contribution, and those between.
            strong = np.flatnonzero(scores.max(axis=1) >= 0.1 * scores.max())
            core = slice(strong[0], strong[-1] + 1)
            word = "".join("ACGT"[row.argmax()] if row.max() >= 0.6 else "N" for row in frequencies[core])
            patterns.append(
                {
                    "seqlets": int(group["seqlets"]["n_seqlets"][:].ravel()[0]),
                    "word": word,
                    "hypothetical": fit(hypothetical),
                }
            )
    return patterns


def fit(hypothetical: np.ndarray) -> dict[str, Any]:
    """The letters that would contribute most where a pattern fits the motif best, along either strand."""
    fits = []
    for scores in (hypothetical, hypothetical[::-1, ::-1]):
        for start in range(len(scores) - len(MOTIF) + 1):
            part = scores[start : start + len(MOTIF)]
            total = sum(row["ACGT".index(base)] for row, base in zip(part, MOTIF, strict=True) if base != "N")
            fits.append((float(total), "".join("ACGT"[row.argmax()] for row in part)))
    word = max(fits)[1]
    same = sum(one == other for one, other in zip(word, MOTIF, strict=True))
    return {"word": word, "letters_of_the_motif": same, "of": len(MOTIF) - MOTIF.count("N")}


def rank_words(sequences: np.ndarray, contributions: np.ndarray) -> list[tuple[str, float, int]]:
    """Words with the motif's gap, on either strand, by the mean of what their bases contribute together."""
    gap = np.array([base != "N" for base in MOTIF])
    seen: dict[str, list[float]] = defaultdict(list)
    for one_hot, hypothetical in zip(sequences, contributions, strict=True):
        bases = "".join("ACGTN"[row.argmax() if row.any() else 4] for row in one_hot.T)
        projected = (one_hot * hypothetical).sum(axis=0)
        for word, scores in ((bases, projected), (bases.translate(COMPLEMENT)[::-1], projected[::-1])):
            for start in range(LENGTH - len(MOTIF) + 1):
                part = word[start : start + len(MOTIF)]
                key = "".join(base if kept else "N" for base, kept in zip(part, gap, strict=True))
                seen[key].append(float(scores[start : start + len(MOTIF)][gap].sum()))
    means = [(word, float(np.mean(sums)), len(sums)) for word, sums in seen.items() if len(sums) >= LEAST_SEEN]
    return sorted(means, key=lambda row: -row[1])


def main() -> None:
    """Runs all of it and prints what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("fasta", type=Path)
    parser.add_argument("bigwig", type=Path)
    parser.add_argument("--output", type=Path, default=Path("contributions"))
    parser.add_argument("--method", default="gradient-x-input")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    peaks = find_peaks(arguments.bigwig)
    seconds = explain(arguments.run, arguments.fasta, peaks, arguments.output, arguments.method)
    sequences, contributions = load_by_others(arguments.output, arguments.fasta)
    words = rank_words(sequences, contributions)
    told = {
        "method": arguments.method,
        "peaks": len(peaks),
        "seconds": round(seconds, 1),
        "motifs": find_motifs(arguments.output),
        "rank_of_the_motif": [word for word, *_ in words].index(MOTIF) + 1,
        "words": len(words),
        "first_words": words[:5],
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
