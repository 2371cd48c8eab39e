"""The model computes what the reference computes, on the backend that KERAS_BACKEND names."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import enformer_keras
from enformer_keras.checkpoints.sonnet import sonnet_entries
from enformer_keras.model.layers.positional_features import relative_positional_features
from tests import golden
from tests.model.gradients import value_and_gradients

pytest.importorskip("tensorflow", reason="the checkpoint's file format needs TensorFlow")

STAGES = {
    "stem": "stem_pool",
    **{f"conv_tower_block_{block}": f"tower_{block}_pool" for block in range(6)},
    **{f"transformer_block_{block}": f"transformer_{block}_mlp_residual" for block in range(2)},
    "crop": "crop",
    "final_pointwise": "embeddings",
}
NO_DROPOUT = {"dropout_rate": 0.0, "attention_dropout": 0.0, "position_dropout": 0.0}


def build(**arguments):
    config = golden.description()["config"]
    sizes = {key: value for key, value in config.items() if key not in ("batch", "seed")}
    return enformer_keras.Enformer(**sizes, **arguments)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "golden"
    golden.write_checkpoint(path, golden.description()["variables"])
    return path


WAYS = {"direct": {}, "winograd": {"winograd": True}, "pieces": {"tower_pieces": 4}}


@pytest.fixture(scope="module", params=WAYS)
def model(prefix, request):
    model = build(**WAYS[request.param])
    enformer_keras.load_sonnet_checkpoint(model, prefix)
    return model


def test_outputs_and_stages(model):
    arrays = golden.arrays()
    stages = keras.Model(model.inputs, {stage: model.get_layer(name).output for stage, name in STAGES.items()})
    outputs = model.predict(golden.one_hot(), verbose=0)
    for head in ("human", "mouse"):
        np.testing.assert_allclose(outputs[head], arrays[f"eval/{head}"], rtol=0, atol=1e-5)
    for stage, values in stages.predict(golden.one_hot(), verbose=0).items():
        positions = arrays[f"stage/{stage}/positions"]
        np.testing.assert_allclose(
            values.reshape(2, -1, values.shape[-1])[0, positions],
            arrays[f"stage/{stage}/values"],
            rtol=0,
            atol=1e-5,
            err_msg=stage,
        )
        # Over the whole stage, both examples.
        np.testing.assert_allclose(np.abs(values).mean(), arrays[f"stage/{stage}/mean_abs"], rtol=1e-5)
    np.testing.assert_allclose(
        model.trunk.predict(golden.one_hot(), verbose=0)[0, arrays["stage/final_pointwise/positions"]],
        arrays["stage/final_pointwise/values"],
        rtol=0,
        atol=1e-5,
    )


def test_input_gradient(model):
    *_, by_input = value_and_gradients(
        model, golden.one_hot(), lambda outputs: ops.mean(outputs["human"]), training=False
    )
    expected = golden.arrays()["eval/input_gradient"]
    assert np.abs(by_input - expected).max() < 1e-3 * np.abs(expected).max()
    assert np.linalg.norm(by_input - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("way", WAYS)
def test_training_output_loss_and_gradient_norms(prefix, way):
    model = build(**WAYS[way], **NO_DROPOUT)
    enformer_keras.load_sonnet_checkpoint(model, prefix)
    arrays = golden.arrays()
    poisson = keras.losses.Poisson()
    loss, outputs, gradients, _ = value_and_gradients(
        model,
        golden.one_hot(),
        lambda outputs: poisson(ops.convert_to_tensor(arrays["train/target_human"]), outputs["human"]),
        training=True,
    )
    np.testing.assert_allclose(outputs["human"], arrays["train/human"], rtol=1e-3)
    np.testing.assert_allclose(loss, arrays["train/poisson_loss"], rtol=1e-3)

    norms = {
        id(variable): np.linalg.norm(gradient)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    }
    entries = {key: norms[id(v)] for key, v, _ in sonnet_entries(model) if id(v) in norms}
    expected = golden.description()["train_gradient_norms"]
    assert expected.keys() <= entries.keys()
    # The reference itself is up to 9e-4 from a float64 evaluation. Rounding may put a ReLU of the first
    # transformer block on the other side of zero. On torch that moves three norms there to 1.1e-3; on
    # TensorFlow two on a CPU with AVX-512 and none on another; with Winograd's convolutions one to 1.9e-3 in
    # one run, and none by more than 3e-5 in the next. So a few may move, and not far.
    moved = []
    for key, norm in expected.items():
        # Biases in front of a normalization have a gradient of zero but for rounding, below 1e-6 in the
        # reference; the largest norm is 3.2.
        if abs(entries[key] - norm) >= max(1e-3 * norm, 1e-6):
            moved.append((key, entries[key], norm))
    few, far = (5, 5e-3) if way == "winograd" else (3, 1.5e-3)
    assert len(moved) <= few, moved
    assert all(abs(found - norm) < far * norm for _, found, norm in moved), moved


def test_positional_features_of_the_full_size_model():
    with np.load(golden.FIXTURES / "positional_features_T1536_F192.npz") as archive:
        expected = archive["features"]
    features = relative_positional_features(1536, 192)
    gamma = np.r_[64:96, 160:192]
    rest = np.setdiff1d(np.arange(192), gamma)
    np.testing.assert_allclose(features[:, rest], expected[:, rest], rtol=0, atol=1e-6)
    # One unit in the last place of log(distance) moves a gamma feature by up to 2e-3; nearly all agree.
    difference = np.abs(features[:, gamma] - expected[:, gamma])
    assert difference.max() < 2.5e-3
    assert (difference > 1e-6).mean() < 0.01


def test_names_every_variable_of_the_released_checkpoint():
    model = enformer_keras.Enformer()
    entries = {key: shape for key, _, shape in sonnet_entries(model)}
    released = {
        key: tuple(shape)
        for key, shape in json.loads((golden.FIXTURES / "released_checkpoint_variables.json").read_text())
        if not key.endswith(("/_counter", "/_hidden"))
    }
    assert entries == released
    assert len(entries) == len(model.weights)
    assert {head: output.shape for head, output in model.output.items()} == {
        "human": (None, 896, 5313),
        "mouse": (None, 896, 1643),
    }


def test_checkpoint_that_does_not_fit_lists_everything(tmp_path):
    variables = dict(golden.description()["variables"])
    del variables["module/_trunk/_layers/0/_layers/0/b"]
    variables["module/_heads/rat/_layers/0/b"] = (3,)
    variables["module/_heads/human/_layers/0/b"] = (12,)
    golden.write_checkpoint(tmp_path / "odd", variables)
    model = build()
    before = [ops.convert_to_numpy(weight) for weight in model.weights]
    with pytest.raises(ValueError, match="does not fit") as error:
        enformer_keras.load_sonnet_checkpoint(model, tmp_path / "odd")
    message = str(error.value)
    assert "1 missing in the checkpoint:\n  module/_trunk/_layers/0/_layers/0/b" in message
    assert "1 left over in the checkpoint:\n  module/_heads/rat/_layers/0/b" in message
    assert "module/_heads/human/_layers/0/b: (12,), the model wants (11,)" in message
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), old)


def test_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.index"):
        enformer_keras.load_sonnet_checkpoint(build(), tmp_path / "nowhere")
