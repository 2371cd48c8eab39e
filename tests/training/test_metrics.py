"""Pearson's correlation and R² of tracks against float64."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from enformer_keras import R2, PearsonR


def truth(y, p):
    """Pearson's r and R² of each track in float64; [..., tracks] pooled."""
    y, p = (np.reshape(x, (-1, x.shape[-1])).astype("float64") for x in (y, p))
    dy, dp = y - y.mean(0), p - p.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # constant tracks
        r = (dy * dp).sum(0) / np.sqrt((dy**2).sum(0) * (dp**2).sum(0))
        return {PearsonR: r, R2: 1 - ((y - p) ** 2).sum(0) / (dy**2).sum(0)}


def raw_sums(batches):
    """Pearson's r from sums, squares and products about zero, in float32 throughout."""
    n = sy = sp = syy = spp = syp = np.float32(0)
    for y, p in batches:
        y, p = y.reshape(-1, y.shape[-1]), p.reshape(-1, p.shape[-1])
        n = n + np.float32(len(y))
        sy, sp, syy, spp, syp = (
            total + values.sum(0, dtype="float32")
            for total, values in ((sy, y), (sp, p), (syy, y * y), (spp, p * p), (syp, y * p))
        )
    return (syp - sy * sp / n) / np.sqrt((syy - sy * sy / n) * (spp - sp * sp / n))


def coverage(num_batches=60, num_tracks=3):
    """Batches of 1 to 4 examples with coverage of 1e4, standard deviation 30, and predictions of it."""
    rng = np.random.default_rng(0)
    batches = []
    for i in range(num_batches):
        shared, noise = rng.normal(size=(2, rng.integers(1, 5), 50, num_tracks))
        y = 1e4 + 25 * shared + 15 * np.sin(i / 9)
        p = y + 20 * noise
        batches.append((y.astype("float32"), p.astype("float32")))
    return batches


def updated(metric, batches):
    for y, p in batches:
        metric.update_state(y, p)
    return metric


def per_track(metric):
    return ops.convert_to_numpy(metric.per_track())


def result(metric):
    return float(ops.convert_to_numpy(metric.result()))


@pytest.fixture(params=[PearsonR, R2])
def kind(request):
    return request.param


def test_float32_suffices_far_from_zero(kind):
    batches = coverage()
    expected = truth(*map(np.concatenate, zip(*batches, strict=True)))
    metric = updated(kind(), batches)
    # Means near 1e4 are kept to 1e-3, a 30,000th of the standard deviation.
    np.testing.assert_allclose(per_track(metric), expected[kind], rtol=0, atol=3e-5)
    assert result(metric) == pytest.approx(expected[kind].mean(), abs=3e-5)
    # What centring is for: sums about zero, of the same numbers in the same precision, lose r.
    assert np.abs(raw_sums(batches) - expected[PearsonR]).max() > 1e-2


def test_tracks_without_a_figure_are_left_out(kind):
    ((y, p),) = coverage(num_batches=1)
    y[..., 0] = 0.1  # no float32, nor a mean of many, is exactly a tenth
    metric = updated(kind(), [(y, p)] * 3)
    np.testing.assert_array_equal(np.isnan(per_track(metric)), [True, False, False])
    assert result(metric) == pytest.approx(truth(y, p)[kind][1:].mean(), abs=3e-5)
    # A constant prediction has no correlation, but an R².
    p[..., 1] = y[..., 1].mean() + 1
    metric = updated(kind(), [(y, p)])
    np.testing.assert_array_equal(np.isnan(per_track(metric)), [True, kind is PearsonR, False])
    assert np.isnan(result(updated(kind(), [(np.ones((1, 5, 2)), np.ones((1, 5, 2)))])))


def test_a_prediction_that_is_not_a_number_is_not_left_out(kind):
    ((y, p),) = coverage(num_batches=1)
    p[0, 0, 0] = np.nan
    metric = updated(kind(), [(y, p), *coverage(num_batches=2)])
    np.testing.assert_array_equal(np.isnan(per_track(metric)), [True, False, False])
    assert np.isnan(result(metric))


def test_no_data(kind):
    assert np.isnan(result(kind()))
    assert np.isnan(result(kind(num_tracks=2)))
    with pytest.raises(ValueError, match="num_tracks"):
        kind().per_track()
    batches = coverage(num_batches=2)
    with_nothing = updated(kind(), [batches[0], (np.zeros((0, 50, 3)), np.zeros((0, 50, 3))), batches[1]])
    np.testing.assert_array_equal(per_track(with_nothing), per_track(updated(kind(), batches)))


