"""`enformer genes` and `enformer score --gtf`; what the numbers are is tested with the library."""

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from enformer_command.main import main
from enformer_keras import Enformer, open_model
from enformer_keras.formats.variants import read_variants

BASES = "".join(np.random.default_rng(5).choice(list("ACGT"), 5000))
GTF = (
    'chr1\tx\texon\t1501\t1600\t.\t+\t.\tgene_id "G1"; gene_name "one"; gene_type "lncRNA";\n'
    'chr1\tx\texon\t2901\t3100\t.\t-\t.\tgene_id "G2"; gene_name "two"; gene_type "protein_coding";\n'
    'chr1\tx\tCDS\t3901\t4700\t.\t+\t.\tgene_id "G3"; gene_type "protein_coding";\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genes")
    keras.utils.set_random_seed(1)
    sizes = {
        "channels": 12,
        "num_heads": 1,
        "num_transformer_layers": 1,
        "key_size": 4,
        "filters_divisible_by": 4,
    }
    Enformer(heads={"ecoli": 3}, sequence_length=1024, target_length=4, **sizes).save(folder / "model.keras")
    (folder / "genome.fa").write_text(f">c1\n{BASES}\n")
    (folder / "x.gtf").write_text(GTF)
    lines = [f"c1\t{at}\t.\t{BASES[at - 1]}\t{BASES[at - 1]}A\t.\t.\t." for at in (1550, 2000, 3200)]
    head = "##fileformat=VCFv4.3\n##contig=<ID=c1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "x.vcf").write_text(head + "\n".join(lines) + "\n")
    return folder


def run(folder, *arguments):
    return CliRunner().invoke(main, [argument.format(folder) for argument in arguments])


COMMON = ("{0}/model.keras", "--fasta", "{0}/genome.fa", "--gtf", "{0}/x.gtf", "--alias", "c1=chr1", "--output")
SCORE = ("score", COMMON[0], "{0}/x.vcf", *COMMON[1:])
ALIASES = {"c1": ("chr1",)}


def texts(dataset):
    return [text.decode() for text in dataset[:]]


def test_expression_of_genes(folder, tmp_path):
    options = ("--format", "h5", "--format", "tsv", "--part", "exons", "--tracks", "1", "--tracks", "2")
    result = run(folder, "genes", *COMMON, str(tmp_path), *options)
    assert result.exit_code == 0, result.output
    assert (
        result.stdout
        == "3 genes, exons of 2 from exon, exons of 1 from CDS, 1 covered in part, 0 not covered\n"
    )
    expected = open_model(folder / "model.keras").predict_genes(
        folder / "genome.fa", folder / "x.gtf", part="exons", tracks=[1, 2], contig_aliases=ALIASES
    )
    with h5py.File(tmp_path / "genes.h5") as file:
        np.testing.assert_array_equal(file["expression"][:], expected.sums)
        assert file["expression"].attrs["formula"] == "sum(R) over the gene's bins"
        assert texts(file["gene_id"]) == ["G1", "G2", "G3"]
        assert texts(file["gene_name"]) == ["one", "two", "G3"]
        assert texts(file["target_ids"]) == ["1", "2"]
        assert file["gene_tss"][:].tolist() == [1501, 3100, 3901]
        assert file["start"][:].tolist() == [1500, 2900, 3900]
        assert file["covered"][2] < 1
        assert file.attrs["part"] == "exons"
        assert file.attrs["exons_from"] == '{"exon": 2, "CDS": 1}'
    lines = (tmp_path / "genes.tsv").read_text().splitlines()
    header, *rows = [line.split("\t") for line in lines if not line.startswith("##")]
    assert header[-2:] == ["expression:1", "expression:2"]
    np.testing.assert_array_equal(np.array([row[-2:] for row in rows], np.float32), expected.sums)


def test_effects_on_genes(folder, tmp_path):
    result = run(folder, *SCORE, str(tmp_path), "--format", "h5", "--format", "tsv")
    assert result.exit_code == 0, result.output
    assert result.stdout == "scored 2, no_gene 1\n"
    expected = open_model(folder / "model.keras").score_genes(
        list(read_variants(folder / "x.vcf")), folder / "genome.fa", folder / "x.gtf", contig_aliases=ALIASES
    )
    with h5py.File(tmp_path / "scores.h5") as file:
        np.testing.assert_array_equal(file["SADR"][:], expected.statistics["SADR"])
        assert texts(file["gene_id"]) == ["G1", "", "G2"]
        assert texts(file["gene_strand"]) == ["+", "", "-"]
        np.testing.assert_array_equal(file["tss_distance"][:], expected.further["tss_distance"])
        assert file.attrs["part"] == "tss"
    lines = (tmp_path / "scores.tsv").read_text().splitlines()
    header, *rows = [line.split("\t") for line in lines if not line.startswith("##")]
    assert header[5:12] == ["status", *expected.further]
    assert rows[0][5:10] == ["scored", "G1", "one", "+", "1501"]
    assert rows[1][5:] == ["no_gene", "", "", "", "0", "", "", "", "", ""]
    assert rows[2][9:11] == ["3100", "-101"]
    assert (tmp_path / "skipped.tsv").read_text().count("no_gene") == 1


def test_a_dry_run_counts_genes_and_windows(folder, tmp_path):
    out = str(tmp_path / "out")
    result = run(folder, *SCORE, out, "--dry-run", "--distance", "1000")
    assert result.exit_code == 0, result.output
    counts, cost = result.stdout.splitlines()
    assert counts == "scored 3, outside_window 1"
    # Two genes' references and three insertions from either anchor, on two strands.
    assert cost.startswith("2 genes, 16 windows, ")
    result = run(folder, "genes", *COMMON, out, "--dry-run", "--gene", "two", "--gene", "G3")
    assert result.stdout.startswith("2 genes, 0 covered in part, 0 not covered\n4 windows, ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "change", "status", "problem"),
    [
        ("genes", ("--gtf", "{0}/no.gtf"), 1, "no.gtf: no such file"),
        ("genes", ("--gene", "three"), 1, "three: the id or name of none of 3 genes"),
        ("genes", ("--gene", "@{0}/no"), 2, "--gene @"),
        ("genes", ("--biotype", "tRNA"), 1, "lncRNA, protein_coding"),
        ("genes", ("--shifts", "0,64"), 1, "half of a bin"),
        ("score", ("--gtf", "{0}/no.gtf"), 1, "no.gtf: no such file"),
        ("score", ("--width", "128"), 2, "--part"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(folder, tmp_path, command, change, status, problem):
    whole = SCORE if command == "score" else ("genes", *COMMON)
    result = run(folder, *whole, str(tmp_path), *change)
    assert result.exit_code == status
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [("--part", "exons"), ("--distance", "5"), ("--sense",), ("--gene", "x")])
def test_options_of_genes_need_genes(folder, tmp_path, change):
    command = ("score", "{0}/model.keras", "{0}/x.vcf", "--fasta", "{0}/genome.fa", "--output", str(tmp_path))
    result = run(folder, *command, *change)
    assert result.exit_code == 2
    assert f"{change[0]} is about genes: give --gtf" in result.stderr
    result = run(folder, "genes", "{0}/model.keras", "--fasta", "{0}/genome.fa", "--output", str(tmp_path))
    assert result.exit_code == 2
    assert "give --gtf" in result.stderr


def test_other_names_of_contigs_are_cured_by_an_option(folder, tmp_path):
    command = ["genes", "no model", "--fasta", "{0}/genome.fa", "--gtf", "{0}/x.gtf", "--output", str(tmp_path)]
    result = CliRunner().invoke(main, [text.format(folder) for text in command])
    assert result.exit_code == 1
    assert "it names chr1" in result.stderr
    assert "(here: --alias CONTIG=NAME)" in result.stderr
