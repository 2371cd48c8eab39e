"""New heads, freezing, frozen statistics, two learning rates and low-rank updates; and that they survive."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from enformer_keras import PARTS, AdamByPart, Enformer
from tests import fixture_genomes

HEADS = {"ecoli": 2, "yeast": 2}

# Elsewhere, compiling with XLA takes longer than the few steps of these tests.
ON_JAX = keras.backend.backend() == "jax"


def build(**changes):
    keras.utils.set_random_seed(0)
    return Enformer.from_preset("tiny", **{"heads": HEADS, **fixture_genomes.LENGTHS, **changes})


def to_numpy(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def changed(before, model):
    return {path for path, value in to_numpy(model).items() if not np.array_equal(value, before[path])}


def step(model, optimizer="sgd"):
    """One training step on every head's own windows."""
    x, y = fixture_genomes.windows(2)
    model.compile(optimizer, loss="poisson", jit_compile=ON_JAX)
    head = next(iter(model.heads))
    model.train_on_batch(x["ecoli"], {name: y["ecoli"][..., :tracks] for name, tracks in model.heads.items()})
    return head


@pytest.fixture(scope="module")
def x():
    return fixture_genomes.windows(2)[0]["ecoli"]


def assert_predicts_the_same(model, other, x):
    expected = model.predict(x, verbose=0)
    for head, found in other.predict(x, verbose=0).items():
        np.testing.assert_allclose(found, expected[head], rtol=1e-5, atol=1e-6)


def test_new_heads_keep_the_trunk_and_the_heads_that_stay(x):
    model = build()
    step(model)
    new = model.with_heads({"ecoli": 2, "yeast": 1, "liver": 1})
    assert {head: output.shape[-1] for head, output in new.output.items()} == {
        "ecoli": 2,
        "yeast": 1,
        "liver": 1,
    }
    np.testing.assert_array_equal(new.trunk.predict(x, verbose=0), model.trunk.predict(x, verbose=0))
    np.testing.assert_array_equal(new.predict(x, verbose=0)["ecoli"], model.predict(x, verbose=0)["ecoli"])
    before = to_numpy(model)
    step(new)  # a copy: training it leaves the old model alone, and the old one can go on
    assert not changed(before, model)
    step(model)


def test_weights_are_taken_from_a_model_of_other_heads_window_and_precision(x):
    source = build(heads={"ecoli": 2, "liver": 1})
    step(source)
    model = build(sequence_length=2048, dtype="mixed_bfloat16", lora_rank=2)
    before = to_numpy(model)
    model.take_weights(source, ["ecoli"])
    expected = to_numpy(source)
    for path, value in to_numpy(model).items():
        mine = path.startswith("head_yeast") or "_lora_" in path
        np.testing.assert_array_equal(value, before[path] if mine else expected[path])
    taken = to_numpy(model)
    step(source)  # which is left alone, and leaves alone what was taken
    assert not changed(taken, model)


def test_weights_that_do_not_fit_are_named_and_none_is_taken():
    model = build()
    before = to_numpy(model)
    deeper = build(num_transformer_layers=2)
    with pytest.raises(ValueError, match=r"transformer_1_attention/\w+: \(.*\) here, missing in the source"):
        deeper.take_weights(model)
    with pytest.raises(ValueError, match=r"head_ecoli/bias: \(2,\) here, \(3,\) in the source"):
        model.take_weights(build(heads={"ecoli": 3}), ["ecoli"])
    with pytest.raises(ValueError, match="head_liver: not here"):
        model.take_weights(build(heads={"liver": 3}), ["liver"])
    with pytest.raises(ValueError, match="transformer_1_mlp_norm: only in the source"):
        model.take_weights(deeper)
    with pytest.raises(ValueError, match="merge_lora"):
        model.take_weights(build(lora_rank=2))
    assert not changed(before, model)


@pytest.mark.parametrize(
    ("parts", "still"),
    [(("stem",), "stem"), (("stem", "tower"), "tower"), (PARTS, "final"), (("head_yeast",), "head_yeast")],
)
def test_frozen_parts_stay_and_the_others_learn(parts, still):
    model = build()
    model.freeze(*parts)
    before = to_numpy(model)
    step(model)
    moved = changed(before, model)
    assert "head_ecoli/kernel" in moved
    assert not [path for path in moved if path.startswith(tuple(parts))], still
    for part in set(PARTS) - set(parts):
        assert [path for path in moved if path.startswith(part)], part
    model.freeze()
    assert len(model.trainable_weights) == len(build().trainable_weights)


def test_freezing_takes_whole_names():
    model = Enformer.from_preset("tiny", heads={"e": 1, "e_coli": 1})
    model.freeze("head_e")
    assert not model.get_layer("head_e").trainable
    assert model.get_layer("head_e_coli").trainable
    with pytest.raises(ValueError, match=r"frozen: 'heads' is not among .*head_e"):
        model.freeze("heads")


def test_frozen_statistics_stay_while_scale_and_offset_learn(x):
    model = build().with_frozen_statistics()
    before = to_numpy(model)
    step(model)
    moved = changed(before, model)
    assert not [path for path in moved if "moving" in path]
    assert "tower_0_norm/gamma" in moved
    assert any("moving" in path for path in changed(before, trained(model.with_frozen_statistics(False))))


