"""The model's arguments, its parts, and what survives saving."""

import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from enformer_keras import Enformer, PearsonR, WarmUp, one_hot_encode
from enformer_keras.model.layers import SoftmaxPooling1D

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
TINY = {
    "channels": 48,
    "num_transformer_layers": 1,
    "num_heads": 2,
    "heads": {"ecoli": 4, "yeast": 2},
    "sequence_length": 1024,
    "target_length": 4,
    "key_size": 8,
    "filters_divisible_by": 8,
}


def random_one_hot(batch=2, length=1024):
    rng = np.random.default_rng(1)
    return np.eye(4, dtype="float32")[rng.integers(0, 4, size=(batch, length))]


@pytest.mark.parametrize("pooling_type", ["attention", "max"])
def test_shapes(pooling_type):
    model = Enformer(**TINY, pooling_type=pooling_type)
    outputs = model.predict(random_one_hot(), verbose=0)
    assert {head: output.shape for head, output in outputs.items()} == {
        "ecoli": (2, 4, 4),
        "yeast": (2, 4, 2),
    }
    assert all((output >= 0).all() for output in outputs.values())
    assert model.trunk.output_shape == (None, 4, 96)
    np.testing.assert_array_equal(
        model.head_model("yeast").predict(random_one_hot(), verbose=0), outputs["yeast"]
    )


def test_no_crop():
    assert Enformer(**{**TINY, "target_length": None}).output["ecoli"].shape == (None, 8, 4)


def test_config_keeps_every_argument():
    arguments = {
        **TINY,
        "pooling_type": "max",
        "dropout_rate": 0.3,
        "attention_dropout": 0.1,
        "position_dropout": 0.02,
        "tower_pieces": 4,
        "name": "mine",
        "dtype": "mixed_bfloat16",
    }
    model = Enformer(**arguments)
    copy = Enformer.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    for argument in arguments.keys() - {"dtype"}:
        assert copy.get_config()[argument] == arguments[argument]
    assert copy.get_layer("tower_0_conv").compute_dtype == "bfloat16"


