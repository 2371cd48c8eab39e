"""Functions of a model, compiled, whose results stay on the device.

`keras.Model.predict_on_batch` copies what it returns to the host, and spends some milliseconds a call on
the model's weights: as much as a small model needs for an allele.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np

from enformer_keras.model.xla import asks_for_xla
from enformer_keras.prediction.products import Products, within


class Compiler:
    """Compiles functions that call a model.

    Args:
        model: whose weights the functions need, itself or in parts that share them.
        products: how the functions make products of float32.
    """

    def __init__(self, model: keras.Model, products: Products = "own") -> None:
        self._products = products
        self._model = model
        self._variables = list(model.variables)
        self._values: Sequence[Any] = ()
        self._seen: Sequence[Any] | None = None
        self._made: dict[Hashable, Callable[..., Any]] = {}

    def read_weights(self) -> bool:
        """Takes the weights as they are now; on JAX what is called from now on has these.

        Returns:
            Whether they are others than the last time: the model was trained meanwhile, or filled.
        """
        before = self._seen
        if keras.backend.backend() == "jax":
            # Arrays are never changed there: other weights are other arrays.
            self._values = self._seen = [variable.value for variable in self._variables]
            return before is not None and any(a is not b for a, b in zip(before, self._seen, strict=True))
        self._seen = keras.ops.convert_to_numpy(self.compile(self._sums, "sums")()).tolist()
        return before is not None and before != self._seen

    def _sums(self) -> Any:
        """Two numbers of each weight that hardly stay as they are where values change, or change places."""
        sums = []
        for variable in self._variables:
            values = keras.ops.cast(variable, "float32")
            # Sums along one axis first, so that a large kernel is only read.
            values = keras.ops.reshape(values, (-1, values.shape[-1] if values.shape else 1))
            for some in (keras.ops.sum(values, axis=0), keras.ops.sum(values, axis=1)):
                place = np.cos(np.arange(some.shape[0], dtype="float32"))
                sums.append(keras.ops.sum(some * place))
        return keras.ops.stack(sums)

    def compile(self, function: Callable[..., Any], key: Hashable = None) -> Callable[..., Any]:
        """Compiles a function.

        Args:
            function: of tensors, or of lists of them; it calls the model and `keras.ops`.
            key: of functions that do the same, of which the first one's program then serves all.

        Returns:
            The same function, of tensors and NumPy arrays. It is compiled anew for other shapes.
        """
        if key in self._made:
            return self._made[key]
        ways = {"tensorflow": self._on_tensorflow, "jax": self._on_jax, "torch": self._on_torch}
        made = within(self._products, ways.get(keras.backend.backend(), lambda plain: plain)(function))
        if key is not None:
            self._made[key] = made
        return made

    def _on_jax(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        def pure(values: Any, *arguments: Any) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(self._variables, values, strict=True))):
                return function(*arguments)

        jitted = jax.jit(pure)
        # Weights are arguments: as constants they would be part of what is compiled.
        return lambda *arguments: jitted(self._values, *arguments)

    def _on_tensorflow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import tensorflow as tf

        # As `predict` does: XLA where all of the model's layers can be compiled by it.
        made: Callable[..., Any] = tf.function(function, jit_compile=asks_for_xla(self._model), autograph=False)
        return made

    def _on_torch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import torch

        def run(*arguments: Any) -> Any:
            with torch.no_grad():
                return function(*keras.tree.map_structure(keras.ops.convert_to_tensor, arguments))

        return run
