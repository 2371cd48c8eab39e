"""Adam that clips alike on any number of replicas, and with a learning rate for each part of the model."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import is_number


@keras.saving.register_keras_serializable(package="enformer_keras")
class SynchronizedAdam(keras.optimizers.Adam):
    """Adam that clips the gradient of the whole batch, whatever part of it each replica has.

    Under a strategy of TensorFlow, Keras's own optimizers clip every replica's part before they add the parts:
    ``global_clipnorm`` means something else on eight cores than on one. Here the parts are added first. On JAX
    and torch gradients are those of the whole batch when an optimizer sees them. It takes the arguments of
    ``keras.optimizers.Adam``.
    """

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        """Leave clipping, on TensorFlow, to `_all_reduce_sum_gradients`, which follows."""
        return grads if keras.backend.backend() == "tensorflow" else super()._clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Add the replicas' gradients, then clip; called by Keras on TensorFlow, with one replica too."""
        gradients, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        return list(zip(super()._clip_gradients(list(gradients)), variables, strict=True))


@keras.saving.register_keras_serializable(package="enformer_keras")
class AdamByPart(SynchronizedAdam):
    """Adam whose learning rate is multiplied by a factor of each weight's layer.

    For fine-tuning: a pretrained trunk moves slowly while a new head learns fast.

    Args:
        learning_rate: Rate or schedule of weights that no factor is for.
        factors: Factor by the beginning of a layer's name, such as ``{"stem": 0.1, "tower": 0.1,
            "transformer": 0.1}``. Where several fit, the longest counts.
        **kwargs: Further arguments of ``keras.optimizers.Adam``.

    Raises:
        ValueError: The factors are no mapping, one is no number or negative, or one fits no weight (when the
            optimizer first sees the weights).

    Example:
        >>> model.compile(AdamByPart(1e-3, {"stem": 0.1, "tower": 0.1, "transformer": 0.1}), loss="poisson")
    """

    def __init__(
        self, learning_rate: Any = 1e-3, factors: Mapping[str, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        if factors is not None and not isinstance(factors, Mapping):
            raise ValueError(f"factors must map names to numbers, such as {{'stem': 0.1}}, got {factors!r}")
        self.factors = dict(factors or {})
        for prefix, factor in self.factors.items():
            if not is_number(factor) or factor < 0:
                raise ValueError(f"factors: {prefix!r} must have a factor of at least 0, got {factor!r}")

    def build(self, variables: list[keras.Variable]) -> None:
        """Make Adam's moments and find the factor of each weight.

        Raises:
            ValueError: A factor is for no weight.
        """
        super().build(variables)
        fitting = [
            [prefix for prefix in self.factors if variable.path.split("/")[-2].startswith(prefix)]
            for variable in variables
        ]
        left_over = self.factors.keys() - {prefix for prefixes in fitting for prefix in prefixes}
        if left_over:
            raise ValueError(f"factors: {sorted(left_over)} fit the beginning of no trainable layer's name")
        self._factor_by_index = [
            self.factors[max(prefixes, key=len)] if prefixes else 1.0 for prefixes in fitting
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one weight at the rate of its part."""
        factor = self._factor_by_index[self._get_variable_index(variable)]
        super().update_step(gradient, variable, ops.multiply(learning_rate, factor))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "factors": self.factors}
