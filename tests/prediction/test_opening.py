import json
import sys

import keras
import numpy as np
import pytest

from enformer_keras import (
    PRESETS,
    Enformer,
    load_pytorch_checkpoint,
    load_sonnet_checkpoint,
    one_hot_encode,
    pytorch_heads,
)
from enformer_keras.checkpoints.pytorch import pytorch_arguments
from enformer_keras.checkpoints.sonnet import sonnet_entries
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.prediction import PredictedTrack, Transformation, open_heads, open_model
from tests import golden
from tests.checkpoints import their_weights

BASES = "ACGTTGCA" * 128


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return Enformer(
        heads={"fly": 2, "ecoli": 4},
        channels=12,
        num_heads=1,
        num_transformer_layers=1,
        key_size=4,
        filters_divisible_by=4,
        sequence_length=1024,
        target_length=4,
    )


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run's folder with two pushed versions, of which the older is damaged."""
    run = tmp_path_factory.mktemp("run")
    rows = [
        {"index": 7 + at, "identifier": name, "description": f"{name} here", "strand_pair": 7 + pair}
        for at, (name, pair) in enumerate([("chip_1", 0), ("chip_2", 1), ("cds+", 3), ("cds-", 2)])
    ]
    of_fly = [{"index": at, "identifier": f"f{at}", "description": "", "strand_pair": at} for at in range(2)]
    old = {"organisms": {"ecoli": {"tracks": rows}, "fly": {"tracks": of_fly}}}
    for version, card in (("9", "{"), ("10", json.dumps(old))):
        extra = run / "pushed" / version / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "model.json").write_text(card)
    model.save(extra / "model.keras")
    return run


def test_a_pushed_model_knows_its_tracks_and_is_the_newest(model, run):
    expected = keras.ops.convert_to_numpy(model(one_hot_encode([BASES]))["ecoli"])
    for path in (run, run / "pushed", run / "pushed" / "10"):
        predictor = open_model(path, head="ecoli")
        assert [(t.index, t.identifier, t.strand_pair) for t in predictor.tracks] == [
            (0, "chip_1", 0),
            (1, "chip_2", 1),
            (2, "cds+", 3),
            (3, "cds-", 2),
        ]
        assert (predictor.frame.window_length, predictor.frame.target_length) == (1024, 4)
        np.testing.assert_allclose(predictor.predict([BASES], strands="forward"), expected, rtol=1e-5)


def test_a_keras_file_numbers_its_tracks_unless_they_are_given(model, run):
    path = run / "pushed/10/assets.extra/model.keras"
    assert [track.strand_pair for track in open_model(path, head="fly").tracks] == [0, 1]
    given = [PredictedTrack(0, "plus", "", 1), PredictedTrack(1, "minus", "", 0)]
    assert open_model(path, head="fly", tracks=given).tracks == tuple(given)
    with pytest.raises(ValueError, match="4 tracks, but 2 are described"):
        open_model(path, head="ecoli", tracks=given)


@pytest.mark.parametrize("head", [None, "human"])
def test_a_head_must_be_named_where_there_are_several(run, head):
    with pytest.raises(ValueError, match=r"heads \['ecoli', 'fly'\]"):
        open_model(run, head=head)


def test_what_is_no_model_or_a_damaged_one_is_named(run, tmp_path):
    with pytest.raises(DatasetError, match=r"9/assets\.extra/model\.json: cannot be read"):
        open_model(run / "pushed/9")
    with pytest.raises(DatasetError, match=r"nothing\.keras: no such file"):
        open_model(tmp_path / "nothing.keras")
    with pytest.raises(DatasetError, match="holds no pushed model"):
        open_model(tmp_path)
    (tmp_path / "cut.keras").write_bytes((run / "pushed/10/assets.extra/model.keras").read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"cut\.keras: cannot be read as a Keras model"):
        open_model(tmp_path / "cut.keras")
    with pytest.raises(DatasetError, match="is no model"):
        open_model(tmp_path / "model.ckpt")


def test_an_older_card_says_nothing_of_its_genome(run):
    card = open_model(run, head="fly").card
    assert (card.path, card.head) == (run / "pushed/10", "fly")
    assert (card.contig_lengths, card.sequence_sha256, card.lineage, card.averaging) == (None,) * 4
    with pytest.raises(ValueError, match=r"of track 0 \(f0\) its scale is not known, and so of 2 of 2"):
        open_model(run, head="fly", unscale=True)


