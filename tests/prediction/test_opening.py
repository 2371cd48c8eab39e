import json

import keras
import numpy as np
import pytest

from enformer_keras import Enformer, one_hot_encode
from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction import PredictedTrack, open_model

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
