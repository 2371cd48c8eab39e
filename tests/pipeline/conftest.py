"""Two small genomes, and one run of the whole chain on them that the tests look at."""

import dataclasses
import shutil

import numpy as np
import pytest
import yaml
from tfx import v1 as tfx

from components.trainer.training import Training
from pipeline.configs import Settings
from pipeline.data import fingerprint_data
from pipeline.outcome import read_outcome
from pipeline.pipeline import create_pipeline
from tests.datasets.tiny_genome import write_bigwig
from tests.golden import FIXTURES

LENGTH = 40_000
GFF3 = """##gff-version 3
chrom\tx\tCDS\t{0}\t{1}\t.\t+\t0\tID=a
chrom\tx\tCDS\t{2}\t{3}\t.\t-\t0\tID=b
"""
TRACKS = """index\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription\tstrand_pair\tfeature\tstrand
0\ttiny\tcoverage\tcoverage.bw\t\tmean\tmean\tCHIP\t0\t\t
1\ttiny\tcds_plus\tgenes.gff3\t\t1\tmean\tCDS +\t2\tCDS\t+
2\ttiny\tcds_minus\tgenes.gff3\t\t1\tmean\tCDS -\t1\tCDS\t-
"""


def write_genome(folder):
    rng = np.random.default_rng(0)
    bases = "".join(rng.choice(list("ACGT"), LENGTH))
    (folder / "genome.fa").write_text(">chrom\n" + bases + "\n")
    write_bigwig(folder / "coverage.bw", {"chrom": rng.gamma(2, 3, LENGTH).astype(np.float32)})
    genes = [
        GFF3.format(start + 1, start + 300, start + 501, start + 900).split("\n", 1)[1]
        for start in range(0, LENGTH, 1000)
    ]
    (folder / "genes.gff3").write_text("##gff-version 3\n" + "".join(genes))
    regions = [f"chrom\t{start}\t{start + 300}\tgene\n" for start in range(0, LENGTH, 1000)]
    (folder / "genes.bed").write_text("".join(regions))
    write_variants(folder / "variants.vcf", bases)
    (folder / "tracks.tsv").write_text(TRACKS)
    write_yeast(folder)
    description = {
        "organisms": {
            "tiny": {"assembly": "tiny1", "fasta": "genome.fa", "tracks": "tracks.tsv"},
            "yeast": {"assembly": "R64", "fasta": "yeast.fa", "tracks": "yeast.tsv"},
        },
        "window_length": 1024,
        "target_length": 4,
        "stride": 512,
        "splits": {"blocks": {"train": [0.0, 0.6], "valid": [0.6, 0.8], "test": [0.8, 1.0]}},
    }
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(description, sort_keys=False))
    return path


def write_variants(path, bases, every=2_000):
    """A substitution every so many bp, and at the end one of another genome."""
    other = dict(zip("ACGT", "GTAC", strict=True))
    lines = [f"chrom\t{at + 1}\t.\t{bases[at]}\t{other[bases[at]]}" for at in range(999, len(bases), every)]
    lines += [f"chrom\t40\trs1\t{other[bases[39]]}\t{bases[39]}"]
    header = f"##fileformat=VCFv4.3\n##contig=<ID=chrom,length={len(bases)}>\n"
    header += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(header + "".join(f"{line}\t.\t.\t.\n" for line in lines))


def write_yeast(folder):
    """A stretch of the real genome, with its coding sequences as a BED file."""
    with np.load(FIXTURES / "genomes.npz") as archive:
        bases = archive["yeast_sequence"].tobytes().decode()
        coding = np.unpackbits(archive["yeast_cds"], axis=1).max(axis=0)  # on either strand
    (folder / "yeast.fa").write_text(f">IV\n{bases}\n")
    edges = np.flatnonzero(np.diff(coding, prepend=0, append=0)).reshape(-1, 2)
    (folder / "yeast.bed").write_text("".join(f"IV\t{start}\t{end}\n" for start, end in edges))
    (folder / "yeast.tsv").write_text(
        "index\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription\n"
        "0\tyeast\tcds\tyeast.bed\t\t1\tmean\tCDS\n"
    )


class Chain:
    """Runs of one pipeline in one folder."""

    def __init__(self, folder):
        (folder / "data").mkdir()
        self.settings = Settings(
            name="enformer-tiny",
            dataset=write_genome(folder / "data"),
            run=folder / "run",
            model={
                "channels": 24,
                "num_transformer_layers": 1,
                "num_heads": 2,
                "key_size": 4,
                "filters_divisible_by": 4,
            },
            training=Training(steps=8, epochs=2, batch_size=2, learning_rate=1e-3, warm_up_steps=2, decay=True),
            # The judging has its own tests; here every model is good enough.
            thresholds={"log1p_pearson_r": -1.0},
            max_drop=2.0,
            regions={"tiny": folder / "data" / "genes.bed"},
            variants={"tiny": folder / "data" / "variants.vcf"},
        )
        self.settings.run.mkdir()

    def run(self, **changes):
        """Runs the pipeline and tells which components did not come from the cache."""
        self.settings = dataclasses.replace(self.settings, **changes)
        before = self.executed()
        tfx.orchestration.LocalDagRunner().run(
            create_pipeline(
                self.settings,
                fingerprint_data(self.settings.dataset),
                tfx.orchestration.metadata.sqlite_metadata_connection_config(str(self.settings.metadata)),
            )
        )
        return {name for name, count in self.executed().items() if count > before.get(name, 0)}

    def executed(self):
        """Component -> number of its runs that ran, by their folders."""
        return {
            folder.name: sum(1 for _ in folder.glob(".system/executor_execution/*"))
            for folder in self.settings.root.glob("*")
        }

    def outcome(self):
        return read_outcome(self.settings.metadata, self.settings.name)


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    chain = Chain(tmp_path_factory.mktemp("chain"))
    chain.first_run = chain.run()
    chain.first_outcome = chain.outcome()
    yield chain
    shutil.rmtree(chain.settings.root)
