import numpy as np
import pytest
from keras import ops

from enformer_keras.prediction.statistics import FORMULAS, score
from enformer_keras.prediction.step_statistics import score_in_step
from enformer_keras.prediction.windows import Frame


def by_the_formulas(r, a):
    """As plainly as numpy says it, in float64."""
    r, a = r.astype(float), a.astype(float)
    log_r, log_a = np.log2(1 + r), np.log2(1 + a)
    p, q = r / r.sum(0), a / a.sum(0)
    m = (p + q) / 2
    columns = range(r.shape[1])
    return {
        "SAD": (a - r).sum(0),
        "SAR": log_a.sum(0) - log_r.sum(0),
        "SADR": np.log2(1 + a.sum(0)) - np.log2(1 + r.sum(0)),
        "SAX": [(a - r)[np.abs(a - r)[:, c].argmax(), c] for c in columns],
        "D1": np.abs(a - r).sum(0),
        "D2": np.sqrt(((a - r) ** 2).sum(0)),
        "logD1": np.abs(log_a - log_r).sum(0),
        "logD2": np.sqrt(((log_a - log_r) ** 2).sum(0)),
        "JSD": (p * np.log2(p / m)).sum(0) / 2 + (q * np.log2(q / m)).sum(0) / 2,
        "REF": r.sum(0),
        "ALT": a.sum(0),
    }


@pytest.mark.parametrize("change", [1e-3, 1.0, 1e4])
def test_statistics_are_their_formulas(change):
    generator = np.random.default_rng(0)
    r = generator.exponential(10, (40, 5)).astype(np.float32)
    a = (r * generator.uniform(1 / (1 + change), 1 + change, r.shape)).astype(np.float32)
    expected = by_the_formulas(r, a)
    assert expected.keys() == FORMULAS.keys()
    for name, values in score(r, a, list(FORMULAS)).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_change_of_one_float32_is_not_lost_in_a_sum():
    r = np.full((896, 1), 3000.0, np.float32)
    a = r.copy()
    a[5] = np.nextafter(a[5], np.float32(np.inf))
    assert score(r, a, ["SAD"])["SAD"][0] == float(a[5, 0]) - 3000.0 > 0


def test_a_divergence_of_nothing_is_zero_and_of_disjoint_tracks_one_bit():
    r, a = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32)
    r[0, 1] = a[3, 1] = 2
    r[:, 2] = a[:, 2] = 7
    np.testing.assert_array_equal(score(r, a, ["JSD"])["JSD"], [0, 1, 0])


@pytest.mark.parametrize("names", [["SUM"], [], "SAD", ["SAD", "SAD"]])
def test_other_names_are_refused(names):
    with pytest.raises(ValueError, match="SADR"):
        score(np.ones((2, 1)), np.ones((2, 1)), names)


@pytest.mark.parametrize(
    ("bins", "width", "expected"),
    [(8, None, (0, 8)), (8, 1, (3, 5)), (8, 64, (3, 5)), (8, 65, (2, 6)), (7, 1, (3, 4)), (7, 33, (2, 5))],
)
def test_central_bins_lie_evenly_about_the_centre(bins, width, expected):
    assert Frame(512, bins, 32).central_bins(width) == slice(*expected)


@pytest.mark.parametrize("width", [0, 257])
def test_a_width_that_the_target_does_not_have_is_refused(width):
    with pytest.raises(ValueError, match="256 bp"):
        Frame(512, 8, 32).central_bins(width)


@pytest.mark.parametrize("change", [1e-4, 1e-2, 1.0])
def test_statistics_within_a_step_are_those(change):
    """In float32, over bins that a mask chooses, with tracks and bins where nothing is predicted."""
    generator = np.random.default_rng(1)
    r = generator.gamma(0.5, 2, (3, 50, 4)).astype(np.float32)
    a = np.abs(r * (1 + change * generator.normal(size=r.shape))).astype(np.float32)
    r[0, :, 0] = a[1, :, 1] = r[2, 3] = 0
    counted = np.zeros((3, 50), np.float32)
    counted[:, 5:40] = 1
    expected = score(r[:, 5:40], a[:, 5:40], list(FORMULAS))
    found = score_in_step(r, a, counted, list(FORMULAS))
    assert found.keys() == FORMULAS.keys()
    for name, values in found.items():
        largest = np.abs(expected[name]).max(axis=0)
        error = np.abs(ops.convert_to_numpy(values) - expected[name]).max(axis=0)
        np.testing.assert_array_less(error, 2e-6 * largest + 1e-30, err_msg=name)
