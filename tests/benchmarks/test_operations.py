"""The operations that benchmarks count are those of the model's layers."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from enformer_keras import Enformer
from enformer_keras.model.layers import RelativeMultiHeadAttention, SoftmaxPooling1D

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    # The scripts there import one another without the folder's name.
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def products_of(layer):
    """Multiply-adds of a layer, by the shapes of its weights."""
    if isinstance(layer, RelativeMultiHeadAttention):
        bins, keys = layer.output.shape[1], layer.num_heads * layer.key_size
        kernels = [layer.query_kernel, layer.key_kernel, layer.value_kernel, layer.output_kernel]
        projections = bins * sum(np.prod(kernel.shape) for kernel in kernels)
        positions = 2 * bins * np.prod(layer.position_kernel.shape)
        content = bins * bins * (keys + layer.num_heads * layer.value_size)
        # Eight blocks of queries meet all keys, and as many distances more as they have queries.
        return projections + positions + content + bins * keys * (bins + bins // 8)
    if isinstance(layer, keras.layers.Conv1D | keras.layers.Dense | SoftmaxPooling1D):
        return layer.output.shape[1] * np.prod(layer.kernel.shape)
    return 0


def test_operations_are_those_of_the_layers():
    from accelerator import SIZES
    from operations import operations

    sizes = SIZES["tiny"].model
    layers = Enformer(**sizes.arguments()).layers
    products = [products_of(layer) for layer in layers]
    counted = operations(sizes, half=True)
    assert counted["forward"] == 2 * sum(products)
    # Neither DNA nor positional features have a gradient.
    stem = next(count for layer, count in zip(layers, products, strict=True) if layer.name == "stem_conv")
    attention = next(layer for layer in layers if isinstance(layer, RelativeMultiHeadAttention))
    features = 2 * attention.output.shape[1] * np.prod(attention.position_kernel.shape)
    assert counted["train"] == 2 * (3 * sum(products) - stem - features)


def test_operations_of_the_published_size_are_what_xla_counts():
    from accelerator import SIZES
    from operations import operations

    # XLA counts 3.02 TFLOP for a TPU v4, with what is not a product.
    assert 0.98 < operations(SIZES["full"].model, half=True)["forward"] / 3.02e12 < 1