def test_merged_state_is_that_of_one_pass(kind):
    batches = coverage(num_batches=9)
    merged = kind()
    merged.merge_state([updated(kind(), batches[:2]), kind(), kind(3), updated(kind(), batches[2:])])
    np.testing.assert_allclose(per_track(merged), per_track(updated(kind(), batches)), rtol=0, atol=3e-5)
    with pytest.raises(ValueError, match="2 tracks into 3"):
        merged.merge_state([kind(2)])
    with pytest.raises(ValueError, match="cannot merge Mean into"):
        merged.merge_state([keras.metrics.Mean()])


def test_reset(kind):
    first, second = coverage(num_batches=2)
    metric = updated(kind(), [first])
    metric.reset_state()
    assert np.isnan(result(metric))
    np.testing.assert_array_equal(per_track(updated(metric, [second])), per_track(updated(kind(), [second])))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(kind, dtype):
    rng = np.random.default_rng(0)
    y = rng.normal(300.0, 50.0, size=(4, 500, 2)).astype("float32")
    p = ops.cast(y + rng.normal(0.0, 20.0, size=y.shape), dtype)
    rounded = ops.convert_to_numpy(ops.cast(p, "float32"))
    metric = updated(kind(), [(y, p)])
    np.testing.assert_allclose(per_track(metric), truth(y, rounded)[kind], rtol=0, atol=1e-5)


def test_what_cannot_be(kind):
    with pytest.raises(ValueError, match="num_tracks"):
        kind(num_tracks=0)
    with pytest.raises(ValueError, match=r"num_tracks must be a positive integer or None, got 1\.5"):
        kind(num_tracks=1.5)
    metric = kind(num_tracks=2)
    with pytest.raises(ValueError, match=r"of 2 tracks was given 3"):
        metric.update_state(np.ones((1, 4, 3)), np.ones((1, 4, 3)))
    with pytest.raises(ValueError, match=r"\(1, 4, 1\) and y_pred \(1, 4, 2\)"):
        metric.update_state(np.ones((1, 4, 1)), np.ones((1, 4, 2)))
    with pytest.raises(ValueError, match="not in `weighted_metrics`"):
        metric.update_state(np.ones((1, 4, 2)), np.ones((1, 4, 2)), sample_weight=np.ones((1, 4)))


def test_survives_serialization(kind):
    for metric in (kind(), kind(num_tracks=3, name="other")):
        copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert copy.get_config() == metric.get_config()
        assert len(copy.variables) == len(metric.variables)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_compiled_model_and_after_loading_it(tmp_path, jit_compile):
    """Two heads, three batches of which the last is smaller; then saved, loaded and evaluated again."""
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("torch's compiler is not for small tests")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 6, 4)).astype("float32")
    y = {"human": x[..., :2] + rng.normal(size=(10, 6, 2)), "mouse": rng.normal(size=(10, 6, 3))}
    inputs = keras.Input((None, 4))
    heads = {name: keras.layers.Dense(targets.shape[-1], name=name)(inputs) for name, targets in y.items()}
    model = keras.Model(inputs, heads)
    model.compile(
        keras.optimizers.SGD(0.01),
        "mse",
        metrics={"human": [PearsonR(), R2()], "mouse": [PearsonR(num_tracks=3)]},
        jit_compile=jit_compile,
    )
    history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0).history
    predicted = model.predict(x, batch_size=4, verbose=0)
    expected = {name: truth(y[name], predicted[name]) for name in y}
    expected = {
        "human_pearson_r": expected["human"][PearsonR].mean(),
        "human_r2": expected["human"][R2].mean(),
        "mouse_pearson_r": expected["mouse"][PearsonR].mean(),
    }
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for reported in (
        {name: history[f"val_{name}"][-1] for name in expected},
        model.evaluate(x, y, batch_size=3, return_dict=True, verbose=0),
        loaded.evaluate(x, y, batch_size=3, return_dict=True, verbose=0),
    ):
        for name, value in expected.items():
            assert reported[name] == pytest.approx(value, abs=1e-5), name
    assert not np.isnan(history["human_pearson_r"]).any()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="replicas are TensorFlow's")
def test_two_replicas_report_what_one_does():
    """Examples shared 2 and 2, 1 and 3, 4 and 0; and `fit` and `evaluate` with a last batch for one alone."""
    command = [sys.executable, "-m", "tests.training.metric_replicas"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout)
    assert differences.keys() == {"[2, 2]", "[1, 3]", "[4, 0]", "fit"}
    assert max(differences.values()) < 1e-5
