"""Screening by gradients, against exact scores, differences of predictions and the definition in numpy."""

import keras
import numpy as np
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction.asking import PredictedTrack
from enformer_keras.prediction.predictor import Predictor
from enformer_keras.prediction.screening import choose_best
from enformer_keras.prediction.statistics import FORMULAS, formula_of
from enformer_keras.prediction.windows import Frame
from tests.prediction.counting_model import other_strand

LENGTH, BINS, BIN = 128, 8, 8
BASES = "".join(np.random.default_rng(3).choice(list("ACGT"), 400))
BASES = BASES[:201] + "N" + BASES[202:]
REGION = Interval("c1", 195, 208)
STATISTICS = ("SAD", "SAR", "SADR")


def write_genome(folder, bases):
    (folder / "genome.fa").write_text(f">c1\n{bases}\n")
    return Genome(folder / "genome.fa")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"), BASES)


def make_predictor(activation, batch_size=3):
    """Three tracks, of which the first two are a strand pair; every bin sees 30 bp, more than its own."""
    inputs = keras.Input((LENGTH, 4))
    bins = keras.layers.Conv1D(3, 30, strides=BIN, padding="same", activation=activation, name="bins")(inputs)
    crop = (LENGTH // BIN - BINS) // 2
    model = keras.Model(inputs, keras.layers.Cropping1D(crop)(bins))
    rng = np.random.default_rng(0)
    kernel, bias = model.get_layer("bins").weights
    kernel.assign(rng.normal(size=kernel.shape) / 8 + (0.2 if activation is None else 0))
    bias.assign(rng.normal(size=bias.shape) + (2 if activation is None else 0))
    tracks = [PredictedTrack(n, str(n), "", pair) for n, pair in enumerate((1, 0, 2))]
    return Predictor(model, Frame(LENGTH, BINS, BIN), tracks, batch_size=batch_size)


@pytest.fixture(scope="module")
def linear():
    return make_predictor(None)


@pytest.fixture(scope="module")
def curved():
    return make_predictor("softplus")


OPTIONS = [{}, {"strands": "forward", "width": 30}, {"shifts": (-3, 0, 2), "tracks": [2, 1]}]


@pytest.mark.parametrize("options", OPTIONS)
def test_of_a_linear_model_estimates_are_exact(linear, genome, options):
    (plain,) = linear.saturation_mutagenesis([REGION], genome, **options)
    (made,) = linear.saturation_mutagenesis([REGION], genome, screen=5, **options)
    np.testing.assert_allclose(made.first_order["SAD"], plain.effects["SAD"], atol=1e-4)
    assert np.nanmax(np.abs(made.first_order["SAD"])) > 0.1
    assert np.isnan(made.first_order["SAD"][BASES[REGION.start : REGION.end].index("N")]).all()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_estimates_are_slopes_of_the_number_that_scores_compare(curved, genome, statistic, options):
    """A little of the way from the genome's base to another, by predictions alone, in each window."""
    (made,) = curved.saturation_mutagenesis([REGION], genome, statistics=[statistic], screen=1, **options)
    columns, frame = options.get("tracks", [0, 1, 2]), curved.frame

    def number(at=0, letter=0, step=0.0):
        mean = np.zeros((BINS, 3))
        layouts = [
            (reverse, shift)
            for reverse in ((False, True) if options.get("strands") != "forward" else (False,))
            for shift in options.get("shifts", (0,))
        ]
        for reverse, shift in layouts:
            bases = other_strand(BASES) if reverse else BASES
            first, last = REGION.start, REGION.end
            if reverse:
                first, last = len(BASES) - last, len(BASES) - first
            start = (first + last - 1) // 2 - (LENGTH // 2 - 1) + shift
            x = one_hot_encode(bases[start : start + LENGTH])
            place = (last - 1 - at if reverse else first + at) - start
            x[place] *= 1 - step
            x[place, 3 - letter if reverse else letter] += step
            bins = curved.predict_one_hot(np.stack([x] * 3))[0].astype(np.float64)
            mean += (bins[::-1, [1, 0, 2]] if reverse else bins) / len(layouts)
        x = mean[frame.central_bins(options.get("width"))][:, columns]
        return {
            "SAD": x.sum(0),
            "SAR": np.log2(1 + x).sum(0),
            "SADR": np.log2(1 + x.sum(0)),
        }[statistic]

    scale = np.nanmax(np.abs(made.first_order[statistic]))
    for at, letter in ((0, 1), (4, 2), (12, 3)):
        slope = (number(at, letter, 0.05) - number(at, letter, -0.05)) / 0.1
        np.testing.assert_allclose(made.first_order[statistic][at, letter], slope, atol=0.01 * scale)
    assert scale > 0.01


def test_the_other_strand_of_the_genome_turns_estimates(curved, genome, tmp_path):
    other = write_genome(tmp_path, other_strand(BASES))
    turned = Interval("c1", len(BASES) - REGION.end, len(BASES) - REGION.start)
    (here,) = curved.saturation_mutagenesis([REGION], genome, screen=1)
    (there,) = curved.saturation_mutagenesis([turned], other, screen=1)
    expected = there.first_order["SAD"][::-1, ::-1, [1, 0, 2]]
    np.testing.assert_allclose(here.first_order["SAD"], expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_best_have_the_scores_of_plain_ism_and_the_others_none(genome, batch_size):
    predictor = make_predictor("softplus", batch_size)
    (plain,) = predictor.saturation_mutagenesis([REGION], genome, statistics=STATISTICS)
    (made,) = predictor.saturation_mutagenesis([REGION], genome, statistics=STATISTICS, screen=2)
    wanted = set()  # of each statistic and track by sorting
    for name in STATISTICS:
        for track in range(3):
            sizes = {
                (at, letter): abs(made.first_order[name][at, letter, track])
                for at, base in enumerate(made.sequence)
                for letter in range(4)
                if base not in ("N", "ACGT"[letter])
            }
            wanted |= set(sorted(sizes, key=sizes.get)[-2:])
    assert 2 < len(wanted) < 20
    for at, base in enumerate(made.sequence):
        for letter in range(4):
            for name in STATISTICS:
                if (at, letter) in wanted or base == "ACGT"[letter]:
                    expected = plain.effects[name][at, letter]
                else:
                    expected = np.full(3, np.nan)
                np.testing.assert_array_equal(made.effects[name][at, letter], expected)


def test_more_than_there_are_is_plain_ism(curved, genome):
    told = []
    (plain,) = curved.saturation_mutagenesis([REGION], genome)
    (made,) = curved.saturation_mutagenesis([REGION], genome, screen=1000, advance=told.append)
    np.testing.assert_array_equal(made.effects["SAD"], plain.effects["SAD"])
    assert sum(told) == 3 * (REGION.width - 1)
    assert plain.first_order == {}


@pytest.mark.parametrize("region", [Interval("c1", 0, 64), Interval("c1", 380, 410), Interval("c1", 201, 202)])
def test_at_the_ends_of_contigs_and_where_all_is_n(linear, genome, region):
    """A region as long as the target, one that reaches beyond the contig, and one of N alone."""
    (plain,) = linear.saturation_mutagenesis([region], genome)
    (made,) = linear.saturation_mutagenesis([region], genome, screen=3)
    np.testing.assert_allclose(made.first_order["SAD"], plain.effects["SAD"], atol=1e-4)


def test_a_shift_past_the_region_leaves_no_estimate(genome):
    """As it leaves no score: windows of 64 bp whose target is all of them."""
    inputs = keras.Input((64, 4))
    model = keras.Model(inputs, keras.layers.Conv1D(1, 8, strides=8)(inputs))
    predictor = Predictor(model, Frame(64, 8, 8), [PredictedTrack(0, "0", "", 0)])
    (made,) = predictor.saturation_mutagenesis([Interval("c1", 100, 164)], genome, shifts=(0, 2), screen=500)
    np.testing.assert_array_equal(np.isnan(made.first_order["SAD"]), np.isnan(made.effects["SAD"]))
    # two bases at one end on each strand: of these only their own letters are known, to do nothing
    assert np.isnan(made.effects["SAD"]).sum() == 4 * 3


def test_of_equal_estimates_the_first_are_chosen():
    estimates = np.zeros((3, 4, 2))
    estimates[1, :, 0] = -2
    estimates[2, 3, 1] = np.nan
    expected = np.zeros((3, 4), dtype=bool)
    expected[1, :2] = True  # track 0; the own base of the second place is G
    expected[0, 1:3] = True  # track 1, where all are equal
    np.testing.assert_array_equal(choose_best({"SAD": estimates}, "AGC", 2), expected)


def test_what_estimates_are_is_said():
    assert "first_order" not in FORMULAS
    assert "sum(log2(1 + x))" in formula_of("SAR_first_order")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"statistics": ("SAD", "JSD", "ALT")}, "JSD,ALT: has no gradient"),
        ({"deletion": 2}, "screen or deletion"),
        ({"window_per_base": True}, "screen or window_per_base"),
        ({"screen": 0}, "at least 1"),
    ],
)
def test_what_cannot_be(linear, genome, options, problem):
    with pytest.raises(ValueError, match=problem):
        next(linear.saturation_mutagenesis([REGION], genome, **{"screen": 3, **options}))


def test_another_genome_is_refused_before_a_gradient_is_taken(linear, genome):
    with pytest.raises(DatasetError, match="contigs, c1"):
        next(linear.saturation_mutagenesis([Interval("c2", 5, 9)], genome, screen=1))
