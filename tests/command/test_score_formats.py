"""Formats of `enformer score`; what is in the files is tested with the library."""

import h5py
import numpy as np
import pandas
import pyBigWig
import pysam.bcftools
import pytest

from tests.command import test_command
from tests.command.test_command import BASES, SCORE, run

folder = test_command.folder  # a fixture


def test_all_formats_at_once_agree(folder, tmp_path):
    kinds = [part for kind in ("h5", "tsv", "parquet", "vcf") for part in ("--format", kind)]
    options = (*kinds, "--tracks-out", "bigwig", "--tracks", "1", "--statistics", "SAD,REF,ALT")
    result = run(folder, *SCORE, str(tmp_path), *options)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        *("scores.h5", "scores.tsv", "scores.parquet", "scores.vcf.gz", "scores.vcf.gz.tbi"),
        *("skipped.tsv", "tracks"),
    }
    with h5py.File(tmp_path / "scores.h5") as file:
        expected = {name: file[name][:, 0] for name in ("SAD", "REF", "ALT")}
    table = pandas.read_parquet(tmp_path / "scores.parquet")
    for name, values in expected.items():
        np.testing.assert_array_equal(table.raw_score[table.variant_scorer == name], values)
    lines = pysam.bcftools.view("-H", str(tmp_path / "scores.vcf.gz")).splitlines()
    fields = [dict(field.split("=") for field in line.split("\t")[7].split(";")) for line in lines]
    texts = [field["ENF_SAD_1"] for field in fields]
    written = [np.nan if text == "." else float(text) for text in texts]
    np.testing.assert_allclose(written, expected["SAD"], rtol=1e-5)
    assert [field["ENF_STATUS"] for field in fields] == ["scored", "not_acgt", "scored", "scored"]
    for allele, statistic in (("ref", "REF"), ("alt", "ALT")):
        name = f"first_c1_1000_{BASES[999]}_{BASES[999]}A.1.{allele}.bw"
        with pyBigWig.open(str(tmp_path / "tracks" / name)) as file:
            found = file.intervals("c1")
        assert found[-1][1] - found[0][0] == 512
        assert found[0][0] < 1000 < found[-1][1]
        np.testing.assert_allclose(sum(value for _, _, value in found), expected[statistic][0], rtol=1e-5)
    # Nothing of them is replaced unasked.
    for path in list(tmp_path.iterdir()):
        if path.is_file():
            path.unlink()
    refused = run(folder, *SCORE, str(tmp_path), *options)
    assert refused.exit_code == 2
    assert "tracks/" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (("--variant", f"c1:5:{BASES[4]}>AA", "--format", "vcf"), 2, "--format vcf: adds to the records"),
        (("{0}/x.vcf", "--gtf", "{0}/x.gtf", "--format", "vcf"), 2, "--format vcf is of alleles"),
        (("{0}/x.vcf", "--gtf", "{0}/x.gtf", "--tracks-out", "h5"), 2, "--tracks-out is of alleles"),
        (("{0}/x.tsv", "--format", "vcf"), 1, "x.tsv: is a table"),
        (("{0}/many.vcf", "--tracks-out", "bigwig"), 1, "at most 100 alleles; choose fewer alleles, or h5"),
    ],
)
def test_what_a_format_cannot_do_is_said_before_the_model_is_loaded(
    folder,
    tmp_path,
    arguments,
    status,
    problem,
    monkeypatch,
):
    monkeypatch.setattr("enformer_keras.open_model", lambda *_, **__: pytest.fail("too late"))
    (folder / "x.tsv").write_text(f"chrom\tpos\tref\talt\nc1\t5\t{BASES[4]}\tAA\n")
    head, _ = (folder / "x.vcf").read_text().split("c1\t1000", 1)
    (folder / "many.vcf").write_text(head + f"c1\t1000\t.\t{BASES[999]}\tAA\t.\t.\t.\n" * 101)
    command = ["score", "{0}/model.keras", "--fasta", "{0}/genome.fa", "--output", str(tmp_path), *arguments]
    result = run(folder, *command)
    assert result.exit_code == status, result.output
    assert problem in result.stderr
    assert list(tmp_path.iterdir()) == []
