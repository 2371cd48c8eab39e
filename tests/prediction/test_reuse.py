"""Windows predicted from ones that they are like, against full passes."""

import keras
import numpy as np
import pytest
from keras import ops

from enformer_keras import Enformer
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.variants import Variant
from enformer_keras.model.enformer import BIN_SIZE
from enformer_keras.model.layers import Dense
from enformer_keras.prediction import above_tower
from enformer_keras.prediction.predictor import PredictedTrack, Predictor
from enformer_keras.prediction.reuse import REACH, Patch, TowerReuse, is_split
from enformer_keras.prediction.statistics import FORMULAS
from enformer_keras.prediction.windows import Frame

BINS = 40
LENGTH = BINS * BIN_SIZE
BASES = "".join(np.random.default_rng(7).choice(list("ACGT"), 3 * LENGTH))
WINDOW = BASES[:LENGTH]
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}


def changed(at, count=1):
    return WINDOW[:at] + "".join(OTHER[base] for base in WINDOW[at : at + count]) + WINDOW[at + count :]


def make_model(bins):
    keras.utils.set_random_seed(2)
    model = Enformer(
        heads={"a": 3, "b": 2},
        channels=12,
        num_heads=1,
        num_transformer_layers=1,
        key_size=4,
        filters_divisible_by=2,
        sequence_length=bins * BIN_SIZE,
        target_length=bins - 4,
    )
    rng = np.random.default_rng(3)
    for weight in model.trainable_weights:  # a narrow fresh model hardly sees its input
        weight.assign(weight.numpy() + 0.2 * rng.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model(BINS)


def full_passes(model, windows):
    tracks = [PredictedTrack(at, "", "", at) for at in range(3)]
    predictor = Predictor(
        model.head_model("a"), Frame(LENGTH, BINS - 4, BIN_SIZE), tracks, batch_size=3, reuse=False
    )
    return np.array(list(predictor.predict_strands([(window, False) for window in windows], [0, 1, 2])))


def test_a_tower_in_pieces_is_not_reused_and_the_log_says_so(model, caplog):
    assert is_split(model, BIN_SIZE)
    cut = model.with_tower_pieces(4).head_model("b")
    assert not is_split(cut, BIN_SIZE)
    tracks = [PredictedTrack(at, "", "", at) for at in range(2)]
    Predictor(cut, Frame(LENGTH, BINS - 4, BIN_SIZE), tracks)
    assert "with_tower_pieces(1)" in caplog.text


def test_a_bin_sees_what_the_patches_take_it_to_see(model):
    """Else nothing here proves anything: one base beyond changes nothing, the farthest one does."""
    tower = keras.Model(model.input, model.get_layer("tower_5_pool").output)
    reuse = TowerReuse(model, 3, "a")
    at = 10 * BIN_SIZE
    windows = [WINDOW, changed(at - REACH), changed(at - REACH - 1), changed(at + BIN_SIZE - 1 + REACH)]
    reuse.compiler.read_weights()
    bins = [ops.convert_to_numpy(reuse.keep([window])[window].tower)[10] for window in windows]
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
    sizes = [10, 20]
    for at in range(0, LENGTH, 97):
        patch = Patch.between(changed(at), WINDOW, sizes, BINS)
        assert patch.size == 10
        assert patch.first * BIN_SIZE <= at < (patch.last + 1) * BIN_SIZE
        assert patch.last - patch.first < 6
        beyond = "N" * 7 + changed(at) + "N" * 7
        assert patch.bases == beyond[patch.start * BIN_SIZE : (patch.start + 10) * BIN_SIZE + 14]
    assert Patch.between(changed(0, LENGTH), WINDOW, sizes, BINS).size == BINS
    assert Patch.between(WINDOW, WINDOW, sizes, BINS) is None


def test_what_is_kept_is_bounded_and_changes_no_number(model, monkeypatch):
    monkeypatch.setattr("enformer_keras.prediction.reuse._MOST_BYTES", 5 * (BINS * 12 + (BINS - 4) * 2) * 4)
    reuse = TowerReuse(model, 2, "b")
    windows = [BASES[at : at + LENGTH] for at in range(0, 300, 25)]
    first = list(reuse.predict(windows, [None] * len(windows)))
    assert len(reuse._kept) == 5
    for window, bins in zip(windows, first, strict=True):
        again = next(reuse.predict([window], [None]))
        np.testing.assert_allclose(again, bins, atol=5e-6 * bins.max())  # XLA rounds by place in the batch


TRACKS = [PredictedTrack(0, "x", "", 1), PredictedTrack(1, "y", "", 0), PredictedTrack(2, "z", "", 2)]
FRAME = Frame(LENGTH, BINS - 4, BIN_SIZE)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">c1\n{BASES}\n")
    return Genome(path)