@pytest.fixture(scope="module")
def pushed(model, tmp_path_factory):
    """A version with all that `model.json` says now."""
    version = tmp_path_factory.mktemp("pushed") / "3"
    how = {"sum_stat": "mean", "clip_soft": None, "clip": 32.0}
    organisms = {
        head: {
            "assembly": assembly,
            "contig_lengths": {"c1": 2000} if assembly else None,
            "sequence_sha256": "5e9" if assembly else None,
            "tracks": [
                {
                    "index": at,
                    "identifier": f"{head}{at}",
                    "description": "",
                    "strand_pair": at,
                    "scale": at + 2.0,
                }
                | how
                for at in range(model.heads[head])
            ],
        }
        for head, assembly in (("fly", None), ("ecoli", "ASM584v2"))
    }
    content = {
        "organisms": organisms,
        "code": {"version": "0.2.0", "fingerprint": "c0de"},
        "data_fingerprint": "da7a",
        "lineage": {"started_from": "scratch", "seed": 7, "step": 20},
        "averaging": {"shifts": [-1, 0], "strands": True},
    }
    (version / "assets.extra").mkdir(parents=True)
    (version / "assets.extra" / "model.json").write_text(json.dumps(content))
    model.save(version / "assets.extra" / "model.keras")
    return version


def test_a_card_tells_where_a_model_is_from(pushed):
    card = open_model(pushed, head="ecoli").card
    assert (card.assembly, card.contig_lengths, card.sequence_sha256) == ("ASM584v2", {"c1": 2000}, "5e9")
    assert card.code == {"version": "0.2.0", "fingerprint": "c0de"}
    assert (card.data_fingerprint, card.lineage["step"], card.averaging["shifts"]) == ("da7a", 20, [-1, 0])


def test_all_heads_open_at_once(pushed, model):
    heads = open_heads(pushed)
    expected = model(one_hot_encode([BASES]))
    assert heads.keys() == expected.keys()
    for head, predictor in heads.items():
        assert predictor.card.head == head
        assert predictor.tracks == open_model(pushed, head=head).tracks
        found = predictor.predict([BASES], strands="forward")
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected[head]), rtol=1e-5)


