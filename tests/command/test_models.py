"""What the command says of a model, and how it opens one, in this process."""

import json
import shutil

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from enformer_command.info import info
from enformer_command.main import main
from enformer_keras import PRESETS, Enformer
from enformer_keras.checkpoints.pytorch import pytorch_arguments
from enformer_keras.formats.fasta import Genome
from enformer_keras.prediction.opening import DTYPES
from tests.checkpoints import their_weights

BASES = "".join(np.random.default_rng(6).choice(list("ACGT"), 3000))
HEADS = {"ecoli": ["chip_1", "cds"], "yeast": ["cds"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pushed version of two heads, its genome, and one of another strain."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(1)
    sizes = {"num_heads": 1, "num_transformer_layers": 1, "key_size": 4, "filters_divisible_by": 4}
    heads = {head: len(names) for head, names in HEADS.items()}
    extra = folder / "pushed" / "7" / "assets.extra"
    extra.mkdir(parents=True)
    Enformer(12, heads=heads, sequence_length=1024, target_length=4, **sizes).save(extra / "model.keras")
    (folder / "genome.fa").write_text(f">c1\n{BASES}\n")
    (folder / "strain.fa").write_text(f">c1\n{BASES[:-5]}\n")
    (folder / "snp.fa").write_text(f">c1\n{'A' if BASES[0] != 'A' else 'C'}{BASES[1:]}\n")
    genome = Genome(folder / "genome.fa")
    organisms = {
        head: {
            "assembly": "ASM584v2" if head == "ecoli" else None,
            "contig_lengths": genome.contig_lengths if head == "ecoli" else None,
            "sequence_sha256": genome.sha256() if head == "ecoli" else None,
            "tracks": [
                {"index": at, "identifier": name, "description": f"{name} of {head}", "strand_pair": at}
                | {"scale": 0.5, "sum_stat": "mean", "clip_soft": None, "clip": None}
                for at, name in enumerate(names)
            ],
        }
        for head, names in HEADS.items()
    }
    content = {
        "organisms": organisms,
        "code": {"version": "0.2.0", "fingerprint": "c0de"},
        "data_fingerprint": "da7a",
        "lineage": {"started_from": "scratch", "seed": 7, "step": 20},
        "averaging": {"shifts": [-1, 0], "strands": True},
    }
    (extra / "model.json").write_text(json.dumps(content))
    return folder


def run(folder, *arguments):
    return CliRunner().invoke(main, [argument.format(folder) for argument in arguments])


def test_info_tells_of_all_heads_unless_one_is_named(folder):
    found = json.loads(run(folder, "info", "{0}", "--json").stdout)
    assert found["model"] == str(folder / "pushed" / "7")
    assert found["lineage"] == {"started_from": "scratch", "seed": 7, "step": 20}
    assert found["averaging"] == {"shifts": [-1, 0], "strands": True}
    assert (found["code"]["version"], found["data_fingerprint"]) == ("0.2.0", "da7a")
    assert {head: one["assembly"] for head, one in found["heads"].items()} == {
        "ecoli": "ASM584v2",
        "yeast": None,
    }
    ecoli = found["heads"]["ecoli"]
    assert (ecoli["contig_lengths"], len(ecoli["sequence_sha256"])) == ({"c1": 3000}, 64)
    tracks = [(track["identifier"], track["scale"]) for track in ecoli["tracks"]]
    assert tracks == [("chip_1", 0.5), ("cds", 0.5)]
    one = json.loads(run(folder, "info", "{0}", "--json", "--head", "yeast").stdout)
    assert one["heads"] == {"yeast": found["heads"]["yeast"]}


def test_info_in_words(folder):
    words = run(folder, "info", "{0}").stdout
    for part in ("1024 bp", "step 20", "ASM584v2", "c1 3000 bp", "both strands", "2 tracks", "cds of yeast"):
        assert part in words
    assert "4 bins of 128 bp from 256 bp of the window on" in words
    some = run(folder, "info", "{0}", "--tracks", "re:chip").stdout
    assert "chip_1 of ecoli" in some
    assert "cds of" not in some
    none = run(folder, "info", "{0}", "--tracks", "dnase")
    assert (none.exit_code, "no track" in none.stderr) == (2, True)


@pytest.mark.parametrize(
    ("fasta", "status", "words"),
    [
        ("genome.fa", 0, "head ecoli: the same genome"),
        ("snp.fa", 0, "head ecoli: lengths agree, names or bases differ"),
        ("strain.fa", 0, "head yeast: MODEL does not say its genome"),
    ],
)
def test_info_compares_a_genome(folder, fasta, status, words):
    result = run(folder, "info", "{0}", "--fasta", f"{{0}}/{fasta}")
    assert result.exit_code == status
    assert words in result.stderr
    assert run(folder, "info", "{0}", "--head", "ecoli", "--fasta", "{0}/strain.fa").exit_code == 1


def score(folder, output, *options, fasta="genome.fa"):
    variant = f"c1:1500:{BASES[1499]}>{'A' if BASES[1499] != 'A' else 'C'}"
    command = ("score", "{0}", "--head", "ecoli", "--variant", variant, "--fasta", f"{{0}}/{fasta}")
    return run(folder, *command, "--output", str(output), *options)


def test_another_strain_is_scored_only_where_that_is_said(folder, tmp_path):
    refused = score(folder, tmp_path / "a", fasta="strain.fa")
    assert refused.exit_code == 1
    for part in ("strain.fa: contig c1 has 2995 bp", "3000 bp", "ASM584v2", "--any-genome"):
        assert part in refused.stderr
    assert not (tmp_path / "a").exists()
    assert score(folder, tmp_path / "a", "--any-genome", fasta="strain.fa").exit_code == 0


def test_files_tell_of_the_model_and_values_come_in_the_files_units(folder, tmp_path):
    assert score(folder, tmp_path / "a").exit_code == 0
    assert score(folder, tmp_path / "b", "--unscale", "--dtype", "float32").exit_code == 0
    with h5py.File(tmp_path / "a" / "scores.h5") as plain, h5py.File(tmp_path / "b" / "scores.h5") as units:
        assert plain["SAD"][0].all()
        np.testing.assert_allclose(units["SAD"][:], 2 * plain["SAD"][:], rtol=1e-5)
        said = dict(plain.attrs)
        assert said["model"] == str(folder / "pushed" / "7")
        assert (said["head"], said["trained_on"], said["trained_by"]) == ("ecoli", "ASM584v2", "0.2.0")
        assert (said["step"], said["values"], said["dtype"]) == (20, "as predicted", "as saved")
        assert (units.attrs["values"], units.attrs["dtype"]) == ("in the units of the tracks' files", "float32")


def test_a_table_names_the_tracks_of_a_file(folder, tmp_path):
    shutil.copy(folder / "pushed/7/assets.extra/model.keras", tmp_path / "alone.keras")
    (tmp_path / "targets.txt").write_text("index\tidentifier\tdescription\n5\tENC5\tDNASE\n9\tENC9\tCAGE\n")
    command = ("info", str(tmp_path / "alone.keras"), "--tracks-table", str(tmp_path / "targets.txt"), "--head")
    assert "1\tENC9\t1\t\tCAGE" in run(folder, *command, "ecoli").stdout.splitlines()
    wrong = run(folder, *command, "yeast")
    assert wrong.exit_code == 1
    assert "head yeast has 1 tracks, but 2 are described" in wrong.stderr
    unscaled = run(folder, *command, "ecoli", "--unscale")
    assert unscaled.exit_code == 1
    assert "its scale is not known" in unscaled.stderr


def test_where_predictions_will_differ_is_said_in_a_line(tmp_path, monkeypatch):
    pytest.importorskip("safetensors", reason="the file's format is that of this package")
    weights = their_weights.write(tmp_path, their_weights.predictions(), "small")
    monkeypatch.setitem(PRESETS, "small", pytorch_arguments(weights) | {"sequence_length": 2048})
    result = run(tmp_path, "info", "{0}", "--preset", "small", "--head", "mouse")
    assert result.exit_code == 0, result.output
    assert "head\tmouse: 2 tracks" in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"enformer: warning: {tmp_path}/model.safetensors: the table of the reference's")


def test_the_types_that_can_be_asked_for_are_the_library_s():
    (option,) = (option for option in info.params if option.name == "dtype")
    assert tuple(option.type.choices) == DTYPES