@pytest.fixture(scope="module")
def ways(model):
    """By reuse, and by full passes."""
    return [
        Predictor(model.head_model("a"), FRAME, TRACKS, batch_size=4, reuse=reuse) for reuse in (True, False)
    ]


def variants():
    """Substitutions, a deletion, an insertion, one that cannot be scored, one whose ALT is the genome's."""
    found = [Variant("c1", at, BASES[at - 1], OTHER[BASES[at - 1]]) for at in (5, 6000, 6100, 6101, 9000)]
    found.append(Variant("c1", 6500, BASES[6499:6550], "".join(OTHER[base] for base in BASES[6499:6550])))
    found.append(Variant("c1", 7000, BASES[6999:7040], BASES[6999]))
    found.append(Variant("c1", 7100, BASES[7099], BASES[7099] + "ACCAGT"))
    found.append(Variant("c1", 7200, "N", "A"))
    return [*found, Variant("c1", 7300, OTHER[BASES[7299]], BASES[7299])]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strands": "forward", "shifts": (-3, 0, 5)},
        {"share_windows": 128, "width": 600},
        {"share_windows": 1000},
        {"tracks": [2, 0], "share_windows": 2048, "shifts": (0, 7)},
    ],
    ids=["own", "shifted", "along", "shared", "along_shifted"],
)
def test_variants_score_as_by_full_passes(ways, genome, options):
    """Each in its own windows; with a grid of 128 bp the tower comes of stretches along the contig."""
    asked = {"statistics": list(FORMULAS), "reference_policy": "swap", **options}
    fast, plain = (way.score_variants(variants(), genome, **asked) for way in ways)
    assert fast.statuses == plain.statuses
    assert {"scored", "swapped"} < {str(status) for status in plain.statuses}
    largest = np.nanmax(plain.statistics["REF"])
    for name in FORMULAS:
        a, b = fast.statistics[name], plain.statistics[name]
        assert a.shape == (10, len(options.get("tracks", TRACKS)))
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_allclose(a, b, atol=1e-5 * largest, err_msg=name)


@pytest.mark.parametrize("bins", [6, 8])
def test_windows_smaller_than_a_patch(genome, bins):
    """Of which all is computed."""
    model, frame = make_model(bins).head_model("b"), Frame(bins * BIN_SIZE, bins - 4, BIN_SIZE)
    tracks = [PredictedTrack(at, "", "", at) for at in range(2)]
    fast, plain = (
        Predictor(model, frame, tracks, batch_size=2, reuse=reuse).score_variants(
            variants(), genome, statistics=["ALT"], share_windows=128, strands="forward"
        )
        for reuse in (True, False)
    )
    np.testing.assert_allclose(fast.statistics["ALT"], plain.statistics["ALT"], rtol=1e-5)
    assert (plain.statistics["ALT"] > 0).sum() > 8


def test_predictions_come_with_their_scores(ways, genome):
    """And R and A themselves are those of full passes."""
    options = {"statistics": ["ALT"], "share_windows": 256, "keep_predictions": True}
    fast, plain = (
        [kept for part in way.score_in_parts(variants(), genome, **options) for kept in part.predictions]
        for way in ways
    )
    assert sum(kept is None for kept in plain) == sum(kept is None for kept in fast) == 2
    for a, b in zip(fast, plain, strict=True):
        if b is not None:
            assert a.interval == b.interval
            np.testing.assert_allclose(a.reference, b.reference, atol=1e-5 * b.reference.max())
            np.testing.assert_allclose(a.alternate, b.alternate, atol=1e-5 * b.reference.max())


def test_no_number_depends_on_its_neighbours(ways, genome):
    """An allele alone, at the end of a batch, and after others that share its windows or its tower."""
    for share in (None, 128):
        ways[0].forget()
        asked = {"genome": genome, "statistics": ["ALT"], "share_windows": share}
        together = ways[0].score_variants(variants(), **asked).statistics["ALT"]
        for row in (2, 4, 6, 9):
            ways[0].forget()
            alone = ways[0].score_variants(variants()[row : row + 1], **asked)
            np.testing.assert_allclose(alone.statistics["ALT"][0], together[row], rtol=1e-5)