def test_values_in_the_files_units_are_those_of_the_model_by_scale(pushed):
    plain = open_model(pushed, head="ecoli").predict([BASES])
    found = open_model(pushed, head="ecoli", unscale=True).predict([BASES])
    np.testing.assert_allclose(found, plain / [2, 3, 4, 5], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"head": "human"}, r"has the heads \['ecoli', 'fly'\], not 'human'"),
        ({"head": "ecoli", "genome": "another"}, "contig c1 has 1999 bp, but 2000 bp"),
        ({"head": "ecoli", "dtype": "float64"}, "dtype='float64' must be one of float32, tf32, bfloat16"),
        ({"head": "ecoli", "preset": "large"}, "preset='large' must be one of paper"),
        ({"head": "ecoli", "tracks_table": "short.txt"}, "head ecoli has 4 tracks, but 1 are described"),
        ({"head": "ecoli", "tracks_table": "no.txt"}, r"no\.txt: no such file"),
        ({"head": "ecoli", "tracks_table": "wrong.txt"}, r"wrong\.txt: line 2: strand_pair: .*integer"),
        ({"head": "ecoli", "tracks_table": "short.txt", "tracks": []}, "give one"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(pushed, tmp_path, monkeypatch, options, problem):
    monkeypatch.setattr(keras.saving, "load_model", None)
    header = "index\tidentifier\tstrand_pair\n"
    (tmp_path / "short.txt").write_text(f"{header}0\tENC1\t0\n")
    (tmp_path / "wrong.txt").write_text(f"{header}0\tENC1\tx\n")
    (tmp_path / "x.fa").write_text(f">c1\n{'A' * 1999}\n")
    if "genome" in options:
        options = options | {"genome": Genome(tmp_path / "x.fa")}
    if "tracks_table" in options:
        options = options | {"tracks_table": tmp_path / options["tracks_table"]}
    with pytest.raises(ValueError, match=problem):
        open_model(pushed, **options)


def test_a_table_of_tracks_says_what_a_file_does_not(run, tmp_path):
    """basenji's, whose second organism does not count from 0; the scale `mean` is no number."""
    path = run / "pushed/10/assets.extra/model.keras"
    (tmp_path / "targets.txt").write_text(
        "\tgenome\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription\n"
        "53\t1\tCNhs1+\tx.w5\t384\t\t0.5\tsum\t54\tCAGE:5' liver\n"
        "54\t1\tCNhs1-\tx.w5\t384\t32\tmean\tsum\t53\tCAGE:5' liver\n"
    )
    tracks = open_model(path, head="fly", tracks_table=tmp_path / "targets.txt").tracks
    assert tracks == (
        PredictedTrack(0, "CNhs1+", "CAGE:5' liver", 1, Transformation(0.5, "sum", None, 384)),
        PredictedTrack(1, "CNhs1-", "CAGE:5' liver", 0, Transformation(None, "sum", 32, 384)),
    )
    with pytest.raises(ValueError, match=r"of track 1 \(CNhs1-\) its scale is not known, and so of 1 of 2"):
        open_model(path, head="fly", tracks_table=tmp_path / "targets.txt", unscale=True)


def test_it_computes_in_the_type_that_is_asked_for(run, model):
    path = run / "pushed/10/assets.extra/model.keras"
    expected = keras.ops.convert_to_numpy(model(one_hot_encode([BASES]))["fly"])
    for dtype, stored in (("bfloat16", "bfloat16"), ("mixed_bfloat16", "float32")):
        predictor = open_model(path, head="fly", dtype=dtype)
        layer = predictor.model.get_layer("tower_0_conv")
        assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", stored)
    found = predictor.predict([BASES], strands="forward")
    assert found.dtype == np.float32
    assert 1e-6 < np.abs(found / expected - 1).max() < 0.1


def test_a_tower_in_pieces_opens_whole_so_that_it_can_be_reused(tmp_path, model):
    model.with_tower_pieces(4).save(tmp_path / "cut.keras")
    whole = open_model(tmp_path / "cut.keras", head="fly")
    assert whole.model.get_layer("tower_5_pool").output.shape == (None, 8, 12)
    expected = keras.ops.convert_to_numpy(model(one_hot_encode([BASES]))["fly"])
    np.testing.assert_allclose(whole.predict([BASES], strands="forward"), expected, rtol=1e-5)


def test_weights_of_enformer_pytorch_open_with_a_preset_or_their_configuration(tmp_path, monkeypatch):
    pytest.importorskip("safetensors", reason="the file's format is that of this package")
    folder = their_weights.write(tmp_path, their_weights.predictions(), "small")
    sizes = pytorch_arguments(folder) | {"sequence_length": 2048}
    monkeypatch.setitem(PRESETS, "small", sizes)
    direct = Enformer(**sizes, heads=pytorch_heads(folder))
    with pytest.warns(UserWarning, match="will differ"):
        predictor = open_model(folder, head="human", preset="small")
    assert (len(predictor.tracks), predictor.frame.window_length) == (3, 2048)
    with pytest.warns(UserWarning, match="will differ"):
        load_pytorch_checkpoint(direct, folder)
    for found, weight in zip(predictor.model.weights, direct.head_model("human").weights, strict=True):
        np.testing.assert_array_equal(found, weight)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dim": 48}))
    with pytest.raises(ValueError, match=r"does not fit the model(.|\n)*stem\.0\.weight|_trunk\.1\.0\.weight"):
        open_model(folder, head="human")
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config\.json beside it .* give preset="):
        open_model(folder, head="human")


def test_a_file_whose_reader_is_not_installed_says_which(tmp_path, monkeypatch):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    for name, missing in (("pytorch_model.bin", "torch"), ("model.ckpt", "tensorflow")):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(DatasetError, match=rf"{name}: .*{missing}"):
            open_model(tmp_path / name, preset="tiny")


def test_a_damaged_checkpoint_is_named(tmp_path):
    pytest.importorskip("tensorflow", reason="the checkpoint's file format needs TensorFlow")
    (tmp_path / "model.ckpt.index").write_bytes(b"no index" * 20)
    with pytest.raises(DatasetError, match=r"model\.ckpt: cannot be read .* fetch the checkpoint again"):
        open_model(tmp_path / "model.ckpt", preset="tiny")
    with pytest.raises(ValueError, match="give preset="):
        open_model(tmp_path / "model.ckpt")


def test_the_authors_checkpoint_opens_with_a_preset_and_a_table_of_tracks(tmp_path):
    pytest.importorskip("tensorflow", reason="the checkpoint's file format needs TensorFlow")
    direct = Enformer.from_preset("tiny", heads={"human": 2, "mouse": 1})
    shapes = {}
    for key, _, shape in sonnet_entries(direct):
        shapes[key] = shape
        if key.endswith("/average"):
            shapes |= {key.replace("average", state): shape for state in ("_counter", "_hidden")}
    golden.write_checkpoint(tmp_path / "model.ckpt", shapes)
    load_sonnet_checkpoint(direct, tmp_path / "model.ckpt")
    (tmp_path / "targets.txt").write_text("index\tidentifier\tscale\n0\tENC0\t2\n1\tENC1\t4\n")
    predictor = open_model(
        tmp_path / "model.ckpt",
        preset="tiny",
        head="human",
        tracks_table=tmp_path / "targets.txt",
        unscale=True,
    )
    assert [track.identifier for track in predictor.tracks] == ["ENC0", "ENC1"]
    bases = BASES * 2
    expected = keras.ops.convert_to_numpy(direct(one_hot_encode([bases]))["human"]) / [2, 4]
    np.testing.assert_allclose(predictor.predict([bases], strands="forward"), expected, rtol=1e-5)
