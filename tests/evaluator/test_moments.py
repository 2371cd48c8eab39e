"""The moments against numpy's own statements of the same figures."""

import functools

import numpy as np
import pytest

from components.evaluator.moments import TrackMoments


def coverage(rng, shape, mean):
    """Targets and predictions that look like coverage: a large mean, a spread far below it."""
    targets = mean + rng.gamma(2.0, 3.0, size=shape)
    predictions = 0.5 * targets + 0.4 * mean + rng.normal(0.0, 4.0, size=shape)
    return targets.astype(np.float32), predictions.astype(np.float32)


def numpy_figures(targets, predictions):
    y = targets.reshape(-1, targets.shape[-1]).astype(np.float64)
    p = predictions.reshape(-1, predictions.shape[-1]).astype(np.float64)
    pearson = [np.corrcoef(y[:, t], p[:, t])[0, 1] for t in range(y.shape[1])]
    r2 = 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    return np.array(pearson), r2


@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
def test_any_sharding_and_merge_order_gives_numpys_figures(mean):
    rng = np.random.default_rng(3)
    targets, predictions = coverage(rng, (40, 16, 3), mean)
    pearson, r2 = numpy_figures(targets, predictions)
    for seed in range(5):
        order = np.random.default_rng(seed)
        cuts = np.sort(order.choice(np.arange(1, 40), size=order.integers(1, 30), replace=False))
        shards = [
            TrackMoments.from_arrays(y, p)
            for y, p in zip(np.split(targets, cuts), np.split(predictions, cuts), strict=True)
        ]
        while len(shards) > 1:  # a random binary tree of merges
            first, second = order.choice(len(shards), size=2, replace=False)
            merged = shards[first].merge(shards[second])
            shards = [shard for i, shard in enumerate(shards) if i not in (first, second)] + [merged]
        np.testing.assert_allclose(shards[0].pearson_r(), pearson, rtol=0, atol=1e-6)
        np.testing.assert_allclose(shards[0].r2(), r2, rtol=1e-6, atol=1e-6)


def test_constant_tracks_are_undefined_however_they_are_rounded():
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(6, 5, 3))
    predictions = rng.normal(size=(6, 5, 3))
    targets[..., 0] = 0.1  # its float64 mean over five is not 0.1
    predictions[..., 1] = 0.7
    moments = functools.reduce(
        TrackMoments.merge,
        [TrackMoments.from_arrays(y, p) for y, p in zip(targets, predictions, strict=True)],
    )
    assert np.isnan(moments.pearson_r()).tolist() == [True, True, False]
    assert np.isnan(moments.r2()).tolist() == [True, False, False]
    assert moments.finite().all()


def test_not_a_number_is_told_apart_from_constant():
    targets, predictions = coverage(np.random.default_rng(2), (4, 3), 0.0)
    predictions[1, 2] = np.nan
    moments = TrackMoments.from_arrays(targets, predictions)
    assert moments.finite().tolist() == [True, True, False]
    assert np.isnan(moments.pearson_r()).tolist() == [False, False, True]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 2\)"):
        TrackMoments.from_arrays(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        TrackMoments.from_arrays(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="3 tracks with 2"):
        TrackMoments.from_arrays(np.ones((4, 3)), np.ones((4, 3))).merge(
            TrackMoments.from_arrays(np.ones((4, 2)), np.ones((4, 2)))
        )
