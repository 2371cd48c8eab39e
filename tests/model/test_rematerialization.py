"""Training with rematerialized parts does what training without does, and keeps less."""

import keras
import numpy as np
import pytest
from keras import ops

from enformer_keras import Enformer
from tests import fixture_genomes

# Elsewhere, compiling with XLA takes longer than the few steps of these tests.
ON_JAX = keras.backend.backend() == "jax"


def build(**changes):
    keras.utils.set_random_seed(0)
    return Enformer.from_preset("tiny", heads={"ecoli": 2}, **{**fixture_genomes.LENGTHS, **changes})


def copy_of(model, **changes):
    """The same model, with the same seeds of its dropout."""
    other = build(**changes)
    for variable, source in zip(other.variables, model.variables, strict=True):
        variable.assign(ops.copy(source.value))
    return other


def train(model, steps=2):
    """Losses of some steps of a model or head model, and the weights that they leave."""
    x, y = fixture_genomes.windows(2)
    model.compile(keras.optimizers.SGD(1e-2), loss="poisson", jit_compile=ON_JAX)
    losses = [model.train_on_batch(x["ecoli"], y["ecoli"]) for _ in range(steps)]
    return losses, [
        ops.convert_to_numpy(variable) for variable in model.variables if "seed" not in variable.path
    ]


@pytest.mark.full
@pytest.mark.parametrize(
    ("parts", "way"),
    [
        (("transformer",), {}),
        (("stem", "tower", "transformer"), {}),
        (("tower",), {"winograd": True}),
        (("stem", "tower", "transformer"), {"tower_pieces": 2}),
    ],
)
def test_steps_are_the_same(parts, way):
    model = build(**way)
    other = copy_of(model, rematerialized=parts, **way)
    assert other.rematerialized == parts
    # On JAX, training deletes the arrays that the copy took its values from.
    (losses, weights), (other_losses, other_weights) = train(model), train(other)
    np.testing.assert_allclose(other_losses, losses, rtol=1e-6)
    for found, expected in zip(other_weights, weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_step_in_half_precision_is_the_same():
    model = build(dtype="mixed_bfloat16")
    other = copy_of(model, dtype="mixed_bfloat16", rematerialized=("stem", "tower", "transformer"))
    (losses, weights), (other_losses, other_weights) = train(model, steps=1), train(other, steps=1)
    np.testing.assert_allclose(other_losses, losses, rtol=1e-6)
    for found, expected in zip(other_weights, weights, strict=True):
        # Updates are up to 2e-3. XLA rounds to bfloat16 at other places when it computes a second time: below
        # 5e-5, but on a CPU with instructions for bfloat16 three weights of one layer differ by up to 6.6e-5.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_head_models_are_rematerialized_and_survive_saving(tmp_path):
    # Seeds of dropout are not saved.
    still = {"dropout_rate": 0.0, "attention_dropout": 0.0, "position_dropout": 0.0}
    model = build(**still)
    head = copy_of(model, **still, rematerialized=["tower"]).head_model("ecoli")
    head.save(tmp_path / "head.keras")
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    assert (
        loaded.stretches
        == head.stretches
        == tuple(
            (f"tower_{block - 1}_pool" if block else "stem_pool", f"tower_{block}_pool") for block in range(6)
        )
    )
    expected, found = train(model), train(loaded)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


def test_the_choice_is_saved_with_the_model_and_can_be_taken_back(tmp_path):
    build(rematerialized=["transformer"]).save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert model.rematerialized == ("transformer",)
    assert model.trunk.stretches
    model.rematerialize()
    assert model.rematerialized == model.stretches == model.trunk.stretches == ()


def test_an_unknown_part_is_refused():
    with pytest.raises(
        ValueError, match=r"rematerialized: 'heads' is not among \('stem', 'tower', 'transformer'\)"
    ):
        build(rematerialized=["heads"])
    with pytest.raises(ValueError, match=r"rematerialized: \['tower'\] is not among .*; give names one by one"):
        build().rematerialize(["tower"])


@pytest.mark.skipif(
    not ON_JAX, reason="only JAX tells what a step keeps; benchmarks/rematerialization.py measures the others"
)
def test_a_step_keeps_less():
    import jax

    def kept(parts):
        """Bytes that wait for the backward pass."""
        model = build(sequence_length=32_768, target_length=None, rematerialized=parts)
        trainable, rest = (
            [v.value for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables)
        )

        def loss(trainable, x):
            outputs, _ = model.stateless_call(trainable, rest, x, training=True)
            return ops.sum(outputs["ecoli"])

        backward = jax.eval_shape(
            lambda *args: jax.vjp(loss, *args)[1], trainable, np.zeros((1, 32_768, 4), "float32")
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))

    keeping_all = kept([])
    assert kept(["tower"]) < 0.8 * keeping_all
    assert kept(["stem", "tower", "transformer"]) < 0.2 * keeping_all
