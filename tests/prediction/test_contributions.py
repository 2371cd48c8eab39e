"""Contributions against finite differences, against scores and against what a counting model must say."""

import random

import keras
import numpy as np
import pytest

from enformer_keras import Enformer
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction.card import ModelCard
from enformer_keras.prediction.gradients import pullback
from enformer_keras.prediction.predictor import PredictedTrack, Predictor
from enformer_keras.prediction.windows import Frame
from tests.prediction.counting_model import counting_predictor, other_strand

_random = random.Random(7)
BASES = "".join(_random.choices("ACGT", k=3000)).replace("ACCA", "ACGA").replace("TGGT", "TCGT")
SITE = 1500
BASES = BASES[: SITE - 20] + "NN" + BASES[SITE - 18 : SITE] + "ACCA" + BASES[SITE + 4 :]
REGION = Interval("c1", SITE - 30, SITE + 30)
STATISTICS = ("SAD", "SAR", "SADR")


def write_genome(folder, bases):
    (folder / "genome.fa").write_text(f">c1\n{bases}\n")
    return Genome(folder / "genome.fa")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"), BASES)


@pytest.fixture(scope="module")
def enformer():
    """Small, with a strand pair and a track of its own."""
    keras.utils.set_random_seed(2)
    model = Enformer(
        heads={"ecoli": 3},
        channels=12,
        num_heads=1,
        num_transformer_layers=1,
        key_size=4,
        filters_divisible_by=2,
        sequence_length=1024,
        target_length=6,
    )
    # After training no bias and no statistic is 0.
    for variable in model.variables:
        if variable.path.endswith(("bias", "beta", "moving_mean")):
            variable.assign(keras.random.normal(variable.shape, stddev=0.3))
    tracks = [PredictedTrack(n, str(n), "", pair) for n, pair in enumerate((1, 0, 2))]
    return Predictor(model.head_model("ecoli"), Frame(1024, 6, 128), tracks, batch_size=2)


def sequences(count, length):
    return one_hot_encode(["".join(_random.choices("ACGT", k=length)) for _ in range(count)])


def test_gradients_are_finite_differences(enformer):
    """Along random directions, each way, in float32."""
    rng = np.random.default_rng(1)
    x = sequences(2, 1024)
    weights = rng.normal(size=(2, 6, 3)).astype(np.float32)
    gradient = enformer.pullback(x, weights)
    assert gradient.shape == x.shape
    for _ in range(3):
        # part of the way along the gradient, or nothing would change but the last digits
        direction = gradient / np.linalg.norm(gradient, axis=(1, 2), keepdims=True)
        direction += rng.normal(size=x.shape).astype(np.float32) / 64
        step = 0.3
        ahead, behind = (enformer.predict_one_hot(x + sign * step * direction) for sign in (1, -1))
        difference = ((ahead.astype(np.float64) - behind) * weights).sum(axis=(1, 2)) / (2 * step)
        expected = (gradient.astype(np.float64) * direction).sum(axis=(1, 2))
        np.testing.assert_allclose(difference, expected, rtol=0.02)


def test_gradients_are_of_the_head_that_is_asked():
    inputs = keras.Input((8, 4))
    outputs = {name: keras.layers.Rescaling(scale)(inputs) for name, scale in (("a", 2.0), ("b", 3.0))}
    model = keras.Model(inputs, outputs)
    weights = np.random.default_rng(0).normal(size=(1, 8, 4)).astype(np.float32)
    for head, scale in (("a", 2), ("b", 3)):
        np.testing.assert_allclose(pullback(model, head)(sequences(1, 8), weights), scale * weights)


def test_what_is_no_keras_model_has_no_gradients():
    with pytest.raises(ValueError, match="method ism"):
        pullback(lambda sequence: sequence)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("strands", ["forward", "both"])
