"""A tiny genome with real files: two contigs, two bigWigs that use other names, one GFF3 file."""

import dataclasses
from pathlib import Path

import numpy as np
import pyBigWig
import yaml

CONTIGS = {"c1": 3000, "c2": 1500}
COLUMNS = "index genome identifier file clip scale sum_stat description strand_pair feature strand"
HEADER = COLUMNS.split()
ROWS = [
    ["0", "tiny", "dense", "dense.bw", "", "mean", "mean", "DNASE", "0", "", ""],
    ["1", "tiny", "holes", "holes.bw", "", "2", "sum", "CHIP", "1", "", ""],
    ["2", "tiny", "cds_plus", "genes.gff3", "", "1", "mean", "CDS +", "3", "CDS", "+"],
    ["3", "tiny", "cds_minus", "genes.gff3", "", "1", "mean", "CDS -", "2", "CDS", "-"],
]
# Start and end 1-based and closed; on c2, a CDS across the origin of a circle.
GFF3 = """##gff-version 3
##sequence-region c1 1 3000
one\tx\tCDS\t101\t190\t.\t+\t0\tID=a
one\tx\tCDS\t150\t220\t.\t+\t0\tID=b overlaps a
one\tx\tCDS\t221\t230\t.\t+\t0\tID=c touches b
one\tx\tCDS\t200\t1200\t.\t-\t0\tID=d
one\tx\tgene\t2000\t2900\t.\t+\t.\tID=no CDS
c2\tx\tregion\t1\t1500\t.\t+\t.\tIs_circular=true
c2\tx\tCDS\t1401\t1530\t.\t+\t0\tID=e
plasmid\tx\tCDS\t1\t50\t.\t+\t0\tID=not in the FASTA
##FASTA
>one
ACGT
"""


def write_bigwig(path, values_by_chrom):
    """Writes float32 values per bp; NaN bp are left out, as real files leave them out."""
    file = pyBigWig.open(str(path), "w")
    file.addHeader([(chrom, len(values)) for chrom, values in values_by_chrom.items()])
    for chrom, values in values_by_chrom.items():
        starts = np.flatnonzero(~np.isnan(values))
        file.addEntries(
            [chrom] * len(starts),
            starts.tolist(),
            ends=(starts + 1).tolist(),
            values=values[starts].tolist(),
        )
    file.close()


@dataclasses.dataclass
class TinyGenome:
    """Files on disk, and the same as arrays: the oracle of the tests."""

    path: Path
    bases: dict
    dense: dict
    holes: dict

    def edit(self, **fields):
        """Changes fields of the YAML file; None removes one."""
        content = yaml.safe_load(self.path.read_text()) | fields
        self.path.write_text(
            yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False)
        )

    def edit_row(self, row, **cells):
        """Changes cells of the track table."""
        table = self.path.parent / "tracks.tsv"
        lines = [line.split("\t") for line in table.read_text().split("\n")]
        for name, value in cells.items():
            lines[row + 1][HEADER.index(name)] = value
        table.write_text("\n".join("\t".join(line) for line in lines))


def build_tiny_genome(folder):
    """Writes a dataset into a folder."""
    rng = np.random.default_rng(0)
    bases = {name: "".join(rng.choice(list("ACGT"), length)) for name, length in CONTIGS.items()}
    bases["c2"] = bases["c2"][:700] + "N" * 100 + "r" + bases["c2"][801:]  # soft-masked IUPAC code
    # Lines end as DOS ends them and the file ends blank, as in the E. coli genome of the demo.
    (folder / "genome.fa").write_bytes(
        b"".join(
            f">{name} some text\r\n".encode()
            + b"".join(f"{seq[i : i + 60]}\r\n".encode() for i in range(0, len(seq), 60))
            for name, seq in bases.items()
        )
        + b"\r\n"
    )
    dense = {name: rng.gamma(2, 3, length).astype(np.float32) for name, length in CONTIGS.items()}
    holes = {name: values.copy() for name, values in dense.items()}
    holes["c1"][500:700] = np.nan
    plasmid = np.full(80, 1e6, np.float32)  # in the bigWig only: must not move the mean
    write_bigwig(folder / "dense.bw", {"one": dense["c1"], "c2": dense["c2"], "plasmid": plasmid})
    write_bigwig(folder / "holes.bw", {"chrom1": holes["c1"], "c2": holes["c2"]})
    (folder / "genes.gff3").write_text(GFF3)
    (folder / "tracks.tsv").write_text("\n".join("\t".join(row) for row in [HEADER, *ROWS]))
    path = folder / "dataset.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "organism": "tiny",
                "fasta": "genome.fa",
                "tracks": "tracks.tsv",
                "contig_aliases": {"c1": ["one", "chrom1"]},
                "window_length": 128,
                "bin_size": 16,
                "target_length": 4,
                "flank_length": 3,
                "stride": {"train": 32, "valid": 64, "test": 64},
                "splits": {"blocks": {"train": [0.0, 0.6], "valid": [0.6, 0.8], "test": [0.8, 1.0]}},
            },
            sort_keys=False,
        )
    )
    return TinyGenome(path, {name: seq.upper() for name, seq in bases.items()}, dense, holes)


def describe_two_organisms(tiny, **own):
    """Adds a second organism: another genome with contigs of the same names, one track, splits by contig."""
    folder = tiny.path.parent
    bases = {"c1": "ACGT" * 100, "c2": "GGCA" * 60, "c3": "TTAC" * 60}
    (folder / "other.fa").write_text("".join(f">{name}\n{seq}\n" for name, seq in bases.items()))
    write_bigwig(
        folder / "other.bw", {name: np.arange(len(seq), dtype=np.float32) for name, seq in bases.items()}
    )
    (folder / "other.tsv").write_text(
        "\n".join("\t".join(row) for row in [HEADER, [*ROWS[0][:3], "other.bw", *ROWS[0][4:]]])
    )
    content = yaml.safe_load(tiny.path.read_text())
    first = {name: content[name] for name in ("fasta", "tracks", "contig_aliases")}
    splits = {"contigs": {"train": ["c1"], "valid": ["c2"], "test": ["c3"]}}
    second = {"fasta": "other.fa", "tracks": "other.tsv", "splits": splits} | own
    tiny.edit(
        organisms={"tiny": first, "other": second}, organism=None, fasta=None, tracks=None, contig_aliases=None
    )
    return bases
