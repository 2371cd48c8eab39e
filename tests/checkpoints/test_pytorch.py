"""Weights of enformer-pytorch, against what it predicted with them; it is not needed here."""

import json
import math
import warnings

import numpy as np
import pytest

from enformer_keras import Enformer, load_pytorch_checkpoint, one_hot_encode, pytorch_heads
from enformer_keras.checkpoints import pytorch
from enformer_keras.model.layers import relative_attention
from tests.checkpoints import their_weights
from tests.checkpoints.their_weights import bases_of, twin, write

safetensors = pytest.importorskip("safetensors.numpy", reason="the file's format is that of this package")


@pytest.fixture(scope="module")
def predicted():
    return their_weights.predictions()


def build(folder, length):
    return Enformer(**pytorch.pytorch_arguments(folder), heads=pytorch_heads(folder), sequence_length=length)


def their_features(length, num_features):
    """As enformer-pytorch computes them where it has no table: gamma densities by their maximum in a row."""
    features = np.array(relative_attention_features(length, num_features))
    count = num_features // 6
    distance = np.abs(np.arange(-length + 1, length))[:, None]
    stddev = length / (2 * count)
    mean = np.linspace(length / count, length, count)
    shape, rate = (mean / stddev) ** 2, mean / stddev**2
    with np.errstate(divide="ignore"):
        log = (shape - 1) * np.log(distance) - rate * distance
    log -= np.array([math.lgamma(value) for value in shape]) - shape * np.log(rate)
    density = np.exp(log) + 1e-8
    density /= density.max(axis=1, keepdims=True)
    features[:, 2 * count : 3 * count] = density
    features[:, 5 * count :] = density * np.sign(np.arange(-length + 1, length))[:, None]
    return features


relative_attention_features = relative_attention.relative_positional_features


@pytest.mark.parametrize("names", ["trunk", "parts", "both"])
def test_predictions_are_theirs_but_for_their_positional_features(predicted, tmp_path, monkeypatch, names):
    def rename(weights):
        renamed = {twin(name): values for name, values in weights.items()}
        return {"trunk": weights, "parts": renamed, "both": weights | renamed}[names]

    folder = write(tmp_path, predicted, "small", rename)
    window = one_hot_encode([bases_of(2048)])
    with pytest.warns(UserWarning, match="at 16 and 12 enformer-pytorch computes .* will differ"):
        load_pytorch_checkpoint(build(folder, 2048), folder)
    differ = []
    for features in (relative_attention_features, their_features):
        monkeypatch.setattr(relative_attention, "relative_positional_features", features)
        model = build(folder, 2048)
        with warnings.catch_warnings(action="ignore"):
            load_pytorch_checkpoint(model, folder / "model.safetensors")
        found = model.predict(window, verbose=0)
        assert found.keys() == {"human", "mouse"}
        differ.append(max(np.abs(found[head][0] - predicted[f"small_{head}"]).max() for head in found))
    assert differ[0] > 1e-3
    assert differ[1] < 1e-5


def test_predictions_are_theirs_where_they_take_the_reference_s_table(predicted, tmp_path):
    """At the pretrained models' 1,536 bins and 192 features."""
    folder = write(tmp_path, predicted, "full")
    model = build(folder, 196_608)
    with warnings.catch_warnings(action="error"):
        load_pytorch_checkpoint(model, folder)
    found = model.predict(one_hot_encode([bases_of(196_608)]), verbose=0)
    for head, values in found.items():
        assert predicted[f"full_{head}"].std(axis=0).max() > 0.01
        np.testing.assert_allclose(values[0], predicted[f"full_{head}"], rtol=0, atol=1e-5)
    (folder / "config.json").write_text(json.dumps({"use_tf_gamma": False}))
    with pytest.warns(UserWarning, match=r"config\.json says use_tf_gamma false"):
        load_pytorch_checkpoint(model, folder)


def set_shape(weights):
    return weights | {"_trunk.4.0.0.fn.1.to_q.weight": np.zeros((24, 16), np.float32)}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "_trunk.1.0.bias"}, r"missing.*\n  stem\.0\.bias"),
        (lambda w: w | {"_trunk.1.0.gain": np.ones(1)}, r"1 left over.*\n  _trunk\.1\.0\.gain"),
        (lambda w: w | {"x.num_batches_tracked": np.ones(1)}, r"1 left over.*\n  x\.num_batches_tracked"),
        (set_shape, r"to_q\.weight: \(24, 16\), the model wants \(16, 24\)"),
        (lambda w: w | {"stem.0.bias": w["_trunk.1.0.bias"] + 1}, r"with two values:\n  stem\.0\.bias"),
        (lambda w: {k.replace("_trunk.4.1", "_trunk.4.7"): v for k, v in w.items()}, r"transformer\.1\.0"),
    ],
)
def test_every_tensor_is_accounted_for_or_nothing_is_loaded(predicted, tmp_path, change, problem):
    folder = write(tmp_path, predicted, "small", change)
    model = build(folder, 2048)
    before = [np.array(weight) for weight in model.get_weights()]
    with pytest.raises(ValueError, match=rf"model\.safetensors: does not fit the model(.|\n)*{problem}"):
        load_pytorch_checkpoint(model, folder)
    for was, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, weight)


def test_a_model_without_attention_pooling_is_refused(predicted, tmp_path):
    folder = write(tmp_path, predicted, "small")
    arguments = pytorch.pytorch_arguments(folder) | {"pooling_type": "max", "sequence_length": 2048}
    with pytest.raises(ValueError, match="7 left over"):
        load_pytorch_checkpoint(Enformer(**arguments, heads=pytorch_heads(folder)), folder)


def test_files_that_cannot_be_read_are_named(predicted, tmp_path):
    folder = write(tmp_path, predicted, "small")
    model = build(folder, 2048)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.safetensors: cannot be read"):
        load_pytorch_checkpoint(model, folder / "cut.safetensors")
    with pytest.raises(FileNotFoundError, match=r"without model\.safetensors or pytorch_model\.bin"):
        load_pytorch_checkpoint(model, tmp_path.parent)
    safetensors.save_file({"a": np.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no head"):
        pytorch_heads(tmp_path / "other.safetensors")
    (folder / "config.json").write_text('{"num_downsamples": 6}')
    with pytest.raises(ValueError, match=r"config\.json: .*128 bp"):
        pytorch.pytorch_arguments(folder)


def test_a_file_of_torch_needs_torch(predicted, tmp_path, monkeypatch):
    folder = write(tmp_path, predicted, "small")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ImportError, match=r"pytorch_model\.bin: .*torch.* take model\.safetensors"):
        pytorch_heads(folder)


def test_a_file_of_torch_holds_the_same(predicted, tmp_path):
    torch = pytest.importorskip("torch")
    folder = write(tmp_path, predicted, "small")
    loaded = []
    for kind in ("safetensors", "bin"):
        model = build(folder, 2048)
        with warnings.catch_warnings(action="ignore"):
            load_pytorch_checkpoint(model, folder)
        loaded.append(model.get_weights())
        weights = safetensors.load_file(folder / "model.safetensors") if kind == "safetensors" else {}
        if weights:
            tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
            tensors |= {twin(name): tensor for name, tensor in tensors.items()}
            torch.save(tensors, folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
    for first, second in zip(*loaded, strict=True):
        np.testing.assert_array_equal(first, second)