def test_gradient_x_input_is_the_slope_of_what_the_scores_compare(enformer, genome, statistic, strands):
    """A small step towards a letter changes the number by the gradient: here by predictions alone."""
    options = {"strands": strands, "tracks": [0, 2], "width": 256, "shifts": (0, 2)}
    (made,) = enformer.contributions([REGION], genome, statistic=statistic, **options)
    frame = enformer.frame

    def number(at=None, letter=None, step=0.0):
        total = np.zeros((frame.target_length, 3))
        for shift in (0, 2):
            for reverse in (False, True) if strands == "both" else (False,):
                bases, region = BASES, (REGION.start, REGION.end)
                if reverse:
                    bases, region = other_strand(BASES), (len(BASES) - REGION.end, len(BASES) - REGION.start)
                start = sum(region) // 2 - 512 + shift  # an even region
                x = one_hot_encode([bases[start : start + 1024]])
                if at is not None:
                    place = region[0] + at - start if not reverse else region[1] - 1 - at - start
                    x[0, place, letter if not reverse else 3 - letter] += step
                bins = enformer.predict_one_hot(np.concatenate([x, x]))[0].astype(np.float64)
                total += bins[::-1, [1, 0, 2]] if reverse else bins
        x = (total / (4 if strands == "both" else 2))[2:4]
        reduced = {
            "SAD": x.sum(0),
            "SAR": np.log2(1 + x).sum(0),
            "SADR": np.log2(1 + x.sum(0)),
        }[statistic]
        return (reduced[0] + reduced[2]) / 2

    np.testing.assert_allclose(made.value, number(), rtol=1e-5)
    scale = np.abs(made.hypothetical).max()
    for at in (3, 25, 41):
        slopes = np.array([(number(at, letter, 0.05) - number(at, letter, -0.05)) / 0.1 for letter in range(4)])
        np.testing.assert_allclose(made.hypothetical[:, at], slopes - slopes.mean(), atol=0.05 * scale)


def test_mean_of_the_letters_is_0_and_what_is_there_contributes(enformer, genome):
    for method in ("gradient_x_input", "integrated_gradients"):
        (made,) = enformer.contributions([REGION], genome, method=method, steps=3)
        assert made.hypothetical.shape == (4, 60)
        assert made.hypothetical.dtype == np.float32
        np.testing.assert_allclose(made.hypothetical.sum(0), 0, atol=1e-5 * np.abs(made.hypothetical).max())
        np.testing.assert_array_equal(
            made.one_hot, one_hot_encode(BASES[REGION.start : REGION.end]).T.astype(np.int8)
        )
        for at, base in enumerate(made.sequence):
            expected = np.zeros(4)
            if base != "N":
                expected["ACGT".index(base)] = made.hypothetical["ACGT".index(base), at]
            np.testing.assert_array_equal(made.projected[:, at], expected)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_integrated_gradients_are_complete(enformer, genome, statistic):
    """What all bases of the window contribute is what the number differs by."""
    whole = Interval("c1", 900, 900 + 1024)
    (made,) = enformer.contributions(
        [whole], genome, method="integrated_gradients", statistic=statistic, steps=24
    )
    assert abs(made.value - made.baseline) > 1e-4
    assert made.completeness_error < 0.01
    np.testing.assert_allclose(made.projected.sum(), made.total, rtol=1e-3)
    (rough,) = enformer.contributions(
        [whole], genome, method="integrated_gradients", statistic=statistic, steps=1
    )
    assert rough.completeness_error > made.completeness_error


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients"])
def test_the_other_strand_of_the_genome_turns_contributions(enformer, genome, tmp_path, method):
    other = write_genome(tmp_path, other_strand(BASES))
    for region in (REGION, Interval("c1", 1400, 1447)):
        turned = Interval("c1", len(BASES) - region.end, len(BASES) - region.start)
        options = {"method": method, "steps": 3, "shifts": (0, 1)}
        (here,) = enformer.contributions([region], genome, tracks=[0, 2], **options)
        (there,) = enformer.contributions([turned], other, tracks=[1, 2], **options)
        np.testing.assert_allclose(
            here.hypothetical, there.hypothetical[::-1, ::-1], atol=1e-5 * np.abs(here.hypothetical).max()
        )
        np.testing.assert_allclose(here.value, there.value, rtol=1e-6)


