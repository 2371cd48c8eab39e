"""Windows about another position than the allele's own, against strings."""

import numpy as np
import pytest

from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.alleles import Status
from tests.prediction.counting_model import count, counting_predictor, other_strand
from tests.prediction.test_scores import BIN, BINS, CONTIGS, KMER, LENGTH, spell, write_genome

BASES = CONTIGS["c1"]
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor(KMER, LENGTH, BINS, BIN)


def both_strands(bases, at):
    """Mean prediction of windows whose base `LENGTH / 2 - 1` along each strand is the base at `at`."""
    start = at - (LENGTH // 2 - 1)
    forward = count(bases[start : start + LENGTH], KMER, BINS, BIN)
    start = (len(bases) - 1 - at) - (LENGTH // 2 - 1)
    reverse = count(other_strand(bases)[start : start + LENGTH], KMER, BINS, BIN)[::-1, ::-1]
    return (forward + reverse) / 2


@pytest.mark.parametrize("at", [900, 1000, 1100])
def test_the_window_lies_about_the_center(genome, predictor, at):
    center = 1000
    changed = BASES[:at] + OTHER[BASES[at]] + BASES[at + 1 :]
    scores = predictor.score_variants(
        [Variant("c1", at + 1, BASES[at], OTHER[BASES[at]])],
        genome,
        statistics=["REF", "ALT", "D1"],
        centers=[center],
    )
    reference, alternate = both_strands(BASES, center), both_strands(changed, center)
    np.testing.assert_allclose(scores.statistics["REF"][0], reference.sum(0), atol=1e-6)
    np.testing.assert_allclose(scores.statistics["ALT"][0], alternate.sum(0), atol=1e-6)
    np.testing.assert_allclose(scores.statistics["D1"][0], np.abs(alternate - reference).sum(0), atol=1e-6)


def test_an_allele_about_its_own_middle_scores_as_without_a_center(genome, predictor):
    variants = [spell("c1", 1000, 1005, ""), spell("c1", 2000, 2001, "TTT"), Variant("c1", 0, "A", "C")]
    without = predictor.score_variants(variants, genome).statistics["SAD"]
    for centers in ([1002, 2000, 1], [None, None, None]):
        found = predictor.score_variants(variants, genome, centers=centers).statistics["SAD"]
        np.testing.assert_array_equal(found, without)


@pytest.mark.parametrize("center", [950, 1100])
def test_off_center_an_indel_still_differs_in_its_own_bins_alone(genome, center):
    letters = counting_predictor("A", LENGTH, BINS, BIN)
    start, length = 1010, 40
    scores = letters.score_variants(
        [spell("c1", start, start + length, ""), spell("c1", start, start, BASES[500 : 500 + length])],
        genome,
        statistics=["D1"],
        centers=[center, center],
    )
    assert (scores.statistics["D1"] <= 2 * length).all()


def test_an_allele_beyond_a_window_has_its_status(genome, predictor):
    center = 1000
    first, last = center - (LENGTH // 2 - 1), center + LENGTH // 2 - 1  # held by the windows of both strands
    snv = [Variant("c1", at + 1, BASES[at], OTHER[BASES[at]]) for at in (first - 1, first, last, last + 1)]
    long = [spell("c1", last - 2, last - 2, "ACGTACGT"), spell("c1", last - 2, last + 3, "")]
    scores = predictor.score_variants([*snv, *long], genome, centers=[center] * 6)
    outside, scored = Status.OUTSIDE_WINDOW, Status.SCORED
    assert scores.statuses == (outside, scored, scored, outside, outside, outside)
    assert np.isnan(scores.statistics["SAD"][[0, 3, 4, 5]]).all()
    shifted = predictor.score_variants(snv, genome, centers=[center] * 4, shifts=[0, 1])
    assert shifted.statuses == (outside, outside, outside, outside)


def test_each_variant_needs_a_center(genome, predictor):
    with pytest.raises(ValueError, match="shorter"):
        predictor.score_variants([spell("c1", 1000, 1005, "")], genome, centers=[])


def test_variants_of_a_cell_share_its_window_and_width_stays_about_the_variant(genome, predictor):
    """The grid is the contig's: who else is in the file changes no score."""
    size = 64
    variants = [
        Variant("c1", at + 1, BASES[at], OTHER[BASES[at]]) for at in (1000, 1010, 1023, 1024, 1100, 1300)
    ]
    shared = predictor.score_variants(variants, genome, statistics=["REF", "ALT"], share_windows=size)
    for row, variant in enumerate(variants):
        start = variant.start // size * size
        alone = predictor.score_variants(
            [variant], genome, statistics=["REF", "ALT"], centers=[Interval("c1", start, start + size)]
        )
        for name in ("REF", "ALT"):
            np.testing.assert_array_equal(shared.statistics[name][row], alone.statistics[name][0])
    assert shared.statistics["REF"][0, 0] == shared.statistics["REF"][2, 0]
    everywhere = predictor.score_variants(variants, genome, statistics=["D1"], share_windows=size)
    near = predictor.score_variants(variants, genome, statistics=["D1"], share_windows=size, width=8)
    assert everywhere.statistics["D1"].max() > 0
    # A model without context differs where the variant is, within the k-mer's reach.
    np.testing.assert_array_equal(near.statistics["D1"], everywhere.statistics["D1"])
    with pytest.raises(ValueError, match="give one"):
        predictor.score_variants(variants, genome, centers=[None] * 6, share_windows=size)
    with pytest.raises(ValueError, match="half of the target, 128 bp"):
        predictor.score_variants(variants, genome, share_windows=129)
