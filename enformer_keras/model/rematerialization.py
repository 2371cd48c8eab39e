"""Functional models that compute parts of themselves twice to keep less in memory."""

from typing import Any

import keras

from enformer_keras.model.layers import Dropout, SynchronizedBatchNormalization


@keras.saving.register_keras_serializable(package="enformer_keras")
class RematerializedModel(keras.Model):
    """A functional model that keeps, of some stretches of its graph, only the input for the backward pass.

    The stretches are computed again when their gradients are. Weights, outputs, gradients, dropout masks and
    the updates of batch statistics are those of the same model without. Outside training nothing differs.

    Args:
        *args: Arguments of a functional ``keras.Model``.
        **kwargs: Likewise.

    Attributes:
        stretches: ``(first, last)`` for each stretch: the names of the layer whose output is the stretch's only
            input and of the layer whose output is its only output. They follow each other in this order. To be
            set before the model is compiled.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.
    """

    stretches: tuple[tuple[str, str], ...] = ()

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Compute the outputs; in training, with the stretches rematerialized."""
        if not training or not self.stretches:
            return super().call(inputs, training=training, mask=mask)
        x = inputs
        for part, rematerialize in self._chain:
            x = _rematerialized(part, x) if rematerialize else part(x, training=True)
        return x

    @property
    def _chain(self) -> list[tuple[keras.Model, bool]]:
        """Models that make up this one, one after the other, each with whether it is rematerialized."""
        if self.__dict__.get("_chain_of") != self.stretches:
            chain: list[tuple[keras.Model, bool]] = []
            reached = self.input
            for first, last in self.stretches:
                start, end = self.get_layer(first).output, self.get_layer(last).output
                if start is not reached:
                    chain.append((keras.Model(reached, start), False))
                chain.append((keras.Model(start, end), True))
                reached = end
            chain.append((keras.Model(reached, self.output), False))
            # Past Keras, which would list the parts among the model's layers.
            self.__dict__.update(_cached_chain=chain, _chain_of=self.stretches)
        cached: list[tuple[keras.Model, bool]] = self.__dict__["_cached_chain"]
        return cached

    def get_config(self) -> dict[str, Any]:
        """Return the graph and what of it is rematerialized."""
        return {**super().get_config(), "stretches": [list(names) for names in self.stretches]}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "RematerializedModel":
        """Build the model that `get_config` describes."""
        config = dict(config)
        stretches = config.pop("stretches")
        model: RematerializedModel = super().from_config(config, custom_objects=custom_objects)
        model.stretches = tuple(tuple(names) for names in stretches)
        return model


def _rematerialized(stretch: keras.Model, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The stretch's output in training, from its inputs and weights alone as far as gradients are concerned.

    A rematerialized function runs twice, and nothing but its outputs may leave it. So what the layers would do
    to variables is caught: new batch statistics come out beside the output, seeds are drawn out here.
    """
    layers = list(stretch._flatten_layers())
    generators = [layer.seed_generator for layer in layers if isinstance(layer, Dropout) and layer.rate]
    seeds = [(generator.state, generator.next()) for generator in generators]
    weights = stretch.weights
    statistics = [
        statistic
        for layer in layers
        if isinstance(layer, SynchronizedBatchNormalization)
        for statistic in (layer.moving_mean, layer.moving_variance)
    ]

    def forward(inputs: keras.KerasTensor, *values: keras.KerasTensor) -> list[keras.KerasTensor]:
        with keras.StatelessScope([*seeds, *zip(weights, values, strict=True)]) as scope:
            outputs = stretch(inputs, training=True)
        return [outputs, *(scope.get_current_value(statistic) for statistic in statistics)]

    # Copies of the statistics: on torch the assignment below would change what is to be computed from again.
    values = [keras.ops.copy(w.value) if any(w is s for s in statistics) else w.value for w in weights]
    outputs, *updated = keras.remat(forward)(inputs, *values)
    for statistic, value in zip(statistics, updated, strict=True):
        statistic.assign(value)
    return outputs
