"""Peak memory and speed of `enformer score` by the number of alleles, with a model that costs next to nothing.

    .venv/bin/python benchmarks/scoring_memory.py [--alleles 1000 10000 100000 1000000] [-- OPTIONS]

Each number of alleles is a run of the command in a process of its own; OPTIONS go to it, such as
`--batch-size 64 --share-windows 512`. The alleles are SNVs of random sequence, 3 bp apart. The model has an
Enformer's layers, so that stem and tower are reused as ever, but few channels: what is left is what the rest
takes for each allele. The last line says by how much the largest peak lies above the smallest one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

WINDOW, APART, MARGIN = 1024, 3, 2048
NEXT = {"A": "C", "C": "G", "G": "T", "T": "A"}


def write_model(path: Path) -> None:
    """Writes an Enformer of 8 bins, as small as it can be."""
    from enformer_keras import Enformer

    Enformer(
        heads={"h": 4},
        channels=12,
        num_heads=1,
        num_transformer_layers=1,
        key_size=4,
        filters_divisible_by=2,
        sequence_length=WINDOW,
        target_length=6,
    ).save(path)


def write_variants(path: Path, bases: str, count: int) -> None:
    """Writes a VCF of so many SNVs."""
    with path.open("w") as file:
        file.write(f"##fileformat=VCFv4.2\n##contig=<ID=c,length={len(bases)}>\n")
        file.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        for at in range(MARGIN, MARGIN + count * APART, APART):
            file.write(f"c\t{at + 1}\t.\t{bases[at]}\t{NEXT[bases[at]]}\t.\t.\t.\n")


# The command, which tells its own peak at its end: what the system tells of a child begins with its parent's.
COMMAND = """
import atexit, pathlib, sys
from enformer_command.main import main
def tell():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    pathlib.Path("peak").write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
atexit.register(tell)
main(sys.argv[1:])
"""


def score(folder: Path, count: int, options: list[str]) -> dict[str, float]:
    """Runs the command; returns its peak in MiB, its seconds, and the alleles a second."""
    command = [sys.executable, "-c", COMMAND, "score", "model.keras", f"{count}.vcf"]
    command += ["--fasta", "genome.fa", "--output", f"scores-{count}", "--quiet", *options]
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    begun = time.perf_counter()
    status = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL).returncode
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"enformer {' '.join(command[3:])}: ended with {status}")
    return {
        "alleles": count,
        "peak MiB": round(int((folder / "peak").read_text()) / 2**10, 1),
        "seconds": round(seconds, 1),
        "alleles a second": round(count / seconds, 1),
    }


def main() -> None:
    """Measures, and prints one JSON object for each number of alleles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--alleles", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("options", nargs="*", metavar="OPTIONS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_model(folder / "model.keras")
        length = 2 * MARGIN + APART * max(arguments.alleles)
        bases = "".join(np.random.default_rng(0).choice(list("ACGT"), length))
        (folder / "genome.fa").write_text(f">c\n{bases}\n")
        peaks = []
        for count in arguments.alleles:
            write_variants(folder / f"{count}.vcf", bases, count)
            found = score(folder, count, arguments.options)
            peaks.append(found["peak MiB"])
            print(json.dumps(found), flush=True)
    print(f"the largest peak is {max(peaks) / min(peaks) - 1:.1%} above the smallest")


if __name__ == "__main__":
    main()
