"""Parquet and VCF of scores read back by what others read them with."""

import contextlib
import json
import os
import random

import numpy as np
import pandas
import pyarrow.parquet
import pysam
import pysam.bcftools
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.variants import Variant, VcfRecords, read_variants
from enformer_keras.prediction import score_files, score_vcf
from enformer_keras.prediction.alleles import Status
from enformer_keras.prediction.predictor import PredictedTrack, VariantScores
from enformer_keras.prediction.score_files import write_scores
from tests.prediction.counting_model import counting_predictor

BASES = "".join(random.Random(4).choices("ACGT", k=3000))
HEADER = (
    "##fileformat=VCFv4.3\n"
    '##FILTER=<ID=q10,Description="Quality below 10">\n'
    '##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">\n'
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="In dbSNP">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "{}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"
)


def other(base, step=1):
    return "ACGT"[("ACGT".index(base) + step) % 4]


def rows():
    def at(position):
        return BASES[position - 1]

    return [
        f"chr1\t900\trs1\t{at(900)}\t{other(at(900))}\t29.5\tPASS\tAF=0.25;DB\tGT\t0|1\t.",
        f"chr1\t1000\t.\t{at(1000)}\t{other(at(1000))},{other(at(1000), 2)},*\t.\tq10\tAF=0.1,0,1\tGT\t1|2\t0",
        f"chr1\t1100\trs3\t{at(1100)}\t.\t7\t.\t.\tGT\t0|0\t0/0",
        f"chr1\t1200\t.\t{at(1200)}\t{at(1200)}ACC\t.\t.\t.\tGT\t0|1\t1|1",
        f"chr1\t1300\t.\t{other(at(1300))}\tAC\t.\tPASS\tDB\tGT\t0|1\t1|1",
        "c2\t5\t.\tA\tC\t.\tPASS\tDB\tGT\t0|1\t1|1",
    ]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">1\n{BASES}\n>c2\nACGTACGTA\n>c3\nA\n")
    return Genome(path)


STATISTICS = ["SAD", "SAX"]
ABOUT = {"model": 'a "model"', "shifts": [0]}


@pytest.fixture(scope="module")
def predictor():
    predictor = counting_predictor("A", batch_size=1)
    predictor.tracks = (PredictedTrack(0, "CAGE:x y", 'of "x"', 1), PredictedTrack(1, "cage_x_y", "", 0))
    return predictor


def score(folder, path, genome, predictor, formats, tracks=(0, 1)):
    """Scores a file, part by part, as the command does."""
    records = VcfRecords(path) if "vcf" in formats else None
    alleles = iter(records) if records else read_variants(path)
    first = next(alleles)
    aliases = {"1": ("chr1",)}

    def all_alleles():
        yield first
        yield from alleles

    kept = [predictor.tracks[track] for track in tracks]
    files = write_scores(
        *(folder, formats, kept, STATISTICS, ABOUT),
        records=records,
        contig_lengths=genome.contig_lengths,
        contig_aliases=aliases,
    )
    with files as append:
        for part in predictor.score_in_parts(
            all_alleles(), genome, statistics=STATISTICS, tracks=tracks, contig_aliases=aliases
        ):
            append(part)
    if path == "-":
        return None
    return predictor.score_variants(path, genome, statistics=STATISTICS, tracks=tracks, contig_aliases=aliases)


@contextlib.contextmanager
def as_standard_input(path):
    before = os.dup(0)
    try:
        with path.open("rb") as file:
            os.dup2(file.fileno(), 0)
        yield "-"
    finally:
        os.dup2(before, 0)
        os.close(before)


def write_vcf(folder, contigs="", lines=None, name="x.vcf"):
    path = folder / name
    path.write_text(HEADER.format(contigs) + "".join(f"{line}\n" for line in lines or rows()))
    return path


def records_of(path):
    """What bcftools makes of a file: header lines, and cells of its records."""
    lines = pysam.bcftools.view("--no-version", str(path)).splitlines()
    records = [line.split("\t") for line in lines if not line.startswith("#")]
    return [line for line in lines if line.startswith("##")], records


KEYS = [
    "ENF_STATUS",
    *(f"ENF_{statistic}_{name}" for statistic in STATISTICS for name in ("CAGE_x_y_0", "cage_x_y_1")),
]


