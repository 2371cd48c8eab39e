"""Half precision where it may be, float32 where it must be."""

import keras
import numpy as np
import pytest
from keras import ops

from enformer_keras import Enformer
from tests import fixture_genomes

# Elsewhere, compiling with XLA takes longer than the few steps of these tests.
ON_JAX = keras.backend.backend() == "jax"


def build(dtype):
    keras.utils.set_random_seed(0)
    return Enformer.from_preset(
        "tiny", heads={"ecoli": 2}, dtype=dtype, name="model", **fixture_genomes.LENGTHS
    )


@pytest.mark.parametrize(("policy", "digits"), [("mixed_bfloat16", 3e-2), ("mixed_float16", 5e-3)])
def test_half_precision_predicts_nearly_the_same_in_float32(policy, digits):
    x = fixture_genomes.windows(2)[0]["ecoli"]
    full, half = build("float32"), build(policy)
    for weight, source in zip(half.weights, full.weights, strict=True):
        weight.assign(ops.copy(source))
        assert weight.dtype == "float32"
    assert half.get_layer("tower_0_conv").compute_dtype == policy.removeprefix("mixed_")
    expected, found = full.predict(x, verbose=0)["ecoli"], half.predict(x, verbose=0)["ecoli"]
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < digits * np.abs(expected).max()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains_with_float32_statistics(policy):
    x, y = fixture_genomes.windows(4)
    model = build(policy)
    model.compile(keras.optimizers.Adam(1e-2), loss="poisson", jit_compile=ON_JAX)
    losses = model.fit(x["ecoli"], y["ecoli"], epochs=8, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.get_layer("tower_0_norm").moving_variance.dtype == "float32"


def test_the_policy_of_the_day_it_was_built_goes_with_the_model(tmp_path):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        build(None).save(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy(before)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert loaded.get_layer("head_ecoli").compute_dtype == "float32"
