"""Several organisms on one trunk."""

import keras
import numpy as np
import pytest

from enformer_keras import AlternatingHeads, Enformer, PearsonR
from tests import fixture_genomes

# Elsewhere, compiling with XLA takes longer than the few steps of these tests.
ON_JAX = keras.backend.backend() == "jax"
NO_DROPOUT = {"dropout_rate": 0.0, "attention_dropout": 0.0, "position_dropout": 0.0}
# The block that heads share, and the heads: what else would be learned only takes time to compile.
END_ALONE = {"num_transformer_layers": 0, "frozen": ["stem", "tower"]}


def to_numpy(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


@pytest.fixture
def windows():
    """Windows of two genomes, and their coding sequence by strand."""
    return fixture_genomes.windows(4)


def build(**changes):
    keras.utils.set_random_seed(0)
    heads = {"ecoli": 2, "yeast": 2}
    return Enformer.from_preset("tiny", heads=heads, **fixture_genomes.LENGTHS, **changes)


def test_a_step_moves_the_trunk_and_its_own_head_only(windows):
    x, y = windows
    model = build()
    before = to_numpy(model)
    head = model.head_model("ecoli")
    head.compile("sgd", loss="poisson", jit_compile=ON_JAX)
    head.train_on_batch(x["ecoli"], y["ecoli"])
    moved = {path for path, value in to_numpy(model).items() if not np.array_equal(value, before[path])}
    assert {"head_ecoli/kernel", "stem_conv/kernel"} <= moved
    assert not any(path.startswith("head_yeast") for path in moved)


def test_alternating_is_one_update_for_each_head_in_turn(windows):
    """The same numbers as one model for each head, trained in turn by hand with SGD."""
    x, y = windows
    both = AlternatingHeads(build(**NO_DROPOUT))
    both.compile(keras.optimizers.SGD(1e-2), loss="poisson", metrics=lambda: [PearsonR()])
    both.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert int(both.optimizer.iterations) == 4

    by_hand = build(**NO_DROPOUT)
    heads = {head: by_hand.head_model(head) for head in by_hand.heads}
    for head in heads.values():
        head.compile(keras.optimizers.SGD(1e-2), loss="poisson", jit_compile=ON_JAX)
    for _ in range(2):
        for name, head in heads.items():
            head.fit(x[name], y[name], batch_size=4, verbose=0)
    expected = to_numpy(by_hand)
    for path, value in to_numpy(both.model).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-4, atol=1e-5, err_msg=path)


def test_accumulated_gradients_are_those_of_one_large_batch(windows):
    """With a factor of the loss that each update changes, and that must leave the sums alone."""
    x, y = windows
    trained = []
    for batch_size, steps in ((4, 1), (2, 2)):
        both = AlternatingHeads(build(**NO_DROPOUT, **END_ALONE, frozen_statistics=True))
        before = to_numpy(both.model)
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(1e-2), initial_scale=8.0, dynamic_growth_steps=1
        )
        both.compile(optimizer, gradient_accumulation_steps=steps)
        both.fit(x, y, batch_size=batch_size, verbose=0)
        assert int(optimizer.iterations) == 2
        trained.append(to_numpy(both.model))
    large, accumulated = trained
    for path, value in large.items():
        # The second head has one gradient of two from before the first one's update.
        move = np.abs(value - before[path]).max()
        assert np.abs(accumulated[path] - value).max() <= 0.05 * move + 2e-7, path
        assert (move > 0) == path.startswith(("final_pointwise", "head")) or "moving" in path, path


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_optimizer_that_accumulates_by_itself_is_refused(wrapped):
    optimizer = keras.optimizers.SGD(1e-2, gradient_accumulation_steps=2)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    both = AlternatingHeads(build(num_transformer_layers=0))
    with pytest.raises(ValueError, match=r"compile\(\.\.\., gradient_accumulation_steps=2\)"):
        both.compile(optimizer)
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps must be a positive integer, got 1\.5"):
        both.compile("sgd", gradient_accumulation_steps=1.5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_moving_averages_and_a_global_half_precision(windows, policy):
    x, y = windows
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        model = build(**END_ALONE)
        start = to_numpy(model)
        both = AlternatingHeads(model)
        both.compile(keras.optimizers.SGD(1e-2, use_ema=policy == "float32", ema_momentum=0.5))
        both.fit(x, y, batch_size=4, epochs=2, verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    for path, value in to_numpy(model).items():
        assert np.isfinite(value).all(), path
        moved = not np.array_equal(value, start[path])
        assert moved == path.startswith(("final_pointwise", "head")), path


def test_it_logs_evaluates_and_predicts_each_head_and_all(windows):
    x, y = windows
    both = AlternatingHeads(build())
    both.compile("adam", loss={"ecoli": "poisson", "yeast": "mse"}, metrics=lambda: [PearsonR(name="r")])
    logs = both.fit(x, y, validation_data=(x, y), batch_size=2, epochs=2, verbose=0).history
    for key in ("loss", "ecoli_loss", "yeast_loss", "ecoli_r", "yeast_r"):
        assert len(logs[key]) == len(logs[f"val_{key}"]) == 2
    np.testing.assert_allclose(logs["loss"][1], logs["ecoli_loss"][1] + logs["yeast_loss"][1], rtol=1e-5)
    predicted = both.predict(x, verbose=0)
    for head in x:
        np.testing.assert_allclose(
            predicted[head], both.model.predict(x[head], verbose=0)[head], rtol=1e-4, atol=1e-5
        )
    # The losses of the last epoch's validation are those of the weights as they are now.
    mse = np.mean((predicted["yeast"] - y["yeast"]) ** 2)
    np.testing.assert_allclose(logs["val_yeast_loss"][1], mse, rtol=1e-3)


def test_windows_of_heads_that_are_not_there(windows):
    x, _ = windows
    both = AlternatingHeads(build())
    with pytest.raises(ValueError, match=r"\['ecoli', 'yeast'\], got \['ecoli'\]"):
        both({"ecoli": x["ecoli"]})
    with pytest.raises(ValueError, match=r"\['ecoli', 'yeast'\], got \['ecoli'\]"):
        both.compile("sgd", loss={"ecoli": "poisson"})
    with pytest.raises(ValueError, match="metrics must be a function"):
        both.compile("sgd", metrics=[PearsonR()])
    with pytest.raises(ValueError, match="trains an Enformer"):
        AlternatingHeads("model.keras")
    with pytest.raises(ValueError, match=r"model\.h5: .*ends in \.keras"):
        both.save("model.h5")