def test_saved_model_gives_the_same_numbers(tmp_path):
    model = Enformer(**TINY)
    x = random_one_hot()
    model.compile(keras.optimizers.Adam(WarmUp(1e-3, 1)), loss=keras.losses.Poisson())
    model.fit(x, {"ecoli": np.ones((2, 4, 4)), "yeast": np.ones((2, 4, 2))}, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert isinstance(loaded, Enformer)
    expected, found = model.predict(x, verbose=0), loaded.predict(x, verbose=0)
    for head in TINY["heads"]:
        np.testing.assert_array_equal(found[head], expected[head])
    assert int(loaded.optimizer.iterations) == 2
    # A process that has imported nothing but the package and Keras can load all of it.
    code = f"import enformer_keras, keras; keras.saving.load_model({str(tmp_path / 'model.keras')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_winograd_is_another_way_to_the_same_numbers(tmp_path):
    model = Enformer(**TINY)
    other = model.with_winograd()
    names = {type(layer).__name__ for layer in other.layers if layer.name.startswith("tower_0_conv")}
    assert names == {"WinogradConv1D"}
    x = one_hot_encode(["ACGT" * (TINY["sequence_length"] // 4)])
    expected = model.predict(x, verbose=0)["ecoli"]
    np.testing.assert_allclose(other.predict(x, verbose=0)["ecoli"], expected, rtol=0, atol=1e-5)
    other.save(tmp_path / "winograd.keras")
    reloaded = keras.saving.load_model(tmp_path / "winograd.keras")
    assert reloaded.winograd
    np.testing.assert_allclose(reloaded.predict(x, verbose=0)["ecoli"], expected, rtol=0, atol=1e-5)
    assert not reloaded.with_winograd(False).winograd


@pytest.mark.parametrize("pooling_type", ["attention", "max"])
def test_a_tower_in_pieces_is_another_way_to_the_same_numbers(tmp_path, pooling_type):
    model = Enformer(**TINY, pooling_type=pooling_type)
    cut = model.with_tower_pieces(4)
    assert cut.get_layer("tower_5_pool").output.shape == (None, 2, 48)
    x = random_one_hot(3)
    expected = model.predict(x, verbose=0)["ecoli"]
    np.testing.assert_allclose(cut.predict(x, verbose=0)["ecoli"], expected, rtol=0, atol=1e-5)
    cut.save(tmp_path / "cut.keras")
    reloaded = keras.saving.load_model(tmp_path / "cut.keras")
    assert reloaded.tower_pieces == 4
    np.testing.assert_allclose(reloaded.predict(x, verbose=0)["ecoli"], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="winograd=True is for CPUs and tower_pieces=4 for TPUs"):
        cut.with_winograd()
    # Weights have the same places in files.
    model.save_weights(tmp_path / "whole.weights.h5")
    fresh = Enformer(**TINY, pooling_type=pooling_type, tower_pieces=8)
    fresh.load_weights(tmp_path / "whole.weights.h5")
    np.testing.assert_allclose(fresh.predict(x, verbose=0)["ecoli"], expected, rtol=0, atol=1e-5)


def test_windows_of_another_length_after_right_ones():
    model = Enformer(**{**TINY, "num_transformer_layers": 0})
    model.compile("sgd", loss="poisson", jit_compile=keras.backend.backend() == "jax")
    model.predict(random_one_hot(), verbose=0)
    longer = random_one_hot(length=2048)
    with pytest.raises(ValueError, match=r"shape \(None, 1024, 4\), got"):
        model.predict(longer, verbose=0)
    for part in (model, model.head_model("yeast"), model.trunk):
        with pytest.raises(ValueError, match=r"shape \(None, 1024, 4\), got \(2, 2048, 4\)"):
            part.call(longer, training=True)


def test_targets_of_another_number_of_tracks():
    model = Enformer(**{**TINY, "num_transformer_layers": 0})
    x, y = random_one_hot(), {"ecoli": np.ones((2, 4, 4)), "yeast": np.ones((2, 4, 1))}
    wrong = r"yeast: y_true \(\w+, 4, 1\) and y_pred \(\w+, 4, 2\) differ in shape"
    model.compile("sgd", loss="poisson", metrics={"ecoli": [PearsonR()], "yeast": ["mse"]})
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=wrong):
            call(x, y, verbose=0)
    predicted = {"ecoli": np.ones((2, 4, 4)), "yeast": np.ones((2, 4, 2))}
    for targets in (y, [y["ecoli"], y["yeast"]], {"yeast": np.ones((2, 4, 1))}):
        with pytest.raises(ValueError, match=wrong):
            model.compute_loss(x, targets, predicted)
    head = model.head_model("yeast")
    head.compile("sgd", loss="poisson")
    with pytest.raises(ValueError, match=f"head_{wrong}"):
        head.train_on_batch(x, y["yeast"])


def test_targets_of_one_track_need_no_axis_for_it():
    model = Enformer(**{**TINY, "num_transformer_layers": 0, "heads": {"ecoli": 1}})
    model.compile("sgd", loss="mse")
    loss = model.compute_loss(None, {"ecoli": np.zeros((2, 4))}, {"ecoli": np.ones((2, 4, 1), "float32")})
    assert float(loss) == 1


def test_weights_are_not_loaded_into_a_head_of_another_name(tmp_path):
    def build(*heads):
        return Enformer(**{**TINY, "num_transformer_layers": 0, "heads": dict.fromkeys(heads, 1)})

    def kernel(model, layer="head_liver"):
        return keras.ops.convert_to_numpy(model.get_layer(layer).kernel)

    saved, same, other, fewer = build("liver", "brain"), build("brain", "liver"), build("heart"), build("liver")
    file = tmp_path / "saved.weights.h5"
    saved.save_weights(file)
    same.load_weights(file)
    np.testing.assert_array_equal(kernel(same), kernel(saved))
    for model, wrong in ((other, "head_heart"), (fewer, "head_liver")):
        with pytest.raises(ValueError, match=f"{wrong}: the file has the weights of head_brain in its place"):
            model.load_weights(file)
    mine = kernel(fewer)
    with pytest.warns(UserWarning, match="head_liver: the file has the weights of head_brain"):
        fewer.load_weights(file, skip_mismatch=True)
    np.testing.assert_array_equal(kernel(fewer), mine)
    np.testing.assert_array_equal(kernel(fewer, "stem_pointwise_conv"), kernel(saved, "stem_pointwise_conv"))
    with h5py.File(file, "a") as content:  # as files were before they had names
        names = [path for path in _paths(content) if path.endswith("/vars/name")]
        assert len(names) == 2
        for path in names:
            del content[path]
    fresh = build("liver", "brain")
    fresh.load_weights(file)
    np.testing.assert_array_equal(kernel(fresh), kernel(saved))


def _paths(content):
    paths = []
    content.visit(paths.append)
    return paths


@pytest.mark.parametrize("pooling_type", ["attention", "max"])
def test_a_global_data_format_for_images_changes_nothing(tmp_path, pooling_type):
    arguments = {**TINY, "num_transformer_layers": 0, "pooling_type": pooling_type, "winograd": True}
    Enformer(**arguments).save(tmp_path / "model.keras")
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        models = [Enformer(**arguments), keras.saving.load_model(tmp_path / "model.keras")]
    finally:
        keras.config.set_image_data_format(before)
    for model in models:
        formats = {getattr(layer, "data_format", "channels_last") for layer in model.layers}
        assert formats == {"channels_last"}
        assert model.output["ecoli"].shape == (None, 4, 4)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_quantized_model_predicts_nearly_the_same_and_survives_saving(tmp_path):
    model = Enformer(**TINY)
    x = random_one_hot()
    expected = model.predict(x, verbose=0)
    model.quantize("int8")
    found = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.quantized.keys() == model.quantized.keys() >= {"transformer_0_mlp_expand"}
    for head, values in found.items():
        np.testing.assert_allclose(values, expected[head], rtol=0.05)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    for other in (lambda: model.with_heads({"liver": 1}), lambda: Enformer(**TINY).take_weights(model)):
        with pytest.raises(ValueError, match=r"is quantized, .*quantize\(\) comes last"):
            other()


def test_the_older_format_is_refused(tmp_path):
    model = Enformer(**{**TINY, "num_transformer_layers": 0})
    for part in (model, model.head_model("yeast")):
        for name in ("model.h5", "model.hdf5"):
            with pytest.raises(ValueError, match=rf"{name}: .*ends in \.keras"):
                part.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others do not trace twice")
def test_the_first_step_of_one_head_is_traced_once(monkeypatch):
    traces = []
    call = SoftmaxPooling1D.call
    monkeypatch.setattr(SoftmaxPooling1D, "call", lambda self, x: traces.append(self.name) or call(self, x))
    model = Enformer(**{**TINY, "heads": {"ecoli": 4}})
    traces.clear()
    model.compile("adam", loss="poisson", jit_compile=False)
    model.fit(random_one_hot(), {"ecoli": np.ones((2, 4, 4))}, verbose=0)
    assert traces.count("stem_pool") == 1


def test_trunk_and_head_share_weights_without_doubling_them(tmp_path):
    model = Enformer(**TINY)
    count = len(model.weights)
    model.trunk, model.head_model("ecoli")
    assert len(model.weights) == count
    model.save(tmp_path / "model.keras")
    assert len(keras.saving.load_model(tmp_path / "model.keras").weights) == count
    head = model.head_model("ecoli")
    head.compile("adam", loss="poisson")
    before = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    head.fit(random_one_hot(), np.ones((2, 4, 4)), verbose=0)
    assert not np.array_equal(before, keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel))


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("channels", 50, "multiple of filters_divisible_by=8"),
        ("channels", 40, r"multiple of 6 \* num_heads = 12"),
        ("channels", 0, "positive integer"),
        ("num_heads", 5, r"multiple of 6 \* num_heads = 30"),
        ("filters_divisible_by", 48, "divisors of channels=48"),
        ("num_transformer_layers", -1, "at least 0"),
        ("pooling_type", "mean", "attention.*max"),
        ("heads", {}, "at least one head"),
        ("heads", "ecoli", r"such as {'human': 5313}, got 'ecoli'"),
        ("heads", ["ecoli"], r"such as {'human': 5313}, got \['ecoli'\]"),
        ("heads", {"ecoli": 0}, "positive number of tracks"),
        ("heads", {"e coli": 4}, "letters, digits and underscores"),
        ("heads", {"größe": 4}, "letters from a to z"),
        pytest.param(
            *("name", "my model", "letters from a to z"),
            marks=pytest.mark.skipif(not ON_TENSORFLOW, reason="others train it"),
        ),
        ("sequence_length", 1000, "multiple of 128"),
        ("target_length", 3, r"None and 2, 4, \.\.\., 8"),
        ("target_length", 10, r"None and 2, 4, \.\.\., 8"),
        ("target_length", 0, r"None and 2, 4, \.\.\., 8"),
        ("dropout_rate", 1.0, "below 1"),
        ("attention_dropout", "0.1", "below 1"),
        ("lora_rank", 1.5, "positive integer or None"),
        ("lora_rank", True, "positive integer or None"),
        ("frozen_statistics", "no", "True or False"),
        ("frozen", "tower", r"a list of parts, such as \['tower'\], got 'tower'"),
        ("rematerialized", "tower", r"a list of parts, such as \['tower'\], got 'tower'"),
        ("rematerialized", None, "a list of parts"),
        ("winograd", "no", "True or False"),
        ("tower_pieces", 3, r"tower_pieces=3 must divide the 8 bins of sequence_length=1024"),
        ("tower_pieces", 0, "tower_pieces must be a positive integer"),
    ],
)
def test_arguments_that_cannot_work(argument, value, allowed):
    with pytest.raises(ValueError, match=allowed) as error:
        Enformer(**{**TINY, argument: value})
    assert argument in str(error.value)


