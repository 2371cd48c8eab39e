"""Windows predicted from ones that they are like, against full passes."""

import keras
import numpy as np
import pytest

from enformer_keras import Enformer
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.variants import Variant
from enformer_keras.model.enformer import BIN_SIZE
from enformer_keras.prediction.predictor import PredictedTrack, Predictor
from enformer_keras.prediction.reuse import REACH, Patch, TowerReuse
from enformer_keras.prediction.windows import Frame

BINS = 40
LENGTH = BINS * BIN_SIZE
BASES = "".join(np.random.default_rng(7).choice(list("ACGT"), 3 * LENGTH))
WINDOW = BASES[:LENGTH]
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}


def changed(at, count=1):
    return WINDOW[:at] + "".join(OTHER[base] for base in WINDOW[at : at + count]) + WINDOW[at + count :]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    model = Enformer(
        heads={"a": 3, "b": 2},
        channels=12,
        num_heads=1,
        num_transformer_layers=1,
        key_size=4,
        filters_divisible_by=2,
        sequence_length=LENGTH,
        target_length=BINS - 4,
    )
    rng = np.random.default_rng(3)
    for weight in model.trainable_weights:  # a narrow fresh model hardly sees its input
        weight.assign(weight.numpy() + 0.2 * rng.normal(size=weight.shape))
    return model


def full_passes(model, windows):
    tracks = [PredictedTrack(at, "", "", at) for at in range(3)]
    predictor = Predictor(
        model.head_model("a"), Frame(LENGTH, BINS - 4, BIN_SIZE), tracks, batch_size=3, reuse=False
    )
    return np.array(list(predictor.predict_strands([(window, False) for window in windows], [0, 1, 2])))


def test_a_bin_sees_what_the_patches_take_it_to_see(model):
    """Else nothing here proves anything: one base beyond changes nothing, the farthest one does."""
    tower = keras.Model(model.input, model.get_layer("tower_5_pool").output)
    reuse = TowerReuse(model, 3, "a")
    at = 10 * BIN_SIZE
    windows = [WINDOW, changed(at - REACH), changed(at - REACH - 1), changed(at + BIN_SIZE - 1 + REACH)]
    bins = [reuse._towers([window], 1)[window][0][10] for window in windows]
    assert (bins[0] != bins[1]).any()
    assert (bins[0] != bins[3]).any()
    np.testing.assert_array_equal(bins[0], bins[2])
    assert tower.output.shape[1] == BINS


def test_substitutions_anywhere_and_indels_are_what_full_passes_say(model):
    at = [0, 1, 127, 128, 387, 388, 640, 767, LENGTH // 2, LENGTH - 900, LENGTH - 388, LENGTH - 1]
    windows = [
        WINDOW,
        *(changed(one) for one in at),
        changed(2000, 30),
        changed(1000, 1500),
        changed(0, LENGTH),
    ]
    middle = LENGTH // 2
    windows.append(WINDOW[:middle] + BASES[middle + 7 : LENGTH + 7])  # a deletion, anchored left
    windows.append(BASES[9 : middle + 9] + WINDOW[middle:])
    windows.append(WINDOW)
    found = np.array(list(TowerReuse(model, 3, "a").predict(windows, [None, *[WINDOW] * (len(windows) - 1)])))
    expected = full_passes(model, windows)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    differences = np.abs(expected[1:-1] - expected[0]).max(axis=(1, 2))
    assert (differences > 1e-4 * expected.max()).sum() > 10
    np.testing.assert_array_equal(found[-1], found[0])


def test_a_patch_is_small_and_holds_what_changes():
    sizes = [12, 24]
    for at in range(0, LENGTH, 97):
        patch = Patch.between(changed(at), WINDOW, sizes, BINS)
        assert patch.size == 12
        assert patch.first * BIN_SIZE <= at < (patch.last + 1) * BIN_SIZE
        assert patch.last - patch.first < 6
        assert patch.bases == changed(at)[patch.start * BIN_SIZE : (patch.start + 12) * BIN_SIZE]
    assert Patch.between(changed(0, LENGTH), WINDOW, sizes, BINS).size == BINS
    assert Patch.between(WINDOW, WINDOW, sizes, BINS) is None


def test_what_is_kept_is_bounded_and_changes_no_number(model, monkeypatch):
    monkeypatch.setattr("enformer_keras.prediction.reuse._MOST_BYTES", 5 * (BINS * 12 + (BINS - 4) * 2) * 4)
    reuse = TowerReuse(model, 2, "b")
    windows = [BASES[at : at + LENGTH] for at in range(0, 300, 25)]
    first = list(reuse.predict(windows, [None] * len(windows)))
    assert len(reuse._kept) == 5
    for window, bins in zip(windows, first, strict=True):
        np.testing.assert_array_equal(next(reuse.predict([window], [None])), bins)


def test_variants_score_as_by_full_passes(model, tmp_path):
    (tmp_path / "genome.fa").write_text(f">c1\n{BASES}\n")
    genome = Genome(tmp_path / "genome.fa")
    tracks = [PredictedTrack(0, "x", "", 1), PredictedTrack(1, "y", "", 0), PredictedTrack(2, "z", "", 2)]
    frame = Frame(LENGTH, BINS - 4, BIN_SIZE)
    variants = [Variant("c1", at, BASES[at - 1], OTHER[BASES[at - 1]]) for at in (5, 6000, 6100)]
    variants += [
        Variant("c1", 7000, BASES[6999:7040], BASES[6999]),
        Variant("c1", 7100, BASES[7099], BASES[7099] + "ACCAGT"),
    ]
    scores = [
        Predictor(model.head_model("a"), frame, tracks, batch_size=2, reuse=reuse).score_variants(
            variants, genome, statistics=["REF", "ALT"]
        )
        for reuse in (True, False)
    ]
    for name in ("REF", "ALT"):
        fast, plain = (score.statistics[name] for score in scores)
        np.testing.assert_allclose(fast, plain, rtol=1e-5)
