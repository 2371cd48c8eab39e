"""The baseline against counting and least squares written out."""

import numpy as np

from pipeline.baseline import NUM_KMERS, count_kmers, fit_ridge, kmer_features

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def test_counts_are_canonical_and_stay_in_their_bin():
    rng = np.random.default_rng(0)
    bases = "".join(rng.choice(list("ACGTN"), 64, p=[0.24] * 4 + [0.04]))
    counts = count_kmers(bases.encode(), 16)
    assert counts.shape == (4, NUM_KMERS) == (4, 2080)
    expected = [
        sum("N" not in bases[start : start + 6] for start in range(row * 16, row * 16 + 11)) for row in range(4)
    ]
    np.testing.assert_array_equal(counts.sum(axis=1), expected)
    # The other strand of a bin has the same counts.
    other = count_kmers(bases.translate(COMPLEMENT)[::-1].encode(), 16)
    np.testing.assert_array_equal(other[::-1], counts)
    assert counts.max() < 11


def test_features_are_a_bin_and_its_neighbours():
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 64)).encode()
    counts = count_kmers(bases, 16)
    expected = [np.r_[counts[1], counts[0] + counts[2]], np.r_[counts[2], counts[1] + counts[3]]]
    np.testing.assert_array_equal(kmer_features(bases, 16), expected)


def test_ridge_finds_a_linear_signal():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, size=(4000, 30)).astype(np.float32)
    weights = rng.normal(size=(30, 2))
    signal = counts @ weights + 0.1 * rng.normal(size=(4000, 2)) + 5
    predicted = fit_ridge((counts[:3000], signal[:3000]), (counts[3000:3500], signal[3000:3500]), counts[3500:])
    np.testing.assert_allclose(predicted, counts[3500:] @ weights + 5, atol=0.2)