def test_unknown_head():
    with pytest.raises(ValueError, match=r"head='human'.*\['ecoli', 'yeast'\]"):
        Enformer(**TINY).head_model("human")


def test_initial_weights_have_the_reference_distribution():
    keras.utils.set_random_seed(3)
    model = Enformer(**{**TINY, "channels": 192, "filters_divisible_by": 32})
    kernel = keras.ops.convert_to_numpy(model.get_layer("transformer_0_mlp_expand").kernel)
    limit = 1 / np.sqrt(192)  # truncated normal: stddev before truncation 1/sqrt(fan_in), cut at two of them
    assert 1.9 * limit < np.abs(kernel).max() <= 2 * limit
    np.testing.assert_allclose(kernel.std(), 0.8796 * limit, rtol=0.02)
    attention = model.get_layer("transformer_0_attention")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(attention.query_kernel).std(), np.sqrt(2 / 192), rtol=0.05
    )


def test_one_hot_order_case_and_ambiguity():
    np.testing.assert_array_equal(one_hot_encode("ACGT"), np.eye(4))
    np.testing.assert_array_equal(one_hot_encode("acgt"), np.eye(4))
    np.testing.assert_array_equal(one_hot_encode("NRYSWKMBDHVnryswkmbdhv"), np.zeros((22, 4)))
    np.testing.assert_array_equal(one_hot_encode(b"GA"), one_hot_encode("GA"))
    assert one_hot_encode(["ACG", "TTT"]).shape == (2, 3, 4)
    assert one_hot_encode("").shape == (0, 4)
    assert one_hot_encode("A").dtype == np.float32


@pytest.mark.parametrize(
    ("sequence", "position"),
    [("ACXT", 2), ("AC-T", 2), ("ACGU", 3), ("AC T", 2), ("Ä", 0), ("Aλ", 1), (b"A\x00", 1)],
)
def test_one_hot_names_the_letter_and_its_position(sequence, position):
    with pytest.raises(ValueError, match=f"at position {position} ") as error:
        one_hot_encode(sequence)
    assert repr(sequence[position : position + 1]) in str(error.value)


def test_one_hot_batches():
    with pytest.raises(ValueError, match="position 1 of sequence 1"):
        one_hot_encode(["ACG", "A*G"])
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        one_hot_encode(["ACG", "AC"])


def test_import_is_quick_and_pulls_in_no_framework_of_its_own():
    code = (
        "import sys, time, keras; before = set(sys.modules); start = time.perf_counter(); "
        "import enformer_keras; print(time.perf_counter() - start, "
        "*{name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    for _ in range(3):  # the best of three, for a busy machine
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, *packages = done.stdout.split()
        assert packages == ["enformer_keras"]
        if float(seconds) < 0.3:
            return
    pytest.fail(f"import enformer_keras takes {seconds} s beyond keras")
