"""A model in float32 is asked in float32, on GPUs too, whose libraries would round what they multiply."""

import keras
import numpy as np
import pytest

from enformer_keras import Enformer
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction import Frame, PredictedTrack, Predictor, opening, predictor, products
from enformer_keras.prediction.above_tower import AboveTower

BACKEND = keras.backend.backend()
BASES = "ACGT" * 512


def build(dtype="float32"):
    model = Enformer.from_preset("tiny", heads={"fly": 2}, target_length=8, dtype=dtype)
    return model.head_model("fly")


def predictor_of(model, **options):
    tracks = [PredictedTrack(at, str(at), "", at) for at in range(2)]
    return Predictor(model, Frame(2048, 8, 128), tracks, batch_size=1, **options)


def way():
    """What the backend is told of products now."""
    if BACKEND == "jax":
        import jax

        return jax.config.jax_default_matmul_precision
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()
    import torch

    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


WAYS = {
    "jax": {"float32": "float32", "tf32": "tensorfloat32"},
    "tensorflow": {"float32": False, "tf32": True},
    "torch": {"float32": (False, False), "tf32": (True, True)},
}[BACKEND]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    if BACKEND == "jax":
        monkeypatch.setattr("jax.default_backend", lambda: "gpu")


@pytest.mark.parametrize("how", ["float32", "tf32"])
def test_within_it_the_backend_is_told_and_afterwards_it_is_as_before(how):
    before = way()
    failing = products.within(how, lambda seen: seen.append(way()) or {}[0])
    seen = []
    with pytest.raises(KeyError):
        failing(seen)
    assert seen == [WAYS[how]]
    assert way() == before
    with products.make_products("own"):
        assert way() == before


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX shows what it tells XLA")
def test_xla_is_told():
    import jax

    def lowered(how):
        with products.make_products(how):
            return jax.jit(lambda x: x @ x).lower(np.zeros((4, 4), np.float32)).as_text()

    assert "precision = [HIGHEST, HIGHEST]" in lowered("float32")
    assert "precision = [HIGH, HIGH]" in lowered("tf32")
    assert "HIGH" not in lowered("own")


@pytest.mark.parametrize(("tf32", "how"), [(False, "float32"), (True, "tf32")])
def test_whatever_a_predictor_computes_is_made_so(monkeypatch, tf32, how):
    seen = []

    def above(self, *arguments, plain=AboveTower.__call__):
        seen.append(way())
        return plain(self, *arguments)

    monkeypatch.setattr(AboveTower, "__call__", above)
    monkeypatch.setattr(predictor, "pullback", lambda model, head: lambda *arrays: seen.append(way()))
    model = build()
    asked = predictor_of(model, tf32=tf32)
    other = "C" + BASES[1:]
    assert len(list(asked.predict_strands([(BASES, False), (other, False)], [0, 1], [None, BASES]))) == 2
    assert len(seen) == 2
    asked.pullback(np.zeros(1), np.zeros(1))
    zeros = np.zeros((1, 8, 2), np.float32)
    monkeypatch.setattr(model, "predict_on_batch", lambda batch: seen.append(way()) or zeros)
    asked.predict_one_hot(one_hot_encode([BASES]))
    assert seen == [WAYS[how]] * 4


def test_models_in_half_precision_are_left_to_the_backend():
    assert predictor_of(build("mixed_bfloat16")).products == "own"


def test_tf32_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match=rf"8\.0 or later, and {BACKEND} has no GPU here; use float32"):
        opening.open_model("model.keras", dtype="tf32")


def test_a_gpu_with_tf32_is_asked_for_it(monkeypatch, tmp_path):
    Enformer.from_preset("tiny", heads={"fly": 2}, dtype="mixed_bfloat16").save(tmp_path / "model.keras")
    monkeypatch.setattr(products, f"_{BACKEND}_capability", lambda: (9, 0))
    opened = opening.open_model(tmp_path / "model.keras", dtype="tf32")
    assert opened.products == "tf32"
    assert opened.model.get_layer("tower_0_conv").compute_dtype == "float32"
    monkeypatch.setattr(products, f"_{BACKEND}_capability", lambda: (7, 5))
    with pytest.raises(ValueError, match=r"a GPU of compute capability 7\.5 here"):
        opening.open_model(tmp_path / "model.keras", dtype="tf32")
