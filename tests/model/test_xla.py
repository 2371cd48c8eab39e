"""XLA is left out where TensorFlow cannot compile for the device at hand; tests/tpu has such a TensorFlow."""

import keras
import pytest

from enformer_keras import AlternatingHeads, Enformer
from enformer_keras.model import xla

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.fixture(scope="module")
def model():
    return Enformer(
        channels=24,
        num_transformer_layers=1,
        num_heads=1,
        key_size=4,
        heads={"tiny": 1},
        sequence_length=256,
        target_length=2,
        filters_divisible_by=4,
    )


def test_here_it_compiles():
    assert xla.xla_compiles()


@pytest.mark.skipif(not ON_TENSORFLOW, reason="elsewhere Keras decides")
@pytest.mark.parametrize("of", [lambda model: model, AlternatingHeads])
def test_what_was_asked_for_is_left_out_with_a_warning(model, monkeypatch, of):
    monkeypatch.setattr(xla, "xla_compiles", lambda: False)
    trained = of(model)
    with pytest.warns(UserWarning, match="jit_compile=True is left out"):
        trained.compile("sgd", loss="poisson", jit_compile=True)
    assert not trained.jit_compile


@pytest.mark.skipif(not ON_TENSORFLOW, reason="elsewhere Keras decides")
def test_what_keras_would_choose_is_left_out_in_silence(model, monkeypatch, recwarn):
    monkeypatch.setattr(xla, "xla_compiles", lambda: False)
    head = model.head_model("tiny")
    head.jit_compile = True  # as Keras has it where it sees a device that is no CPU
    assert not xla.asks_for_xla(head)
    assert not head.jit_compile
    assert not [warning for warning in recwarn if "jit_compile" in str(warning.message)]


@pytest.mark.skipif(not ON_TENSORFLOW, reason="elsewhere Keras decides")
def test_a_tensorflow_that_cannot_says_so_once(monkeypatch):
    import tensorflow as tf

    asked = []

    def function(added, jit_compile):
        asked.append(jit_compile)
        raise tf.errors.NotFoundError(
            None, None, "could not find registered transfer manager for platform Host"
        )

    monkeypatch.setattr(tf, "function", function)
    xla.xla_compiles.cache_clear()
    try:
        assert not xla.xla_compiles()
        assert not xla.xla_compiles()
    finally:
        xla.xla_compiles.cache_clear()
    assert asked == [True]
