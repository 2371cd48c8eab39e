"""Makes the variants that the demo scores: `.venv/bin/python setup/demo_variants.py`.

They are the 500 records of datasets/ecoli/ecoli_536.vcf.gz nearest the middle of the test block, of which
the model saw nothing. The result is committed, as the demo's other variants are.
"""

from pathlib import Path

import pysam

FOLDER = Path(__file__).resolve().parents[1] / "datasets" / "ecoli"
SOURCE, MADE = FOLDER / "ecoli_536.vcf.gz", FOLDER / "variants.vcf.gz"
COUNT = 500
# Of dataset.yaml: the share of the genome where the test block begins; it ends with the genome (U00096.3).
GENOME_LENGTH, TEST_BEGINS = 4_641_652, 0.9


def main() -> None:
    """Writes the file, compressed by bgzip."""
    middle = GENOME_LENGTH * (1 + TEST_BEGINS) / 2
    with pysam.VariantFile(str(SOURCE)) as file:
        header = str(file.header)
        records = [(record.pos, str(record)) for record in file]
    nearest = sorted(sorted(records, key=lambda record: abs(record[0] - middle))[:COUNT])
    with pysam.BGZFile(str(MADE), "w", index=None) as made:
        made.write(header.encode() + "".join(text for _, text in nearest).encode())
    print(f"{MADE.name}: {len(nearest)} records, {nearest[0][0]:,} to {nearest[-1][0]:,} bp")


if __name__ == "__main__":
    main()