def trained(model):
    step(model)
    return model


def test_each_part_has_its_learning_rate():
    """Adam's first step has the size of the learning rate wherever the gradient is not zero."""
    model = build()
    before = to_numpy(model)
    step(model, AdamByPart(1e-2, {"stem": 0.1, "tower": 0.0, "tower_5": 0.5}, epsilon=1e-12))
    after = to_numpy(model)
    for path, rate in {
        "stem_conv/kernel": 1e-3,
        "tower_0_conv/kernel": 0.0,
        "tower_5_conv/kernel": 5e-3,
        "head_ecoli/kernel": 1e-2,
    }.items():
        np.testing.assert_allclose(np.abs(after[path] - before[path]).max(), rate, rtol=1e-3, atol=0)


def test_factors_that_cannot_be():
    with pytest.raises(ValueError, match="'stem' must have a factor of at least 0"):
        AdamByPart(1e-3, {"stem": -1.0})
    with pytest.raises(ValueError, match="'stem' must have a factor of at least 0, got nan"):
        AdamByPart(1e-3, {"stem": float("nan")})
    for wrong in ("stem", ["stem"]):
        with pytest.raises(ValueError, match=r"factors must map names to numbers, such as {'stem': 0.1}, got"):
            AdamByPart(1e-3, wrong)
    with pytest.raises(ValueError, match=r"\['trunk'\] fit the beginning of no trainable layer"):
        AdamByPart(1e-3, {"trunk": 0.1}).build(build().trainable_variables)


def test_low_rank_updates_start_at_nothing_learn_alone_and_merge_back(x):
    model = trained(build())
    lora = model.with_lora(2)
    assert_predicts_the_same(model, lora, x)
    lora.freeze(*PARTS)
    before = to_numpy(lora)
    step(lora, keras.optimizers.Adam(1e-2))
    step(lora, keras.optimizers.Adam(1e-2))  # the first step moves only the factor that starts at zero
    moved = changed(before, lora)
    attention = "transformer_0_attention/"
    assert {path for path in moved if not path.startswith("head_")} == {
        f"{attention}{name}_lora_{side}"
        for name in ("query", "key", "value", "output")
        for side in ("up", "down")
    }
    merged = lora.merge_lora()
    assert_predicts_the_same(lora, merged, x)
    assert [weight.path for weight in merged.weights] == [weight.path for weight in model.weights]
    with pytest.raises(ValueError, match="rank 2 already"):
        lora.with_lora(2)
    for rank in (0, 1.5, True, None):
        with pytest.raises(ValueError, match=f"rank must be a positive integer, got {rank}"):
            model.with_lora(rank)


def test_another_length_has_the_same_weights():
    model = build()
    longer = model.with_sequence_length(4096, target_length=None)
    assert longer.output["ecoli"].shape == (None, 32, 2)
    before = to_numpy(model)
    assert all(np.array_equal(value, before[path]) for path, value in to_numpy(longer).items())
    back = longer.with_sequence_length(1024, target_length=4)
    x = fixture_genomes.windows(2)[0]["ecoli"]
    assert_predicts_the_same(model, back, x)


@pytest.mark.parametrize("length", [128, 384, 896])
def test_any_multiple_of_a_bin_is_a_length(length):
    model = build(sequence_length=length, target_length=None)
    assert model.predict(np.zeros((1, length, 4)), verbose=0)["yeast"].shape == (1, length // 128, 2)


def test_all_of_it_survives_saving(tmp_path, x):
    model = build().with_heads({"liver": 1}).with_lora(2).with_frozen_statistics()
    model.freeze("stem", "tower")
    step(model, AdamByPart(1e-3, {"transformer": 0.1}))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert_predicts_the_same(model, loaded, x)
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in model.trainable_weights]
    before = to_numpy(loaded)
    for each in (model, loaded):
        x, y = fixture_genomes.windows(2)
        each.train_on_batch(x["ecoli"], {"liver": y["ecoli"][..., :1]})
    moved = changed(before, loaded)
    assert moved
    assert not [path for path in moved if path.startswith(("stem", "tower")) or "moving" in path]
    assert_predicts_the_same(loaded.merge_lora(), loaded, x["ecoli"])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports a TensorFlow SavedModel")
def test_a_fine_tuned_model_exports(tmp_path, x):
    model = build().with_heads({"liver": 1}).with_lora(2)
    step(model)
    model.export(tmp_path / "exported", verbose=False)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "expected.npy", model.predict(x, verbose=0)["liver"])
    code = (
        "import numpy as np, sys, tensorflow as tf; folder = sys.argv[1]; "
        "model = tf.saved_model.load(folder + '/exported'); "
        "found = model.serve(tf.constant(np.load(folder + '/x.npy'))); "
        "np.testing.assert_allclose(found['liver'], np.load(folder + '/expected.npy'), rtol=1e-5, atol=1e-6)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_presets():
    with pytest.raises(ValueError, match=r"'big' is not among.*'notebook'"):
        Enformer.from_preset("big")
    model = Enformer.from_preset("notebook", sequence_length=2048, target_length=None)
    assert (model.channels, model.num_transformer_layers, model.heads["human"]) == (384, 11, 5313)