@pytest.mark.parametrize("kind", ["vcf", "vcf.gz", "bcf"])
def test_a_vcf_comes_back_with_scores_in_info_and_nothing_else_changed(tmp_path, genome, predictor, kind):
    contigs = "##contig=<ID=c2>\n##contig=<ID=chr1>\n" if kind == "bcf" else ""
    path = write_vcf(tmp_path, contigs)
    if kind != "vcf":
        mode = "b" if kind == "bcf" else "z"
        pysam.bcftools.view(
            "--no-version", "-O", mode, "-o", str(tmp_path / f"y.{kind}"), str(path), catch_stdout=False
        )
        path = tmp_path / f"y.{kind}"
    before = records_of(path)[1]
    expected = score(tmp_path / "new", path, genome, predictor, ["vcf"])
    assert {file.name for file in (tmp_path / "new").iterdir()} == {
        "scores.vcf.gz",
        "scores.vcf.gz.tbi",
        "skipped.tsv",
    }
    header, after = records_of(tmp_path / "new" / "scores.vcf.gz")
    assert len(after) == len(before) == 6
    row = 0
    for old, new in zip(before, after, strict=True):
        assert new[:7] + new[8:] == old[:7] + old[8:]
        fields = new[7].split(";")
        added = dict(field.split("=") for field in fields[-5:])
        assert list(added) == KEYS
        assert fields[:-5] == ([] if old[7] == "." else old[7].split(";"))
        alleles = old[4].split(",")
        alleles = range(row, row + len(alleles))
        if old[4] == ".":
            assert set(added.values()) == {"."}
        else:
            assert added["ENF_STATUS"].split(",") == [str(expected.statuses[n]) for n in alleles]
            for key, (statistic, track) in zip(
                KEYS[1:], ((statistic, track) for statistic in STATISTICS for track in range(2)), strict=True
            ):
                values = [float("nan") if text == "." else float(text) for text in added[key].split(",")]
                wanted = [expected.statistics[statistic][n, track] for n in alleles]
                np.testing.assert_allclose(values, wanted, rtol=1e-5)
        row += len(alleles)
    assert row == len(expected.variants)
    assert np.nanmax(np.abs(expected.statistics["SAD"])) > 0
    text = "\n".join(header)
    assert "##INFO=<ID=ENF_STATUS,Number=A,Type=String," in text
    meaning = "SAD = sum(A - R) of track CAGE:x y of 'x', model a 'model'"
    assert f'##INFO=<ID=ENF_SAD_CAGE_x_y_0,Number=A,Type=Float,Description="{meaning}">' in text
    assert "##enformer_shifts=[0]" in header
    named = [line for line in header if line.startswith("##contig")]
    if kind != "bcf":
        assert named == [
            "##contig=<ID=1,length=3000>",
            "##contig=<ID=chr1,length=3000>",
            "##contig=<ID=c2,length=9>",
            "##contig=<ID=c3,length=1>",
        ]
    else:
        assert any(line.startswith("##contig=<ID=c3,length=1") for line in named)
        assert not any("ID=1," in line for line in named)
    with pysam.VariantFile(str(tmp_path / "new" / "scores.vcf.gz")) as file:
        (found,) = file.fetch("chr1", 999, 1000)
        assert len(found.info["ENF_SAX_cage_x_y_1"]) == 3
        assert found.info["ENF_STATUS"] == ("scored", "scored", "not_acgt")


def test_records_that_are_not_sorted_have_no_index_nor_keep_a_former_one(tmp_path, genome, predictor):
    score(tmp_path, write_vcf(tmp_path), genome, predictor, ["vcf"])
    assert (tmp_path / "scores.vcf.gz.tbi").exists()
    lines = rows()
    for shuffled in (lines[::-1], [lines[0], lines[5], lines[1]]):
        score(tmp_path, write_vcf(tmp_path, lines=shuffled), genome, predictor, ["vcf"])
        assert [record[:5] for record in records_of(tmp_path / "scores.vcf.gz")[1]] == [
            line.split("\t")[:5] for line in shuffled
        ]
        assert not (tmp_path / "scores.vcf.gz.tbi").exists()


def test_what_no_vcf_can_hold_is_refused(tmp_path, genome, predictor, monkeypatch):
    contigs = '##INFO=<ID=ENF_SAX_CAGE_x_y,Number=A,Type=Float,Description="Mine">\n'
    path = write_vcf(tmp_path, contigs)
    with pytest.raises(DatasetError, match="annotate -x INFO/ENF_SAX_CAGE_x_y"):
        score(tmp_path / "new", path, genome, predictor, ["vcf"], tracks=[0])
    monkeypatch.setattr(score_vcf, "_MOST_COLUMNS", 3)
    with pytest.raises(
        DatasetError, match="2 statistics of 2 tracks are 4 INFO fields, 3 are the most; choose --tracks"
    ):
        score(tmp_path / "new", path, genome, predictor, ["vcf"])
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "x.tsv").write_text("chrom\tpos\tref\talt\n1\t5\tA\tC\n")
    with pytest.raises(DatasetError, match=r"x\.tsv: is a table"):
        VcfRecords(tmp_path / "x.tsv")


