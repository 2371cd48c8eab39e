"""Functional models that compute parts of themselves twice to keep less in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from enformer_keras.model.arguments import check_shapes
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
        """Compute the outputs; in training, with the stretches rematerialized.

        Raises:
            ValueError: The inputs are of another shape than the model's.
        """
        _check_inputs(self, inputs)
        if not training or not self.stretches:
            return super().call(inputs, training=training, mask=mask)
        x = inputs
        for part, rematerialize in self._chain:
            x = _rematerialized(part, x) if rematerialize else part(x, training=True)
        return x

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Compute the loss, as ``keras.Model`` does, of targets that have the outputs' shape.

        Raises:
            ValueError: They have another; names the output.
        """
        _check_targets(self, y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def save(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write a ``.keras`` file, as ``keras.Model.save`` does.

        Raises:
            ValueError: The file's name is that of Keras's older format.
        """
        refuse_hdf5(filepath)
        super().save(filepath, *args, **kwargs)

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


def refuse_hdf5(filepath: str | Path) -> None:
    """Refuse to write a model in a format that Keras cannot read back.

    Args:
        filepath: Where the model is to be saved.

    Raises:
        ValueError: The name ends as that of an HDF5 file.
    """
    if str(filepath).endswith((".h5", ".hdf5")):
        raise ValueError(
            f"{filepath}: Keras could not load this model from its older format; give the file a name that "
            "ends in .keras, or save_weights() in .weights.h5"
        )


def _check_inputs(model: keras.Model, inputs: Any) -> None:
    """Refuses other lengths. Keras's own check is passed by on JAX, where a compiled step calls `call`."""
    for given, expected in zip(keras.tree.flatten(inputs), model.inputs, strict=False):
        shape, wanted = tuple(given.shape), tuple(expected.shape)
        if len(shape) == len(wanted) and any(
            size != known for size, known in zip(shape[1:], wanted[1:], strict=True) if known is not None
        ):
            several = "; None stands for batches of more than one length" if None in shape[1:] else ""
            raise ValueError(f"{model.name} takes inputs of shape {wanted}, got {shape}{several}")


def _check_targets(model: keras.Model, targets: Any, outputs: Any) -> None:
    """Refuses targets that would be broadcast. An output without targets is left to Keras."""
    if isinstance(targets, Mapping) and isinstance(outputs, Mapping):
        pairs = [(name, targets[name], outputs[name]) for name in outputs if name in targets]
    else:
        flat = keras.tree.flatten(targets), keras.tree.flatten(outputs)
        names = sorted(outputs) if isinstance(outputs, Mapping) else model.output_names
        pairs = list(zip(names, *flat, strict=True)) if len(flat[0]) == len(flat[1]) else []
    for name, target, output in pairs:
        # Of one track, targets may come without their last axis.
        if target is not None and not (output.shape[-1] == 1 and len(target.shape) == len(output.shape) - 1):
            check_shapes(name, target, output)


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
