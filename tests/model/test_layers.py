"""Each layer against a plain statement of the same thing."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from enformer_keras.model.layers import (
    CutIntoPieces1D,
    Dropout,
    JoinPieces1D,
    Neighbours1D,
    RelativeMultiHeadAttention,
    SoftmaxPooling1D,
    SynchronizedBatchNormalization,
    TargetLengthCrop1D,
    WinogradConv1D,
    gelu,
    softplus,
)
from enformer_keras.model.layers.positional_features import relative_positional_features
from enformer_keras.model.layers.relative_attention import relative_shift
from enformer_keras.model.layers.winograd_convolution import minimal_filtering
from tests.model.gradients import value_and_gradients

rng = np.random.default_rng(0)


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("pool_size", [2, 3])
def test_softmax_pooling_is_a_softmax_weighted_sum(pool_size):
    x = rng.normal(size=(2, 12, 5)).astype("float32")
    layer = SoftmaxPooling1D(pool_size)
    layer.build(x.shape)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.kernel), 2 * np.eye(5))
    kernel = rng.normal(size=(5, 5)).astype("float32")
    layer.kernel.assign(kernel)
    pools = x.reshape(2, 12 // pool_size, pool_size, 5)
    expected = (pools * softmax(pools @ kernel, axis=2)).sum(axis=2)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, atol=1e-6)


def test_softmax_pooling_refuses_a_remainder():
    with pytest.raises(ValueError, match=r"length of 7 .* pool_size=2"):
        SoftmaxPooling1D(2)(np.zeros((1, 7, 3), "float32"))


@pytest.mark.parametrize("sliced", [False, True], ids=["reshaped", "sliced"])
@pytest.mark.parametrize(("rows", "length"), [(5, 5), (2, 6), (1, 4)])
def test_relative_shift_picks_each_distance(rows, length, sliced):
    logits = rng.normal(size=(2, 3, rows, length + rows)).astype("float32")
    shifted = ops.convert_to_numpy(relative_shift(ops.convert_to_tensor(logits), sliced))
    for i in range(rows):
        for j in range(length):
            np.testing.assert_array_equal(shifted[..., i, j], logits[..., i, rows + j - i])


@pytest.mark.parametrize("sliced", [False, True], ids=["reshaped", "sliced"])
@pytest.mark.parametrize(("rows", "length"), [(5, 5), (2, 6), (1, 4)])
def test_relative_shift_has_the_gradient_of_picking(rows, length, sliced):
    width = length + rows
    x = rng.normal(size=(2, rows, width)).astype("float32")
    factors = rng.normal(size=(2, rows, length)).astype("float32")
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(
        inputs, {"keys": keras.layers.Lambda(relative_shift, arguments={"sliced": sliced})(inputs)}
    )
    *_, gradient = value_and_gradients(
        model, x, lambda y: ops.sum(ops.multiply(y["keys"], factors)), training=False
    )
    expected = np.zeros_like(x)
    for i in range(rows):
        expected[:, i, rows - i : width - i] = factors[:, i]
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("length", [5, 6, 16], ids=["one_block", "two_blocks", "eight_blocks"])
@pytest.mark.parametrize("features", [12, 6], ids=["projected_features", "projected_queries"])
def test_attention_is_the_sum_over_heads_written_out(features, length):
    batch, channels, heads, keys, values = 2, 5, 2, 8, 4
    layer = RelativeMultiHeadAttention(heads, keys, values, features)
    layer.build((None, length, channels))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    w = {weight.name: ops.convert_to_numpy(weight) for weight in layer.weights}
    x = rng.normal(size=(batch, length, channels)).astype("float32")

    table = relative_positional_features(length, features)
    merged = np.zeros((batch, length, heads * values), "float32")
    for head in range(heads):
        k, v = np.s_[head * keys : (head + 1) * keys], np.s_[head * values : (head + 1) * values]
        query = x @ w["query_kernel"][:, k] / math.sqrt(keys)
        key, value = x @ w["key_kernel"][:, k], x @ w["value_kernel"][:, v]
        position = table @ w["position_kernel"][:, k]
        logits = np.zeros((batch, length, length), "float32")
        for i in range(length):
            for j in range(length):
                content = query[:, i] + w["content_bias"][0, head, 0]
                by_position = query[:, i] + w["position_bias"][0, head, 0]
                logits[:, i, j] = (content * key[:, j]).sum(-1) + by_position @ position[length - 1 + j - i]
        merged[..., v] = softmax(logits, axis=-1) @ value
    expected = merged @ w["output_kernel"] + w["output_bias"]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, rtol=1e-4, atol=1e-4)
    for first, end, together in [
        (0, 1, None),
        (1, length - 1, None),
        (2, length, None),
        (0, length, 1),
        (1, 5, 2),
    ]:
        some = ops.convert_to_numpy(layer(x, positions=(first, end), together=together))
        np.testing.assert_allclose(some, expected[:, first:end], rtol=1e-4, atol=1e-4)
    assert layer(keras.Input((length, channels)), positions=(1, 3)).shape == (None, 2, heads * values)
    for wrong in ({"positions": (2, length + 1)}, {"together": 3, "positions": (0, 4)}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
            layer(x, **wrong)
    with pytest.raises(ValueError, match="is for inference"):
        layer(x, together=1, training=True)


def test_attention_starts_with_different_queries_keys_and_values():
    layer = RelativeMultiHeadAttention(2, 3, 3, 6)
    layer.build((None, 4, 6))
    query, key = (ops.convert_to_numpy(v) for v in (layer.query_kernel, layer.key_kernel))
    assert not np.allclose(query, key)
    assert not ops.convert_to_numpy(layer.output_kernel).any()


def test_minimal_filtering_slides_a_kernel():
    outputs, kernel, inputs = minimal_filtering()
    x, w = rng.normal(size=8), rng.normal(size=5)
    np.testing.assert_allclose(
        outputs @ ((kernel @ w) * (inputs @ x)), np.correlate(x, w, mode="valid"), atol=1e-12
    )


@pytest.mark.parametrize("length", [8, 6, 3], ids=["whole_tiles", "part_of_a_tile", "short"])
def test_winograd_convolution_is_the_direct_one(length):
    x = rng.normal(size=(2, length, 3)).astype("float32")
    direct, winograd = keras.layers.Conv1D(4, 5, padding="same"), WinogradConv1D(4)
    results = []
    for layer in (direct, winograd):
        inputs = keras.Input(x.shape[1:])
        model = keras.Model(inputs, {"y": layer(inputs)})
        if layer is winograd:
            winograd.set_weights(direct.get_weights())
        results.append(value_and_gradients(model, x, lambda y: ops.sum(ops.sin(y["y"])), training=True))
    (_, expected, by_weight, by_input), (_, outputs, by_weight_here, by_input_here) = results
    pairs = [
        (outputs["y"], expected["y"]),
        (by_input_here, by_input),
        *zip(by_weight_here, by_weight, strict=True),
    ]
    for here, there in pairs:
        largest = np.abs(ops.convert_to_numpy(there)).max()
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-5 * max(1, largest))


def test_winograd_convolution_is_direct_in_half_precision():
    x = rng.normal(size=(1, 8, 3)).astype("float32")
    direct = keras.layers.Conv1D(4, 5, padding="same", dtype="mixed_bfloat16")
    winograd = WinogradConv1D(4, dtype="mixed_bfloat16")
    expected, _ = direct(x), winograd(x)
    winograd.set_weights(direct.get_weights())
    here, there = (ops.convert_to_numpy(ops.cast(y, "float32")) for y in (winograd(x), expected))
    np.testing.assert_array_equal(here, there)


def test_winograd_convolution_keeps_its_config_and_refuses_another_kernel():
    layer = WinogradConv1D(4, use_bias=False)
    assert WinogradConv1D.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match=r"\['strides'\] cannot be chosen"):
        WinogradConv1D(4, strides=2)


@pytest.mark.parametrize(("pieces", "width"), [(1, 3), (2, 5), (8, 3), (4, 5)])
def test_pieces_are_convolved_as_the_whole(pieces, width):
    x = rng.normal(size=(3, 16, 5)).astype("float32")
    whole = keras.layers.Conv1D(4, width, padding="same")
    expected = whole(x)
    cut = keras.layers.Conv1D(4, width, padding="valid")
    layers = [CutIntoPieces1D(pieces), Neighbours1D(pieces, width // 2), cut, JoinPieces1D(pieces)]
    inputs = y = keras.Input((16, 5))
    for layer in layers:
        y = layer(y)
    assert layers[0].compute_output_shape((3, 16, 5)) == (3 * pieces, 16 // pieces, 5)
    assert layers[1].compute_output_shape((3, 16, 5)) == (3, 16 + width - 1, 5)
    assert layers[3].compute_output_shape((8, 2, 5)) == (8 // pieces, 2 * pieces, 5)
    cut.set_weights(whole.get_weights())
    found = keras.Model(inputs, y)(x)
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(expected), rtol=0, atol=1e-6)
    for layer in layers[:2] + layers[3:]:
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_pieces_that_cannot_be():
    with pytest.raises(ValueError, match="a length of 16 does not divide into pieces=3"):
        CutIntoPieces1D(3)(np.zeros((1, 16, 2), "float32"))
    with pytest.raises(ValueError, match="pieces of 2 positions have no size=7 to give"):
        Neighbours1D(8, 7)(np.zeros((8, 2, 2), "float32"))


LENGTH_BOUND = {
    "attention": lambda: RelativeMultiHeadAttention(1, 2, 2, 6),
    "pooling": lambda: SoftmaxPooling1D(2),
    "crop": lambda: TargetLengthCrop1D(2),
    "winograd": lambda: WinogradConv1D(4),
    "pieces": lambda: CutIntoPieces1D(1),
    "neighbours": lambda: Neighbours1D(1, 1),
    "joined": lambda: JoinPieces1D(1),
}


@pytest.mark.parametrize("name", LENGTH_BOUND)
def test_lengths_that_are_not_known_or_0(name):
    with pytest.raises(ValueError, match="length must be known"):
        LENGTH_BOUND[name]()(keras.Input((None, 3)))
    layer = LENGTH_BOUND[name]()
    with pytest.raises(ValueError, match=f"{layer.name}: the length must be at least 1, got 0"):
        layer(np.zeros((1, 0, 3), "float32"))
    layer.build((None, 4, 3))
    with pytest.raises(ValueError, match=f"{layer.name}: the length must be at least 1, got 0"):
        layer.call(np.zeros((1, 0, 3), "float32"))


@pytest.mark.parametrize(
    ("make", "argument", "value"),
    [
        (SoftmaxPooling1D, "pool_size", "two"),
        (SoftmaxPooling1D, "pool_size", True),
        (CutIntoPieces1D, "pieces", 0),
        (JoinPieces1D, "pieces", 2.0),
        (Neighbours1D, "size", 0),
        (TargetLengthCrop1D, "target_length", None),
        (RelativeMultiHeadAttention, "num_heads", 1.5),
        (RelativeMultiHeadAttention, "num_position_features", 6.0),
        (RelativeMultiHeadAttention, "attention_dropout", 1.0),
        (RelativeMultiHeadAttention, "position_dropout", "0.1"),
        (RelativeMultiHeadAttention, "lora_rank", True),
        (SynchronizedBatchNormalization, "frozen_statistics", "no"),
        (Dropout, "rate", float("nan")),
    ],
)
def test_arguments_that_cannot_be(make, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be "):
        make(**{"pieces": 1} | {argument: value} if make is Neighbours1D else {argument: value})


def test_dropout_keeps_the_share_and_draws_independently():
    layer = Dropout(0.4, seed=3)
    ones = np.ones((2, 64, 64, 16), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ones)), ones)
    first, second = (ops.convert_to_numpy(layer(ones, training=True)).ravel() for _ in range(2))
    assert set(np.unique(first)) == {np.float32(0), np.float32(1) / np.float32(0.6)}
    other = ops.convert_to_numpy(Dropout(0.4, seed=4)(ones, training=True)).ravel()
    kept = first > 0
    noise = 4 * 0.5 / np.sqrt(kept.size)
    assert abs(kept.mean() - 0.6) < noise
    # Neighbours along each axis, the next step, the next seed, also shifted by one: all independent.
    pairs = [(kept[lag:], kept[:-lag]) for lag in (1, 16, 1024, 65536)]
    pairs += [(kept, second > 0), (kept, other > 0), (kept[1:], second[:-1] > 0), (kept[1:], other[:-1] > 0)]
    for a, b in pairs:
        assert abs((a & b).mean() - 0.36) < noise


def test_dropout_refuses_a_rate_and_keeps_its_config():
    with pytest.raises(ValueError, match="below 1"):
        Dropout(1.0)
    layer = Dropout(0.5, seed=0)
    assert Dropout.from_config(layer.get_config()).get_config() == layer.get_config()


def test_gamma_features_are_normalized_over_positions():
    features = relative_positional_features(64, 24)
    assert features.shape == (127, 24)
    np.testing.assert_allclose(features[:, 8:12].max(axis=0), 1.0)
    # The second half is the first times the sign of the distance.
    np.testing.assert_array_equal(features[:63, 12:], -features[:63, :12])
    np.testing.assert_array_equal(features[63, 12:], 0)


@pytest.mark.parametrize(("bins", "target_length"), [(8, 3), (8, 10), (7, 2)])
def test_crop_refuses_odd_and_negative(bins, target_length):
    with pytest.raises(ValueError, match=f"target_length={target_length} cannot be cut"):
        TargetLengthCrop1D(target_length)(np.zeros((1, bins, 3), "float32"))
    layer = TargetLengthCrop1D(target_length)
    layer.build((None, target_length, 3))
    with pytest.raises(ValueError, match=f"target_length={target_length} cannot be cut"):
        layer.call(np.zeros((1, bins, 3), "float32"))


def test_crop_keeps_the_centre():
    x = rng.normal(size=(1, 8, 3)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(TargetLengthCrop1D(4)(x)), x[:, 2:6])


def test_gelu():
    x = np.linspace(-4, 4, 9, dtype="float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(gelu(ops.convert_to_tensor(x))), x / (1 + np.exp(-1.702 * x)), atol=1e-6
    )


def test_the_gradient_of_gelu_is_its_slope():
    x = np.linspace(-30, 30, 61, dtype="float32")[None]
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, {"y": keras.layers.Activation(gelu)(inputs)})
    *_, gradient = value_and_gradients(model, x, lambda outputs: ops.sum(outputs["y"]), training=True)
    sigmoid = 1 / (1 + np.exp(-1.702 * x.astype("float64")))
    np.testing.assert_allclose(gradient, sigmoid * (1 + 1.702 * x * (1 - sigmoid)), rtol=1e-5, atol=1e-7)


def test_gelu_draws_a_graph_without_a_layer():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, gelu(inputs))
    x = rng.normal(size=(2, 3)).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), x / (1 + np.exp(-1.702 * x)), atol=1e-6)


def test_softplus_and_its_slope_to_the_last_digits():
    x = np.concatenate([np.linspace(-80, 80, 4001), np.linspace(-1, 1, 1001)]).astype("float32")[None]
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, {"y": keras.layers.Activation(softplus)(inputs)})
    _, outputs, *_, slope = value_and_gradients(model, x, lambda y: ops.sum(y["y"]), training=True)
    exact = x.astype("float64")
    np.testing.assert_allclose(outputs["y"], np.logaddexp(exact, 0), rtol=5e-7)
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-exact)), rtol=1e-6)


def test_softplus_of_what_is_no_number_or_endless():
    found = ops.convert_to_numpy(
        softplus(ops.convert_to_tensor(np.array([-np.inf, np.inf, np.nan], "float32")))
    )
    np.testing.assert_array_equal(found, [0, np.inf, np.nan])


def test_batch_normalization_follows_the_reference_and_travels_between_backends():
    layer = SynchronizedBatchNormalization()
    x = rng.normal(3.0, 2.0, size=(4, 10, 2)).astype("float32")
    y = ops.convert_to_numpy(layer(x, training=True))
    mean, variance = x.mean((0, 1)), x.var((0, 1))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_mean), 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_variance), 0.9 + 0.1 * variance, rtol=1e-5)
    assert layer.synchronized == (keras.backend.backend() == "tensorflow")
    assert "synchronized" not in layer.get_config()