def test_records_of_the_standard_input_come_once(tmp_path, genome, predictor):
    path = write_vcf(tmp_path)
    score(tmp_path / "file", path, genome, predictor, ["vcf"])
    with as_standard_input(path) as source:
        score(tmp_path / "stdin", source, genome, predictor, ["vcf"])
    found = [(tmp_path / name / "scores.vcf.gz").read_bytes() for name in ("file", "stdin")]
    assert found[0] == found[1]


@pytest.mark.parametrize("group_rows", [1, 10**6])
def test_parquet_is_a_long_table(tmp_path, genome, predictor, group_rows, monkeypatch):
    monkeypatch.setattr(score_files, "_GROUP_ROWS", group_rows)
    expected = score(tmp_path, write_vcf(tmp_path), genome, predictor, ["parquet"])
    table = pandas.read_parquet(tmp_path / "scores.parquet")
    assert list(table.columns[:9]) == [
        *("variant_id", "gene_id", "gene_name", "gene_strand", "variant_scorer", "track_name", "track_strand"),
        *("raw_score", "quantile_score"),
    ]
    alleles = len(expected.variants)
    assert len(table) == alleles * 4
    assert table["variant_id"][::4].tolist() == [str(variant) for variant in expected.variants]
    assert table["id"][::4].tolist() == [variant.name for variant in expected.variants]
    assert table["status"][::4].tolist() == [str(status) for status in expected.statuses]
    assert table["variant_scorer"][:4].tolist() == ["SAD", "SAD", "SAX", "SAX"]
    assert table["track_name"][:4].tolist() == ["CAGE:x y", "cage_x_y"] * 2
    assert table["track_index"][:4].tolist() == [0, 1, 0, 1]
    assert table[["gene_id", "gene_name", "gene_strand", "track_strand", "quantile_score"]].isna().all().all()
    values = table["raw_score"].to_numpy().reshape(alleles, 2, 2)
    np.testing.assert_array_equal(values, np.stack([expected.statistics[name] for name in STATISTICS], axis=1))
    file = pyarrow.parquet.ParquetFile(tmp_path / "scores.parquet")
    assert file.num_row_groups == (1 if group_rows > 1 else 4)
    said = json.loads(file.schema_arrow.metadata[b"enformer"])
    assert said["shifts"] == [0]
    assert said["formulas"]["SAD"] == "sum(A - R)"


def test_quantiles_of_a_background_have_their_column(tmp_path, predictor):
    values = np.array([[1, np.nan]], np.float32)
    part = VariantScores(
        (Variant("1", 5, "A", "C"),),
        (Status.SCORED,),
        {"SAD": values, "SAD_quantile": values / 4},
        predictor.tracks,
    )
    with write_scores(tmp_path, ["parquet"], predictor.tracks, ["SAD", "SAD_quantile"], {}) as append:
        append(part)
    table = pandas.read_parquet(tmp_path / "scores.parquet")
    assert table["variant_scorer"].tolist() == ["SAD", "SAD"]
    assert table["quantile_score"][0] == 0.25
    assert table["quantile_score"].isna().tolist() == [False, True]


def test_genes_have_their_columns_in_parquet(tmp_path, predictor):
    variants = (Variant("1", 5, "A", "C"), Variant("1", 6, "A", "C"))
    further = {
        "gene_id": np.array(["G1", ""], dtype=object),
        "gene_name": np.array(["thrA", ""], dtype=object),
        "gene_strand": np.array(["-", ""], dtype=object),
        "tss_distance": np.array([7, np.nan]),
    }
    kinds = {"gene_id": str, "gene_name": str, "gene_strand": str, "tss_distance": np.float64}
    values = np.array([[1, 2], [np.nan, np.nan]], np.float32)
    part = VariantScores(variants, (Status.SCORED, Status.NO_GENE), {"SADR": values}, predictor.tracks, further)
    with write_scores(tmp_path, ["parquet", "tsv"], predictor.tracks, ["SADR"], {}, kinds) as append:
        append(part)
    table = pandas.read_parquet(tmp_path / "scores.parquet")
    assert table["gene_id"].fillna("none").tolist() == ["G1", "G1", "none", "none"]
    assert table["gene_name"][0] == "thrA"
    assert table["gene_strand"][:2].tolist() == ["-", "-"]
    assert table["tss_distance"].fillna(-1).tolist() == [7, 7, -1, -1]
    with (
        pytest.raises(ValueError, match="a row for each allele"),
        write_scores(tmp_path / "vcf", ["vcf"], predictor.tracks, ["SADR"], {}, kinds, records=VcfRecords("-")),
    ):
        pass