def test_a_stretch_of_the_tower_is_computed_once(ways, genome, monkeypatch):
    """Of windows along a contig, each stretch once; and what is kept of them is bounded."""
    ways[0].forget()
    reuse, computed = ways[0]._reuse, []
    run = reuse._run_local
    monkeypatch.setitem(reuse.__dict__, "_run_local", lambda codes: computed.append(1) or run(codes))
    snvs = [Variant("c1", at, BASES[at - 1], OTHER[BASES[at - 1]]) for at in range(4000, 8000, 128)]
    scores = ways[0].score_variants(snvs, genome, share_windows=128, strands="forward").statistics["SAD"]
    bins = (snvs[-1].position - snvs[0].position + LENGTH) / BIN_SIZE
    assert bins / reuse.stretch <= len(computed) <= bins / reuse.stretch + 3
    monkeypatch.setattr("enformer_keras.prediction.reuse._MOST_BYTES_ALONG", 3 * reuse.stretch * 12 * 4)
    ways[0].forget()
    again = ways[0].score_variants(snvs, genome, share_windows=128, strands="forward").statistics["SAD"]
    assert len(reuse._along) == 3
    np.testing.assert_allclose(again, scores, rtol=1e-3, atol=1e-5)


def test_another_genome_has_stretches_of_its_own(ways, genome, tmp_path):
    (tmp_path / "other.fa").write_text(f">c1\n{BASES[::-1]}\n")
    variant = [Variant("c1", 6000, BASES[::-1][5999], OTHER[BASES[::-1][5999]])]
    ways[0].score_variants(variants()[:2], genome, share_windows=128)
    fast, plain = (way.score_variants(variant, tmp_path / "other.fa", share_windows=128) for way in ways)
    # Predictions round to 1e-7 of themselves, and 36 of them are summed.
    np.testing.assert_allclose(fast.statistics["SAD"], plain.statistics["SAD"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("head", ["a", None], ids=["of_two_heads", "head_model"])
def test_only_the_tracks_that_are_asked_for_are_computed(model, head, monkeypatch):
    """The head's columns, with the strand pair's where the other strand is read; the numbers are the same."""
    computed, some_units = [], Dense.some_units
    monkeypatch.setattr(
        Dense,
        "some_units",
        lambda layer, x, units: computed.append(tuple(units)) or some_units(layer, x, units),
    )
    asked = model if head else model.head_model("a")
    window, other = WINDOW, changed(3000)
    reuse = TowerReuse(asked, 2, head)
    reuse.compiler.read_weights()
    every = reuse.keep([window])[window]
    assert not computed
    some = reuse.keep([window], tracks=(2, 0))[window]
    assert computed == [(2, 0)]
    np.testing.assert_allclose(some.predicted, ops.convert_to_numpy(every.predicted)[:, [2, 0]], rtol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(some.tower), ops.convert_to_numpy(every.tower))
    again = next(reuse.predict([other], [window]))
    assert again.shape == (BINS - 4, 3)


@pytest.mark.parametrize(("strands", "needed"), [("forward", (0,)), ("both", (0, 1))])
def test_a_track_brings_its_strand_pair_where_the_other_strand_is_read(ways, genome, strands, needed):
    fast, plain = (
        way.score_variants(variants()[1:3], genome, tracks=[0], strands=strands, statistics=["SAD", "ALT"])
        for way in ways
    )
    assert ways[0]._reuse._kept_tracks == needed
    np.testing.assert_allclose(fast.statistics["ALT"], plain.statistics["ALT"], rtol=1e-5)


def test_some_units_of_a_head():
    """With low-rank updates, and in int8, too."""
    head = Dense(5, activation="softplus", name="head_x")
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype("float32")
    head.build(x.shape)
    for prepare in (lambda: None, lambda: head.enable_lora(2), lambda: head.quantize("int8", type_check=False)):
        prepare()
        expected = ops.convert_to_numpy(head(x))[..., [4, 1]]
        np.testing.assert_allclose(ops.convert_to_numpy(head.some_units(x, [4, 1])), expected, rtol=1e-5)


def test_weights_that_changed_between_two_questions_leave_nothing_kept():
    model = make_model(BINS)
    reuse = TowerReuse(model, 3, "a")
    asked = [WINDOW, changed(3000)], [None, WINDOW]
    before = list(reuse.predict(*asked))
    kept = reuse.keep([WINDOW])[WINDOW]
    list(reuse.predict(*asked))
    assert reuse.keep([WINDOW])[WINDOW] is kept
    weight = model.get_layer("stem_conv").kernel
    weight.assign(ops.flip(weight, axis=0))
    after = list(reuse.predict(*asked))
    np.testing.assert_allclose(after, full_passes(model, asked[0]), rtol=1e-4)
    assert not np.allclose(after, before, rtol=1e-2)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="in turns they go on JAX alone")
def test_queries_in_turns(monkeypatch):
    model = make_model(BINS)
    windows = [WINDOW, changed(3000)]
    monkeypatch.setattr(above_tower, "_MANY_BINS", BINS)
    monkeypatch.setattr(above_tower, "_MOST_TOGETHER", 5)
    assert above_tower._together(BINS, BINS - 4) == 4
    found = list(TowerReuse(model, 3, "a").predict(windows, [None, WINDOW]))
    expected = full_passes(model, windows)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert above_tower._together(BINS, BINS - 4) is None
