"""Weights to begin with, from every place that they may lie in."""

import json

import keras
import numpy as np
import pytest

from components.trainer.training import MODEL_CARD, TRAINABLE_MODEL
from components.trainer.warm_start import (
    LAST_BLESSED,
    SCRATCH,
    check_start,
    find_start,
    fingerprint_start,
    start_from,
)
from enformer_keras import Enformer
from tests import golden
from tests.trainer.tiny_training import MODEL

TRACKS = {"human": ["a", "b"], "mouse": ["c"]}


def make_model(**changes):
    return Enformer(**{**MODEL, "heads": {head: len(tracks) for head, tracks in TRACKS.items()}, **changes})


def weights_of(model, *beginnings):
    return {
        weight.path: weight.numpy()
        for layer in model.layers
        if layer.name.startswith(beginnings)
        for weight in layer.weights
    }


def assert_started(model, other, heads):
    """The trunk and these heads are the other's, the other heads are not."""
    taken = ("stem", "tower", "transformer", "final_pointwise", *(f"head_{head}" for head in heads))
    expected = weights_of(other, *taken)
    found = weights_of(model, *taken)
    assert all("_lora_" in path for path in found.keys() - expected.keys())
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value)
    for head in model.heads.keys() & other.heads.keys() - set(heads):
        fresh, theirs = (weights_of(one, f"head_{head}")[f"head_{head}/kernel"] for one in (model, other))
        assert fresh.shape != theirs.shape or (fresh != theirs).any()


def test_nothing_to_start_from():
    model = make_model()
    before = weights_of(model, "")
    assert start_from(model, "", TRACKS) == SCRATCH
    for path, value in weights_of(model, "").items():
        np.testing.assert_array_equal(value, before[path])


def test_the_last_blessed_model_is_the_newest_that_was_pushed(tmp_path, caplog):
    caplog.set_level("INFO")
    for folder in (tmp_path / "nowhere", tmp_path):
        assert find_start(LAST_BLESSED, folder) == ""
        assert f"no model was blessed and pushed to {folder} yet" in caplog.text
    for version in ("9", "10", ".partial"):
        (tmp_path / version).mkdir()
    assert find_start(LAST_BLESSED, tmp_path) == str(tmp_path / "10")
    assert find_start("before.keras", tmp_path) == "before.keras"


def test_from_a_keras_file_of_another_window_and_other_heads(tmp_path, caplog):
    caplog.set_level("INFO")
    other = make_model(heads={"human": 2, "mouse": 3}, sequence_length=512)
    source = str(tmp_path / "before.keras")
    other.save(source)
    model = make_model(dtype="mixed_bfloat16", frozen_statistics=True, lora_rank=2)
    assert start_from(model, source, TRACKS) == source
    assert_started(model, other, ["human"])
    assert "its heads: human; fresh heads: mouse" in caplog.text


def test_a_pushed_model_says_whose_tracks_its_heads_predict(tmp_path):
    other = make_model()
    (tmp_path / TRAINABLE_MODEL).parent.mkdir()
    other.save(tmp_path / TRAINABLE_MODEL)
    organisms = {
        "human": {"tracks": [{"identifier": "b"}, {"identifier": "a"}]},
        "mouse": {"tracks": [{"identifier": "c"}]},
    }
    (tmp_path / MODEL_CARD).write_text(json.dumps({"organisms": organisms}))
    model = make_model()
    assert start_from(model, str(tmp_path), TRACKS) == str(tmp_path)
    assert_started(model, other, ["mouse"])  # the human head's tracks came in another order


def test_from_the_authors_checkpoint(tmp_path):
    prefix = str(tmp_path / "golden")
    golden.write_checkpoint(prefix, golden.description()["variables"])
    config = golden.description()["config"]
    sizes = {key: value for key, value in config.items() if key not in ("batch", "seed")}
    model = Enformer(**{**sizes, "heads": {"mouse": config["heads"]["mouse"], "mine": 2}})
    tracks = {head: [str(track) for track in range(count)] for head, count in model.heads.items()}
    assert start_from(model, prefix, tracks) == prefix
    predicted = model.predict(golden.one_hot(), verbose=0)
    np.testing.assert_allclose(predicted["mouse"], golden.arrays()["eval/mouse"], rtol=0, atol=1e-5)


def test_what_cannot_be_started_from(tmp_path):
    for source in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.keras"):
        with pytest.raises(FileNotFoundError, match=f"no model to start from at {source}"):
            start_from(make_model(), str(source), TRACKS)
    wide = str(tmp_path / "wide.keras")
    make_model(channels=48).save(wide)
    with pytest.raises(
        ValueError, match=r"cannot start from .*wide\.keras: .*\n  stem_conv/bias: \(12,\) here, \(24,\)"
    ):
        start_from(make_model(), wide, TRACKS)
    other = str(tmp_path / "other.keras")
    inputs = keras.Input((1,))
    keras.Model(inputs, inputs).save(other)
    with pytest.raises(ValueError, match="is a Functional; give the file of an Enformer"):
        start_from(make_model(), other, TRACKS)


def test_what_is_damaged_is_named_with_a_cure(tmp_path):
    file = tmp_path / "before.keras"
    make_model().save(file)
    whole = file.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1  # in the weights, of which Keras verifies nothing
    for content in (b"no model\n", whole[: len(whole) // 2], bytes(altered)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"before\.keras: is damaged, or was not saved by Keras .*give"):
            start_from(make_model(), str(file), TRACKS)
    prefix = str(tmp_path / "golden")
    golden.write_checkpoint(prefix, golden.description()["variables"])
    index = tmp_path / "golden.index"
    index.write_bytes(index.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"golden: is damaged, or not whole .*fetch the checkpoint again"):
        start_from(make_model(), prefix, TRACKS)


def test_a_start_is_looked_at_in_a_process_of_its_own(tmp_path):
    check_start("", MODEL, TRACKS)
    wide = str(tmp_path / "wide.keras")
    make_model(channels=48).save(wide)
    with pytest.raises(
        ValueError, match=r"cannot start from .*wide\.keras: .*\n  stem_conv/bias: \(12,\) here"
    ):
        check_start(wide, {**MODEL, "heads": {"human": 2, "mouse": 1}}, TRACKS)


def test_other_weights_have_another_fingerprint(tmp_path):
    files = [tmp_path / f"{number}.keras" for number in range(2)]
    for file in files:
        make_model().save(file)
    assert (
        fingerprint_start(str(files[0])) == fingerprint_start(str(files[0])) != fingerprint_start(str(files[1]))
    )
    prefix = str(tmp_path / "golden[1]")  # no pattern
    golden.write_checkpoint(prefix, golden.description()["variables"])
    before = fingerprint_start(prefix)
    (data,) = (file for file in tmp_path.iterdir() if ".data-" in file.name)
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    assert fingerprint_start(prefix) != before
