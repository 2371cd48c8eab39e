"""`enformer haplotypes`; what the numbers are is tested with the library."""

import h5py
import numpy as np
import pysam
import pysam.bcftools
import pytest

from enformer_keras import open_model
from enformer_keras.formats.intervals import Interval
from tests.command.test_genes import ALIASES, BASES, folder, run, texts  # noqa: F401 (a fixture)

OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}
HEADER = (
    "##fileformat=VCFv4.3\n##contig=<ID=chr1>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"
)
ROWS = [(1400, "0|1", "0|0"), (1600, "1|1", "0|1"), (3000, "0|1", "1|0")]
COMMON = ("haplotypes", "{0}/model.keras", "--fasta", "{0}/genome.fa", "--alias", "c1=chr1", "--vcf")


@pytest.fixture
def vcf(tmp_path):
    lines = [
        "\t".join(("chr1", str(at), ".", BASES[at - 1], OTHER[BASES[at - 1]], ".", ".", ".", "GT", *gts))
        for at, *gts in ROWS
    ]
    lines.append(f"chr1\t3010\t.\t{BASES[3009]}\t<DEL>\t.\t.\t.\tGT\t0|1\t0|0")
    path = tmp_path / "x.vcf"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    pysam.tabix_index(str(path), preset="vcf", force=True)
    return path.with_name("x.vcf.gz")


def test_regions(folder, vcf, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    options = ("--output", str(out), "--format", "h5", "--format", "tsv", "--tracks", "1", "--tracks", "2")
    result = run(folder, *COMMON, str(vcf), "c1:1401-1600", "chr1:2951-3050", *options)
    assert result.exit_code == 0, result.output
    told, counted = result.stdout.splitlines()
    assert told == "2 regions, 2 samples, 5 sequences that differ"
    assert counted == "1 symbolic alleles and other letters, taken as the reference"
    expected = list(
        open_model(folder / "model.keras").haplotypes(
            vcf,
            folder / "genome.fa",
            regions=[Interval("c1", 1400, 1600), Interval("c1", 2950, 3050)],
            tracks=[1, 2],
            contig_aliases=ALIASES,
        )
    )
    with h5py.File(out / "haplotypes.h5") as file:
        np.testing.assert_array_equal(file["sums"][:], np.concatenate([locus.sums for locus in expected]))
        assert file["sums"].attrs["formula"].startswith("sum(")
        assert texts(file["samples"]) == ["s1", "s2"]
        assert file["row_of"][:].tolist() == [[[1, 2], [0, 1]], [[3, 4], [4, 3]]]
        assert file["region"][:].tolist() == [0, 0, 0, 1, 1]
        assert file["haplotype"][:].tolist() == [0, 1, 2, 0, 1]
        assert file["num_carriers"][:].tolist() == [1, 2, 1, 2, 2]
        assert file["num_variants"][:].tolist() == [0, 1, 2, 0, 1]
        assert file["anchor"][:].tolist() == [1500] * 3 + [3000] * 2
        assert texts(file["chr"]) == ["c1"] * 5
        assert "carriers" not in file
        assert file.attrs["unphased"] == "refuse"
    lines = (out / "haplotypes.tsv").read_text().splitlines()
    header, *rows = [line.split("\t") for line in lines if not line.startswith("##")]
    assert header[11:] == ["carriers", "sums:1", "sums:2"]
    assert [row[11] for row in rows] == ["s2:1", "s1:1,s2:2", "s1:2", "s1:1,s2:2", "s1:2,s2:1"]


def test_genes_of_some_samples(folder, vcf, tmp_path):  # noqa: F811
    (tmp_path / "samples.txt").write_text("s2\n")
    result = run(
        folder,
        *(*COMMON, str(vcf), "--gtf", "{0}/x.gtf", "--gene", "one", "--gene", "G2", "--output", str(tmp_path)),
        *("--samples", f"@{tmp_path}/samples.txt", "--part", "span"),
    )
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "haplotypes.h5") as file:
        assert texts(file["samples"]) == ["s2"]
        assert texts(file["name"]) == ["G1", "G1", "G2", "G2"]
        assert texts(file["strand"]) == ["+", "+", "-", "-"]
        assert file["row_of"][:].tolist() == [[[0, 1]], [[3, 2]]]
        assert file.attrs["part"] == "span"


def test_a_dry_run_counts_sequences(folder, vcf, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    result = run(folder, *COMMON, str(vcf), "c1:1401-1600", "--output", str(out), "--dry-run")
    assert result.exit_code == 0, result.output
    told, cost = result.stdout.splitlines()
    assert told == "1 regions, 2 samples, 3 sequences that differ"
    assert cost.startswith("6 windows, ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ((), 2, "give regions, or genes by --gtf"),
        (("c1", "--gtf", "{0}/x.gtf"), 2, "give regions, or genes by --gtf"),
        (("c1", "--part", "exons"), 2, "--part is about genes: give --gtf"),
        (("c1:1-9", "--samples", "s1,s3"), 1, "has the samples s1, s2; not s3"),
        (("c1:1-9", "--samples", "@{0}/no"), 2, "--samples @"),
        (("c9:1-9",), 1, "c9 is no contig of the genome"),
        (("c1:1-9", "--vcf", "{0}/x.vcf"), 1, "x.vcf: has no index"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(folder, vcf, tmp_path, change, status, problem):  # noqa: F811
    out = tmp_path / "out"
    result = run(folder, *COMMON, str(vcf), "--output", str(out), *change)
    assert result.exit_code == status
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_genotypes_without_a_phase_are_all_counted_before_the_first_prediction(folder, vcf, tmp_path):  # noqa: F811
    path = tmp_path / "y.vcf"
    pysam.bcftools.view("-o", str(path), str(vcf), catch_stdout=False)
    path.write_text(path.read_text().replace("0|1", "0/1"))
    pysam.tabix_index(str(path), preset="vcf", force=True)
    command = (*COMMON, f"{path}.gz", "c1:1401-1600", "c1:2951-3050", "--output", str(tmp_path / "out"))
    result = run(folder, *command)
    assert result.exit_code == 1
    assert "4 heterozygous genotypes have no phase, the first one chr1:1400 of s1" in result.stderr
    assert not (tmp_path / "out").exists()
    result = run(folder, *command, "--unphased", "skip")
    assert result.exit_code == 0
    assert "heterozygous genotypes without a phase, taken as the reference" in result.stdout