def test_ism_is_saturation_mutagenesis(genome):
    predictor = counting_predictor("ACCA")
    (made,) = predictor.contributions(
        [REGION], genome, method="ism", statistic="SADR", weights=[1, -2], width=64
    )
    (effects,) = predictor.saturation_mutagenesis([REGION], genome, statistics=("SADR",), width=64)
    number = np.nan_to_num(effects.effects["SADR"] @ [1, -2])
    np.testing.assert_allclose(made.hypothetical, (number - number.mean(1, keepdims=True)).T, atol=1e-6)


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "ism"])
def test_a_model_that_counts_has_its_contributions_at_the_word(genome, method):
    """The only ACCA of the window counts; with strands, half of a count on the track of each strand."""
    predictor = counting_predictor("ACCA")
    (made,) = predictor.contributions([REGION], genome, method=method, statistic="SAD", tracks=[0], steps=200)
    word = slice(SITE - REGION.start, SITE - REGION.start + 4)
    at_the_word = made.projected.sum(0)[word]
    assert made.sequence[word] == "ACCA"
    assert (at_the_word > 0.5).all() if method != "integrated_gradients" else (at_the_word > 0.2).all()
    elsewhere = made.projected.copy()
    elsewhere[:, word] = 0
    # a word that one substitution makes is worth a quarter of a count to ISM
    assert np.abs(elsewhere).max() < at_the_word.min() / (2 if method == "ism" else 4)
    if method == "integrated_gradients":  # one count that is there, none halfway
        assert made.value - made.baseline == 1
        np.testing.assert_allclose(made.total, 1, atol=0.02)


@pytest.mark.parametrize("method", ["gradient_x_input", "ism"])
def test_contigs_go_by_their_other_names_and_another_genome_is_refused(genome, method):
    predictor = counting_predictor("ACCA")
    predictor.card = ModelCard("model", contig_lengths={"chr1": len(BASES)})
    options = {"method": method, "contig_aliases": {"c1": ["chr1"]}}
    (made,) = predictor.contributions([Interval("chr1", SITE, SITE + 4)], genome, **options)
    assert made.interval == Interval("c1", SITE, SITE + 4)
    other = counting_predictor("ACCA")
    other.card = ModelCard("model", contig_lengths={"c1": 5})
    with pytest.raises(DatasetError, match="3000 bp, but 5 bp"):
        next(other.contributions([REGION], genome, method=method))


def test_numbers_do_not_depend_on_the_batch_and_regions_stream(enformer, genome):
    regions = [REGION, Interval("c1", 1000, 1020), Interval("c1", 2990, 3007)]
    alone = [next(enformer.contributions([region], genome)) for region in regions]
    together = list(enformer.contributions(iter(regions), genome))
    assert [made.interval for made in together] == regions
    for one, other in zip(alone, together, strict=True):
        # XLA sums a batch's rows in different orders
        np.testing.assert_allclose(
            one.hypothetical, other.hypothetical, atol=1e-5 * np.abs(one.hypothetical).max()
        )

    def endless():
        while True:
            yield REGION

    assert next(enformer.contributions(endless(), genome)).interval == REGION


@pytest.mark.parametrize(
    ("region", "options", "error", "problem"),
    [
        (REGION, {"method": "deeplift"}, ValueError, "attention"),
        (REGION, {"method": "saliency"}, ValueError, "gradient_x_input"),
        (REGION, {"statistic": "D1"}, ValueError, "SADR"),
        (REGION, {"weights": [1.0]}, ValueError, "3 tracks"),
        (REGION, {"steps": 0}, ValueError, "at least 1"),
        (REGION, {"width": 5000}, ValueError, "768 bp"),
        (Interval("c1", 0, 1025), {}, ValueError, "window 1024"),
        (Interval("c1", 0, 769), {"method": "ism"}, ValueError, "768 bp"),
        (Interval("c1", -20, 0), {}, DatasetError, "3000 bp"),
    ],
)
def test_what_cannot_be(enformer, genome, region, options, error, problem):
    with pytest.raises(error, match=problem):
        next(enformer.contributions([region], genome, **options))
