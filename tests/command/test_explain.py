"""`enformer contributions` and `enformer ism`; what the numbers are is tested with the library."""

import json

import h5py
import keras
import numpy as np
import pyBigWig
import pytest
from click.testing import CliRunner

from enformer_command.main import main
from enformer_keras import Enformer, open_model
from enformer_keras.formats.intervals import Interval

BASES = "".join(np.random.default_rng(6).choice(list("ACGT"), 3000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    keras.utils.set_random_seed(1)
    sizes = {
        "channels": 12,
        "num_heads": 1,
        "num_transformer_layers": 1,
        "key_size": 4,
        "filters_divisible_by": 4,
    }
    Enformer(heads={"ecoli": 3}, sequence_length=512, target_length=2, **sizes).save(folder / "model.keras")
    (folder / "genome.fa").write_text(f">c1\n{BASES}\n")
    (folder / "peaks.bed").write_text("chr1\t2000\t2080\tb\nchr1\t1000\t1040\ta\n")
    (folder / "x.tsv").write_text(f"chrom\tpos\tref\talt\nc1\t1501\t{BASES[1500]}\t.\nc1\t1601\t.\t.\n")
    return folder


def run(folder, *arguments):
    return CliRunner().invoke(main, [argument.format(folder) for argument in arguments])


@pytest.fixture(scope="module")
def predictor(folder):
    """Compiled once."""
    return open_model(folder / "model.keras", batch_size=2)


MODEL = ("{0}/model.keras", "--fasta", "{0}/genome.fa", "--alias", "c1=chr1", "--batch-size", "2", "--output")


def test_contributions_are_what_the_library_says_in_each_format(folder, predictor, tmp_path):
    options = ("--tracks", "0", "--tracks", "2", "--statistic", "SAR", "--length", "20", "--width", "128")
    formats = [part for kind in ("h5", "npz", "bigwig") for part in ("--format", kind)]
    method = ("--method", "integrated-gradients", "--steps", "3")
    result = run(
        folder, "contributions", *MODEL, str(tmp_path / "new"), *options, *method, *formats, "{0}/peaks.bed"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == "2 regions of 20 bp, 2 tracks\n"
    regions = [Interval("c1", 2030, 2050), Interval("c1", 1010, 1030)]
    expected = list(
        predictor.contributions(
            regions,
            folder / "genome.fa",
            method="integrated_gradients",
            statistic="SAR",
            tracks=[0, 2],
            width=128,
            steps=3,
        )
    )
    with h5py.File(tmp_path / "new" / "contributions.h5") as file:
        hypothetical = file["shap/seq"][:]
        np.testing.assert_array_equal(hypothetical, [made.hypothetical for made in expected])
        assert file["start"][:].tolist() == [2030, 1010]
        assert file.attrs["explained"] == "mean over tracks of sum(log2(1 + x)) over the bins x"
        assert file.attrs["method"] == "integrated_gradients"
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "contributions.npz")["arr_0"], hypothetical)
    with pyBigWig.open(str(tmp_path / "new" / "contributions.bw")) as file:
        values = file.values("c1", 1010, 1030, numpy=True)
        np.testing.assert_array_equal(values, expected[1].projected.sum(axis=0))
    said = json.loads((tmp_path / "new" / "contributions.json").read_text())
    assert said["completeness_error"]["largest"] == pytest.approx(
        max(made.completeness_error for made in expected)
    )
    assert said["tracks"] == ["0", "2"]
    assert (said["strands"], said["steps"]) == ("both", 3)


def test_ism_is_what_the_library_says(folder, predictor, tmp_path):
    options = ("--statistics", "SAD,ALT", "--tracks", "1", "--format", "h5", "--format", "tsv")
    result = run(folder, "ism", *MODEL, str(tmp_path), *options, "c1:1,001-1,006", "chr1:2001-2006")
    assert result.exit_code == 0, result.output
    assert result.stdout == "2 regions, 36 changes, 1 tracks\n"
    expected = list(
        predictor.saturation_mutagenesis(
            [Interval("c1", 1000, 1006), Interval("c1", 2000, 2006)],
            folder / "genome.fa",
            statistics=("SAD", "ALT"),
            tracks=[1],
        )
    )
    with h5py.File(tmp_path / "ism.h5") as file:
        for name in ("SAD", "ALT"):
            np.testing.assert_array_equal(file[name][:], [made.effects[name] for made in expected])
        assert file.attrs["windows"] == "one about each region's middle"
    assert len([line for line in (tmp_path / "ism.tsv").open() if not line.startswith("##")]) == 1 + 36


def test_screened_ism_has_estimates_of_all_and_scores_of_the_best(folder, predictor, tmp_path):
    options = ("--statistics", "SADR", "--tracks", "1", "--screen", "4", "--format", "h5", "--format", "tsv")
    result = run(folder, "ism", *MODEL, str(tmp_path), *options, "c1:1,001-1,006", "chr1:2001-2006")
    assert result.exit_code == 0, result.output
    assert result.stdout == "2 regions, 8 changes scored, 1 tracks\n"
    expected = list(
        predictor.saturation_mutagenesis(
            [Interval("c1", 1000, 1006), Interval("c1", 2000, 2006)],
            folder / "genome.fa",
            statistics=("SADR",),
            tracks=[1],
            screen=4,
        )
    )
    with h5py.File(tmp_path / "ism.h5") as file:
        np.testing.assert_array_equal(file["SADR"][:], [made.effects["SADR"] for made in expected])
        estimates = file["SADR_first_order"]
        np.testing.assert_array_equal(estimates[:], [made.first_order["SADR"] for made in expected])
        assert "gradient of log2(1 + sum(x))" in estimates.attrs["formula"]
        assert file.attrs["screen"] == 4
        assert np.isfinite(file["SADR"][:]).sum() == 2 * (6 + 4)  # the genome's own bases are 0
    header, *rows = [line.split("\t") for line in (tmp_path / "ism.tsv").open() if not line.startswith("##")]
    assert header[5:] == ["SADR:1", "SADR_first_order:1\n"]
    assert len(rows) == 36
    assert sum(row[5] != "" for row in rows) == 8
    assert all(row[6] != "\n" for row in rows)


def test_ism_about_variants_and_of_deletions(folder, tmp_path):
    about = ("--variants", "{0}/x.tsv", "--flank", "2")
    result = run(folder, "ism", *MODEL, str(tmp_path), *about, "--deletions", "3")
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "ism.h5") as file:
        assert file["start"][:].tolist() == [1498, 1598]
        assert file["SAD"].shape == (2, 3, 3)
        assert file.attrs["deletion"] == 3


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("ism", "--length", "10"), "up to 124 windows"),  # (30 + 1) changes in 2 regions, on two strands
        (("ism", "--length", "10", "--window-per-base"), "up to 240 windows"),
        # 3 changes of each of 2 regions, their references twice, on two strands; a gradient for each strand
        (("ism", "--length", "10", "--screen", "3", "--tracks", "0"), "up to 20 windows and 4 gradients"),
        (("contributions", "--length", "10", "--method", "integrated-gradients"), "136 predictions"),
    ],
)
def test_a_dry_run_counts_and_writes_nothing(folder, tmp_path, command, told):
    result = run(folder, command[0], *MODEL, str(tmp_path / "new"), *command[1:], "--dry-run", "{0}/peaks.bed")
    assert result.exit_code == 0, result.output
    assert told in result.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("command", "status", "problem"),
    [
        (("contributions", "{0}/peaks.bed"), 1, "--length"),
        (("contributions", "c1:1-20", "--method", "deeplift"), 2, "attention"),
        (("contributions", "c1:1-20", "--statistic", "D1"), 2, "SADR"),
        (("contributions", "c1:1-600"), 1, "in parts"),
        (("ism", "c1:1-20", "--screen", "3"), 2, "--tracks"),
        (
            ("ism", "c1:1-20", "--screen", "3", "--tracks", "0", "--statistics", "JSD"),
            2,
            "JSD: has no gradient",
        ),
        (("ism", "c1:1-20", "--screen", "3", "--tracks", "0", "--deletions", "2"), 2, "screen or deletion"),
        (("contributions", "c1:1-20", "--width", "300"), 1, "256 bp"),
        (("ism", "{0}/peaks.bed"), 1, "--format tsv"),
        (("ism",), 2, "regions, or --variants"),
        (("ism", "c1:1-20", "--variants", "{0}/x.tsv"), 2, "regions, or --variants"),
        (("ism", "c1:1-300"), 1, "in parts"),
        (("ism", "c1:1-20", "--statistics", "SUM"), 2, "SADR"),
        (("ism", "c2:1-20"), 1, "no contig of the genome"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(folder, tmp_path, command, status, problem):
    result = run(folder, command[0], *MODEL, str(tmp_path), *command[1:])
    assert result.exit_code == status
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_stay(folder, tmp_path):
    (tmp_path / "contributions.json").write_text("mine")
    result = run(folder, "contributions", *MODEL, str(tmp_path), "c1:1-20", "--format", "bigwig")
    assert result.exit_code == 2
    assert (tmp_path / "contributions.json").read_text() == "mine"
