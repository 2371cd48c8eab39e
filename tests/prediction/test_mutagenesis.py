"""Saturation mutagenesis against the scores of the same variants, and against strings."""

import random

import numpy as np
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from tests.prediction.counting_model import count, counting_predictor, other_strand

KMER = "ACC"
LENGTH, BINS, BIN = 512, 8, 32
_random = random.Random(5)
BASES = "".join(_random.choices("ACGT", k=1500))
BASES = BASES[:700] + "TTACCNNGACCG" + BASES[712:]


def write_genome(folder, bases):
    (folder / "genome.fa").write_text(f">c1\n{bases}\n")
    return Genome(folder / "genome.fa")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"), BASES)


@pytest.fixture(scope="module")
def predictor():
    return counting_predictor(KMER, LENGTH, BINS, BIN)


REGION = Interval("c1", 698, 712)


def substitutions(region):
    return [
        (at, letter, Variant("c1", region.start + at + 1, BASES[region.start + at], "ACGT"[letter]))
        for at in range(region.width)
        for letter in range(4)
        if BASES[region.start + at] not in ("N", "ACGT"[letter])
    ]


@pytest.mark.parametrize(
    "options", [{}, {"strands": "forward", "width": 64}, {"shifts": (-1, 0, 2), "tracks": [1]}]
)
@pytest.mark.parametrize("window_per_base", [False, True])
def test_effects_are_scores_of_the_same_variants(genome, predictor, options, window_per_base):
    names = ("SAD", "JSD", "ALT")
    (made,) = predictor.saturation_mutagenesis(
        [REGION], genome, statistics=names, window_per_base=window_per_base, **options
    )
    wanted = substitutions(REGION)
    scores = predictor.score_variants(
        [variant for *_, variant in wanted],
        genome,
        statistics=names,
        centers=None if window_per_base else [REGION] * len(wanted),
        **options,
    )
    assert list(made.effects) == list(names)
    for name in names:
        for (at, letter, _), values in zip(wanted, scores.statistics[name], strict=True):
            np.testing.assert_array_equal(made.effects[name][at, letter], values)
    assert np.abs(made.effects["SAD"][np.isfinite(made.effects["SAD"])]).max() >= 0.5


def test_the_genomes_own_bases_are_exactly_no_change(genome, predictor):
    (made,) = predictor.saturation_mutagenesis([REGION], genome, statistics=("SAD", "SADR", "JSD", "ALT"))
    start = (REGION.start + REGION.end - 1) // 2 - (LENGTH // 2 - 1)
    window = BASES[start : start + LENGTH]
    expected = count(window, KMER, BINS, BIN).sum(0)  # an even region: one window for both strands
    for at, base in enumerate(made.sequence):
        if base == "N":
            assert all(np.isnan(values[at]).all() for values in made.effects.values())
        else:
            for name in ("SAD", "SADR", "JSD"):
                assert (made.effects[name][at, "ACGT".index(base)] == 0).all()
            np.testing.assert_allclose(made.effects["ALT"][at, "ACGT".index(base)], expected)
    assert made.sequence == BASES[REGION.start : REGION.end]


def test_a_substitution_in_the_region_s_window_is_what_strings_say(genome, predictor):
    (made,) = predictor.saturation_mutagenesis([REGION], genome, strands="forward")
    start = (REGION.start + REGION.end - 1) // 2 - (LENGTH // 2 - 1)
    window = BASES[start : start + LENGTH]
    for at, letter, _ in substitutions(REGION):
        place = REGION.start + at - start
        changed = window[:place] + "ACGT"[letter] + window[place + 1 :]
        expected = (count(changed, KMER, BINS, BIN) - count(window, KMER, BINS, BIN)).sum(0)
        np.testing.assert_allclose(made.effects["SAD"][at, letter], expected, atol=1e-6)


def test_the_other_strand_of_the_genome_turns_the_effects(genome, predictor, tmp_path):
    other = write_genome(tmp_path, other_strand(BASES))
    for region in (REGION, Interval("c1", 698, 711)):
        turned = Interval("c1", len(BASES) - region.end, len(BASES) - region.start)
        (here,) = predictor.saturation_mutagenesis([region], genome, shifts=(0, 3))
        (there,) = predictor.saturation_mutagenesis([turned], other, shifts=(0, 3))
        np.testing.assert_allclose(
            here.effects["SAD"], there.effects["SAD"][::-1, ::-1, ::-1], atol=1e-6, err_msg=str(region)
        )


def test_deletions_slide_and_are_scores_of_these_deletions(genome, predictor):
    (made,) = predictor.saturation_mutagenesis([REGION], genome, statistics=("D1",), deletion=3)
    assert made.effects["D1"].shape == (REGION.width - 2, 2)
    for at, values in enumerate(made.effects["D1"]):
        start = REGION.start + at
        spelled = Variant("c1", start, BASES[start - 1 : start + 3], BASES[start - 1])
        if BASES[start - 1] == "N":
            spelled = Variant("c1", start + 1, BASES[start : start + 4], BASES[start + 3])
        scores = predictor.score_variants([spelled], genome, statistics=("D1",), centers=[REGION])
        np.testing.assert_array_equal(values, scores.statistics["D1"][0])
        assert np.isnan(values).all() == ("N" in BASES[start : start + 3])
    assert np.nanmax(made.effects["D1"]) > 0


def test_progress_is_told_within_a_region(genome, predictor):
    told = []
    next(predictor.saturation_mutagenesis([REGION], genome, advance=told.append))
    assert sum(told) == 3 * (REGION.width - 2)  # two are N
    assert max(told) < 10


def test_regions_come_one_after_the_other(genome, predictor):
    def regions():
        yield REGION
        raise AssertionError("asked for too early")

    assert next(predictor.saturation_mutagenesis(regions(), genome)).interval == REGION


@pytest.mark.parametrize(
    ("region", "options", "error", "problem"),
    [
        (Interval("c1", 0, 257), {}, ValueError, "target of 256 bp"),
        (Interval("c1", 1500, 1511), {}, DatasetError, "1500 bp"),
        (Interval("c1", 5, 5), {}, DatasetError, "no base"),
        (Interval("chr1", 1, 5), {}, DatasetError, "contigs, c1"),
        (REGION, {"deletion": 65}, ValueError, "at most 64"),
        (REGION, {"deletion": 15}, ValueError, "region's 14 bp"),
        (REGION, {"statistics": ("SUM",)}, ValueError, "SADR"),
    ],
)
def test_what_cannot_be(genome, predictor, region, options, error, problem):
    with pytest.raises(error, match=problem):
        next(predictor.saturation_mutagenesis([region], genome, **options))
