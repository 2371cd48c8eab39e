"""The paired comparison against resampled arrays, and what the gate makes of noise."""

import numpy as np
import pytest
from scipy import stats

from components.evaluator.bootstrap import REPLICATES, paired_change
from components.evaluator.moments import TrackMoments


def moments(targets, predictions):
    return [TrackMoments.from_arrays(y, p) for y, p in zip(targets, predictions, strict=True)]


def pearson(y, p):
    return np.array([np.corrcoef(y[:, t], p[:, t])[0, 1] for t in range(y.shape[1])])


def r2(y, p):
    return 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)


@pytest.mark.parametrize(
    ("figure", "statement"), [(TrackMoments.pearson_r, pearson), (TrackMoments.r2, r2)], ids=["pearson_r", "r2"]
)
def test_the_interval_is_that_of_resampled_arrays(figure, statement):
    rng = np.random.default_rng(0)
    targets = [100 + rng.gamma(2, 3, size=(length, 2)) for length in (20, 10, 15, 30, 20, 5)]
    good = [y + rng.normal(0, 1, y.shape) for y in targets]
    weaker = [y + rng.normal(0, 3, y.shape) for y in targets]
    draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=REPLICATES)

    def change(times):
        y, g, w = (np.concatenate(np.repeat(np.array(a, object), times)) for a in (targets, good, weaker))
        return (statement(y, w.astype(float)) - statement(y, g.astype(float))).mean()

    targets, good, weaker = ([list(one) for one in all_of] for all_of in (targets, good, weaker))
    replicates = [change(times) for times in draws]
    tail = stats.norm.cdf(np.sqrt(6 / 5) * stats.t.ppf(0.025, df=5))
    found = paired_change(figure, *(moments(map(np.array, targets), map(np.array, p)) for p in (weaker, good)))
    np.testing.assert_allclose(found.mean, change(np.ones(6, int)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[1:], np.quantile(replicates, [tail, 1 - tail]), rtol=0, atol=1e-10)


def simulate(seed, worse_by=0.0, units=32, bins=50, tracks=4):
    """Two models of one signal, each with errors that neighbouring windows share; `worse_by` adds to one's."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(units, bins, tracks))

    def predict(spread):
        quality = spread * rng.lognormal(0, 0.3, size=(units, 1, tracks))
        return y + quality * rng.normal(size=y.shape) + 0.3 * rng.normal(size=(units, 1, tracks))

    return paired_change(TrackMoments.pearson_r, moments(y, predict(0.6 + worse_by)), moments(y, predict(0.6)))


def test_noise_refuses_no_model_that_is_as_good_and_saves_none_that_is_worse():
    equal = [simulate(seed) for seed in range(200)]
    # Without an interval every second run would be refused; beyond it lie 2.5%.
    assert 60 < sum(change.mean < 0 for change in equal) < 140
    assert sum(change.high < 0 for change in equal) <= 10
    assert sum(change.low > 0 for change in equal) <= 10
    worse = [simulate(seed, worse_by=0.2) for seed in range(100)]
    drop = -np.mean([change.mean for change in worse])
    assert 0.07 < drop < 0.08
    assert sum(change.high < -0.02 for change in worse) >= 95
    # One that is worse by as much as is allowed passes.
    assert sum(change.high < -drop for change in worse) <= 5


def test_one_unit_leaves_the_plain_difference():
    change = simulate(0, units=1)
    assert change.low == change.mean == change.high != 0


def test_a_track_that_is_constant_in_some_units_is_undefined_only_where_those_are_drawn():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(3, 10, 2)) + 0.1
    y[1:, :, 1] = 0.1  # a signal in the first unit alone
    p, q = y + rng.normal(size=y.shape), y + rng.normal(size=y.shape)
    change = paired_change(TrackMoments.pearson_r, moments(y, p), moments(y, q))
    assert np.isfinite(change).all()
    assert -2 <= change.low <= change.mean <= change.high <= 2
    # Constant everywhere: nothing to compare.
    nothing = moments(np.full_like(y, 0.1), p)
    assert np.isnan(paired_change(TrackMoments.pearson_r, nothing, nothing)).all()


def test_a_diverged_model_has_no_change():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(3, 10, 2))
    diverged = y.copy()
    diverged[1, 2, 0] = np.nan
    assert np.isnan(paired_change(TrackMoments.pearson_r, moments(y, diverged), moments(y, y))).all()


def test_other_windows_cannot_be_compared():
    y = np.random.default_rng(1).normal(size=(3, 10, 2))
    with pytest.raises(ValueError, match="same windows"):
        paired_change(TrackMoments.r2, moments(y, y), moments(y[:2], y[:2]))
