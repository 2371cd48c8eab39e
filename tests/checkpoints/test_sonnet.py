"""Checkpoints of TensorFlow that are not the authors'; theirs is read in tests/model/test_golden.py."""

import pytest

from enformer_keras import open_model, sonnet_heads

tf = pytest.importorskip("tensorflow")


def test_a_checkpoint_of_another_layout_is_told_by_its_heads(tmp_path):
    prefix = tf.train.Checkpoint(kernel=tf.Variable([1.0])).write(str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"other: holds no head .*: is it of the authors' layout"):
        sonnet_heads(prefix)
    with pytest.raises(ValueError, match="holds no head"):
        open_model(prefix, preset="tiny")
