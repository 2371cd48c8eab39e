"""`enformer predict`; where tiles lie and what files hold is tested with the library."""

import functools
import json

import h5py
import keras
import numpy as np
import pyBigWig
import pytest
from click.testing import CliRunner

import enformer_keras
from enformer_command.main import main
from enformer_keras import Enformer, open_model
from enformer_keras.formats.intervals import Interval

# Two contigs, in an order that is not that of their names; one ends within a bin.
CONTIGS = {
    name: "".join(np.random.default_rng(seed).choice(list("ACGT"), length))
    for seed, (name, length) in enumerate({"z": 1300, "a": 600}.items())
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    keras.utils.set_random_seed(2)
    sizes = {
        "channels": 12,
        "num_heads": 1,
        "num_transformer_layers": 1,
        "key_size": 4,
        "filters_divisible_by": 4,
    }
    Enformer(heads={"ecoli": 3}, sequence_length=1024, target_length=4, **sizes).save(folder / "model.keras")
    (folder / "genome.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases in CONTIGS.items()))
    (folder / "x.bed").write_text("z\t600\t700\na\t10\t20\nchrz\t5\t6\n")
    (folder / "whole.fa").write_text(
        f">s2 a word\n{CONTIGS['z'][:1024]}\n>s1\n{CONTIGS['z'][200:1224].lower()}\n"
    )
    (folder / "short.fa").write_text(f">s\n{CONTIGS['a']}\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _opened_once():
    """A model is compiled once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        opened = functools.cache(open_model)
        patch.setattr("enformer_keras.open_model", lambda path, **_: opened(path, batch_size=2))
        yield


def run(folder, output, *arguments):
    command = ["predict", "{0}/model.keras", "--output", str(output), "--batch-size", "2", *arguments]
    return CliRunner().invoke(main, [argument.format(folder) for argument in command])


GENOME = ("--fasta", "{0}/genome.fa")


def read_all(path):
    """(contig, start, end) -> value."""
    with pyBigWig.open(str(path)) as file:
        return {
            (contig, start, end): value
            for contig in file.chroms()
            for start, end, value in file.intervals(contig) or ()
        }


def test_bigwigs_of_a_genome_are_what_predict_says_of_each_window(folder, tmp_path):
    result = run(folder, tmp_path / "new", *GENOME, "--all", "--tracks", "0", "--tracks", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout == "5 windows, 2 tracks, 3 files\n"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"0.bw", "2.bw", "predict.json"}
    predictor = enformer_keras.open_model(folder / "model.keras")
    for track in (0, 2):
        expected = {}
        for contig, bases in CONTIGS.items():
            targets = [Interval(contig, start, start + 512) for start in range(0, len(bases), 512)]
            values = predictor.predict(targets, folder / "genome.fa", tracks=[track])[..., 0].ravel()
            for number, start in enumerate(range(0, len(bases), 128)):
                expected[contig, start, min(start + 128, len(bases))] = values[number]
        found = read_all(tmp_path / "new" / f"{track}.bw")
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(list(found.values()), [expected[place] for place in found], rtol=1e-5)
    said = json.loads((tmp_path / "new" / "predict.json").read_text())
    assert (said["regions"], said["strands"], said["bin_size"]) == ("all contigs", "both", 128)
    assert said["genome"].endswith("genome.fa")
    # Of some regions the same numbers, whichever are asked for, by whichever name, in bins that they touch.
    some = run(
        folder, tmp_path / "some", *GENOME, "{0}/x.bed", "z:1,200-1,300", "--alias", "z=chrz", "--tracks", "2"
    )
    assert some.exit_code == 0, some.output
    part = read_all(tmp_path / "some" / "2.bw")
    assert [place[:2] for place in part] == [
        ("z", 0),
        ("z", 512),
        ("z", 640),
        ("z", 1152),
        ("z", 1280),
        ("a", 0),
    ]
    assert all(found[place] == value for place, value in part.items())


def test_centred_windows_have_a_row_each_in_the_order_given(folder, tmp_path):
    arguments = ("z:601-700", "a", "z:601-700", "--centred", "--strands", "forward", "--shifts=-1,1")
    result = run(folder, tmp_path, *GENOME, *arguments, "--format", "h5", "--format", "npz")
    assert result.exit_code == 0, result.output
    regions = [Interval("z", 600, 700), Interval("a", 0, 600), Interval("z", 600, 700)]
    asked = {"strands": "forward", "shifts": [-1, 1]}
    expected = enformer_keras.open_model(folder / "model.keras").predict(regions, folder / "genome.fa", **asked)
    with h5py.File(tmp_path / "predict.h5") as file, np.load(tmp_path / "predict.npz") as arrays:
        np.testing.assert_allclose(file["preds"][:], expected, rtol=1e-5)
        np.testing.assert_array_equal(arrays["preds"], file["preds"][:])
        assert file["start"][:].tolist() == [394, 44, 394]
        assert file["end"][:].tolist() == [906, 556, 906]
        assert file.attrs["shifts"] == "[-1, 1]"


def test_sequences_need_no_genome(folder, tmp_path):
    result = run(folder, tmp_path, "--sequences", "{0}/whole.fa")
    assert result.exit_code == 0, result.output
    sequences = [CONTIGS["z"][:1024], CONTIGS["z"][200:1224]]
    expected = enformer_keras.open_model(folder / "model.keras").predict(sequences)
    with h5py.File(tmp_path / "predict.h5") as file:
        np.testing.assert_allclose(file["preds"][:], expected, rtol=1e-5)
        assert [name.decode() for name in file["chrom"][:]] == ["s2", "s1"]
        assert file["start"][:].tolist() == [256, 256]
        assert "genome" not in file.attrs
    refused = run(folder, tmp_path / "short", "--sequences", "{0}/short.fa")
    assert refused.exit_code == 1
    assert "short.fa: s has 600 bp, the model reads 1024: give --pad" in refused.stderr
    padded = run(folder, tmp_path / "short", "--sequences", "{0}/short.fa", "--pad")
    assert padded.exit_code == 0, padded.output
    expected = enformer_keras.open_model(folder / "model.keras").predict(["N" * 212 + CONTIGS["a"] + "N" * 212])
    with h5py.File(tmp_path / "short" / "predict.h5") as file:
        np.testing.assert_allclose(file["preds"][:], expected, rtol=1e-5)
        assert (file["start"][0], file["end"][0]) == (44, 556)


def test_a_dry_run_counts_and_writes_nothing(folder, tmp_path):
    result = run(folder, tmp_path / "new", *GENOME, "--all", "--dry-run", "--shifts", "0,1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("5 rows or tiles, 3 tracks, 4 files\n20 windows, ")
    assert not (tmp_path / "new").exists()


def test_what_is_there_stays_unless_it_may_go(folder, tmp_path):
    assert run(folder, tmp_path, *GENOME, "a", "--tracks", "1").exit_code == 0
    (tmp_path / "predict.json").unlink()
    before = (tmp_path / "1.bw").read_bytes()
    refused = run(folder, tmp_path, *GENOME, "z", "--tracks", "1")
    assert refused.exit_code == 2
    assert "1.bw: is there" in refused.stderr
    assert (tmp_path / "1.bw").read_bytes() == before
    assert run(folder, tmp_path, *GENOME, "z", "--tracks", "1", "--overwrite").exit_code == 0
    assert (tmp_path / "1.bw").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        ((*GENOME,), 2, "give regions, or --all, or --sequences"),
        ((*GENOME, "z", "--all"), 2, "give regions, or --all, or --sequences"),
        (("z",), 2, "give --fasta"),
        (("--sequences", "{0}/whole.fa", *GENOME), 2, "leave --fasta"),
        (("--sequences", "{0}/whole.fa", "--shifts", "0,1"), 2, "--shifts need"),
        (("--sequences", "{0}/no.fa"), 1, "no.fa: no such FASTA file"),
        ((*GENOME, "z", "--pad"), 2, "--pad is for --sequences"),
        ((*GENOME, "z", "--centred", "--format", "bigwig"), 2, "--format bigwig: windows of their own"),
        ((*GENOME, "chrz:1-5"), 1, "give --alias z=chrz"),
        ((*GENOME, "z:1-1301"), 1, "ends past the contig's end at 1300"),
        ((*GENOME, "{0}/x.bed"), 1, "x.bed: line 3: chrz is no contig"),
        ((*GENOME, "{0}/model.keras"), 1, "model.keras: cannot be read"),
        (("--fasta", "{0}/x.bed", "z"), 1, "x.bed: "),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(
    folder, tmp_path, arguments, status, problem, monkeypatch
):
    monkeypatch.setattr("enformer_keras.open_model", lambda *_, **__: pytest.fail("too late"))
    result = run(folder, tmp_path, *arguments)
    assert result.exit_code == status, result.output
    assert problem in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_halfway_leaves_no_file(folder, tmp_path):
    (folder / "odd.fa").write_text(f">z\n{CONTIGS['z'][:1290]}!{CONTIGS['z'][1291:]}\n")
    result = run(folder, tmp_path, "--fasta", "{0}/odd.fa", "--all", "--format", "h5", "--format", "bigwig")
    assert result.exit_code == 1
    assert "position 1291 (1-based) is '!'" in result.stderr
    assert list(tmp_path.iterdir()) == []
