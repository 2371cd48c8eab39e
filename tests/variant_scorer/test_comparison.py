"""What of a model's scores is kept for the next one."""

import resource

import h5py
import numpy as np
import pytest

from components.variant_scorer.comparison import keep_scores
from components.variant_scorer.reading import RANKED_BY


def write_scores(path):
    with h5py.File(path, "w") as file:
        text = h5py.string_dtype()
        file["target_ids"] = np.array(["a", "b"], dtype=text)
        file["target_labels"] = np.array(["", ""], dtype=text)
        file[RANKED_BY] = np.random.default_rng(0).normal(size=(20_000, 2)).astype("float32")
        file.attrs.update({"variants_sha256": "0" * 64, "strands": "both"})
    return path


def test_scores_are_kept_whole(tmp_path):
    scores = write_scores(tmp_path / "scores.h5")
    keep_scores(scores, tmp_path / "kept", "10")
    with h5py.File(scores) as made, h5py.File(tmp_path / "kept" / "10.h5") as kept:
        np.testing.assert_array_equal(kept[RANKED_BY][:], made[RANKED_BY][:])
        assert kept["target_ids"].asstr()[:].tolist() == ["a", "b"]
        assert dict(kept.attrs) == dict(made.attrs)


def test_no_room_is_one_error_and_leaves_nothing(tmp_path, capfd):
    scores = write_scores(tmp_path / "scores.h5")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*10\.h5"):
            keep_scores(scores, tmp_path / "kept", "10")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "kept").iterdir())
    assert capfd.readouterr().err == ""
