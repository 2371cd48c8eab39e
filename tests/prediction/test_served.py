"""SavedModels that answer as the authors' published one does, made of TensorFlow alone."""

import sys

import numpy as np
import pytest

from enformer_keras import one_hot_encode, open_model
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction import open_heads

BINS = 4
BASES = "".join(np.random.default_rng(4).choice(list("ACGTN"), 2048))


def save(folder, length, batch=None, heads=("human", "mouse"), answer=dict, bins=BINS):
    """Bins about the centre count A and C; `human` has them as tracks 0 and 1, `mouse` has A alone."""
    tf = pytest.importorskip("tensorflow")

    def count(one_hot):
        start = (tf.shape(one_hot)[1] - BINS * 128) // 2
        target = tf.reshape(one_hot[:, start : start + BINS * 128], [-1, BINS, 128, 4])
        counts = tf.reduce_sum(target, axis=2)
        found = {"human": counts[..., :2] * served.weight, "mouse": counts[..., :1]}
        return answer({head: found[head][:, :bins] for head in heads})

    served = tf.Module()
    served.weight = tf.Variable(1.0)
    served.model = tf.Module()
    signature = [tf.TensorSpec([batch, length, 4], tf.float32)]
    served.model.predict_on_batch = tf.function(count, input_signature=signature)
    tf.saved_model.save(served, str(folder))
    return folder


@pytest.mark.parametrize("length", [2048, 1024])
def test_bins_lie_about_the_centre_of_what_it_takes(tmp_path, length):
    predictor = open_model(save(tmp_path, length), head="human", batch_size=2)
    assert (predictor.frame.window_length, predictor.frame.target_length) == (length, BINS)
    assert predictor.frame.crop == (length - BINS * 128) // 2
    assert (predictor.card.head, len(predictor.tracks)) == ("human", 2)
    bases = BASES[:length]
    target = bases[predictor.frame.crop : length - predictor.frame.crop]
    expected = [[target[at : at + 128].count(base) for base in "AC"] for at in range(0, BINS * 128, 128)]
    found = predictor.predict([bases, "N" * length, bases], strands="forward")
    np.testing.assert_array_equal(found, [expected, np.zeros((BINS, 2)), expected])


def test_an_interval_s_bins_are_where_the_frame_says(tmp_path):
    """Letters of the genome under each bin, by a string."""
    predictor = open_model(save(tmp_path / "model", 1024), head="mouse")
    (tmp_path / "x.fa").write_text(f">c\n{BASES}\n")
    found = predictor.predict([Interval("c", 1000, 1064)], tmp_path / "x.fa", strands="forward")[0]
    first = (1000 + 1064) // 2 - BINS * 64
    assert found[:, 0].tolist() == [BASES[at : at + 128].count("A") for at in range(first, first + 512, 128)]


def test_a_window_that_is_not_said_is_found_by_a_call(tmp_path):
    heads = open_heads(save(tmp_path, None))
    assert {head: len(one.tracks) for head, one in heads.items()} == {"human": 2, "mouse": 1}
    assert heads["mouse"].frame.window_length == 393_216
    found = heads["mouse"].predict(["A" * 393_216], strands="forward")
    np.testing.assert_array_equal(found, np.full((1, BINS, 1), 128))


def test_it_may_take_a_number_of_windows_of_its_own(tmp_path):
    predictor = open_model(save(tmp_path, 1024, batch=3, heads=["mouse"]), batch_size=8)
    assert predictor.batch_size == 3
    found = predictor.predict([BASES[:1024]] * 4, strands="forward")
    assert found.shape == (4, BINS, 1)
    assert (found == found[0]).all()


def test_its_values_can_be_given_in_the_files_units(tmp_path):
    folder = save(tmp_path / "model", 1024)
    (tmp_path / "targets.txt").write_text(
        "index\tidentifier\tclip\tscale\tsum_stat\tdescription\n9\tENC1\t32\t2\tmean\tDNASE\n"
    )
    options = {"head": "mouse", "tracks_table": tmp_path / "targets.txt"}
    predictor = open_model(folder, unscale=True, **options)
    assert predictor.tracks[0].identifier == "ENC1"
    plain = open_model(folder, **options).model.predict_on_batch(one_hot_encode([BASES[:1024]]))
    found = predictor.model.predict_on_batch(one_hot_encode([BASES[:1024]]))
    np.testing.assert_array_equal(found, plain / 2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"answer": lambda found: found["human"]}, "gives no dict of heads"),
        ({"bins": 3, "length": 896 + 129}, "do not lie about the centre of 1025 bp"),
    ],
)
def test_one_that_answers_otherwise_is_refused(tmp_path, options, problem):
    folder = save(tmp_path, **{"length": 1024} | options)
    with pytest.raises(DatasetError, match=problem):
        open_model(folder, head="human")


def test_what_it_cannot_do_is_said(tmp_path, monkeypatch):
    folder = save(tmp_path, 1024)
    with pytest.raises(ValueError, match="do without dtype"):
        open_model(folder, head="human", dtype="float32")
    (folder / "saved_model.pb").write_bytes(b"cut")
    with pytest.raises(DatasetError, match="cannot be read as a SavedModel"):
        open_model(folder, head="human")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DatasetError, match=r"TensorFlow alone can read; install enformer-keras\[tensorflow\]"):
        open_model(folder, head="human")
