import h5py
import numpy as np
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction import background
from enformer_keras.prediction.background import calibrate, read_background

ABOUT = {"model": "here", "fingerprint": "f1", "width": 0, "shifts": "[0, 1]"}


def write_scores(path, values, **about):
    with h5py.File(path, "w") as file:
        file["target_ids"] = np.array(["a", "b"], dtype=h5py.string_dtype())
        file["SAD"] = values.astype("float32")
        file["SAD"].attrs["formula"] = "sum(A - R)"
        file.attrs.update({**ABOUT, **about})
    return path


@pytest.fixture(params=[4096, 64], ids=["all scores", "some of them"])
def scored(request, monkeypatch, tmp_path):
    """A background, and the scores it was made of."""
    monkeypatch.setattr(background, "_MOST_POINTS", request.param)
    values = np.random.default_rng(1).normal(size=(1000, 2)) * [1, 10]
    values[5] = np.nan
    values[100:200, 0] = 0.5  # ties
    return calibrate(write_scores(tmp_path / "scores.h5", values), tmp_path / "background.h5"), values


def test_a_quantile_is_the_share_of_smaller_scores_with_the_sign(scored):
    made, values = scored
    known = np.abs(values[~np.isnan(values[:, 0])]).astype("float32")
    assert made.count == 999
    asked = np.array([[0.5, -3.0], [-2.0, 25.0], [1.9, np.nan]], dtype="float32")
    found = made.quantiles("SAD", asked, ["a", "b"])
    exact = len(made.shares) == 999
    for row, column in np.ndindex(asked.shape):
        x = abs(asked[row, column])
        share = ((known[:, column] < x).mean() + (known[:, column] <= x).mean()) / 2
        np.testing.assert_allclose(
            found[row, column], np.sign(asked[row, column]) * share, atol=1.1e-3 if exact else 0.03
        )
    np.testing.assert_array_equal(
        made.quantiles("SAD", asked[:, :1], ["b"]), made.quantiles("SAD", asked[:, [0, 0]], ["a", "b"])[:, 1:]
    )


def test_nothing_is_beyond_the_background(scored):
    made, _ = scored
    found = made.quantiles("SAD", np.array([[-1e9, 1e-9], [1e9, 0]]), ["a", "b"])
    np.testing.assert_allclose(found, [[-1 + 0.5 / 999, 0.5 / 999], [1 - 0.5 / 999, 0]], rtol=1e-6)


def test_other_models_options_tracks_and_statistics_are_refused(scored):
    made, _ = scored
    asked = {**ABOUT, "shifts": [0, 1], "model": "there"}
    made.check(asked, ["b"], ["SAD"])
    for change, words in (
        ({"fingerprint": "f2"}, "fingerprint='f1'"),
        ({"width": 512}, "width=0"),
        ({"genes": "g"}, "genes=None"),
    ):
        with pytest.raises(DatasetError, match=words):
            made.check({**asked, **change}, ["b"], ["SAD"])
    with pytest.raises(DatasetError, match="the track c"):
        made.check(asked, ["c"], ["SAD"])
    with pytest.raises(DatasetError, match="the statistic SAR"):
        made.check(asked, ["b"], ["SAR"])


def test_tracks_of_one_identifier_are_told_apart_by_their_places(tmp_path):
    values = np.random.default_rng(1).normal(size=(1000, 2)) * [1, 10]
    scores = write_scores(tmp_path / "scores.h5", values)
    apart = calibrate(scores, tmp_path / "apart.h5")
    with h5py.File(scores, "a") as file:
        file["target_ids"][:] = ["a", "a"]
    alike = calibrate(scores, tmp_path / "alike.h5")
    asked = np.array([[0.5, 0.5], [2.0, -2.0]], dtype="float32")
    found = alike.quantiles("SAD", asked, ["a", "a"])
    np.testing.assert_array_equal(found, apart.quantiles("SAD", asked, ["a", "b"]))
    alike.check(ABOUT, ["a", "a"], ["SAD"])
    with pytest.raises(DatasetError, match="has 2 tracks a, and nothing says which"):
        alike.check(ABOUT, ["a"], ["SAD"])


def test_what_is_no_background_is_named(tmp_path):
    few = write_scores(tmp_path / "scores.h5", np.ones((99, 2)))
    with pytest.raises(DatasetError, match="99 scored alleles"):
        calibrate(tmp_path, tmp_path / "background.h5")
    assert not list(tmp_path.glob("*background*"))
    with pytest.raises(DatasetError, match="is no background"):
        read_background(str(few))
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DatasetError, match=r"text\.h5: cannot be read"):
        calibrate(tmp_path / "text.h5", tmp_path / "background.h5")
    with pytest.raises(DatasetError, match=r"none\.h5: no such file"):
        calibrate(str(tmp_path / "none.h5"), tmp_path / "background.h5")
