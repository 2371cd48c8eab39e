"""Training on several organisms: one update for each in turn."""

from collections.abc import Mapping
from typing import Any

import keras

from enformer_keras.model.enformer import Enformer


@keras.saving.register_keras_serializable(package="enformer_keras")
class AlternatingHeads(keras.Model):
    """Trains every head of an Enformer on its own windows, one optimizer update after the other.

    A step takes one batch for each organism and makes one update for each, in the order of the model's heads:
    forward through the trunk and that organism's head alone, then an update of just these. All updates share
    one optimizer, whose iterations (and so the steps of a learning-rate schedule) count updates.

    Args:
        model: The model to train. It is what you save and predict with; this object only trains it.
        **kwargs: Arguments of ``keras.Model``.

    Input: a dict from each head's name to one-hot DNA ``[batch, sequence_length, 4]``; targets and outputs:
    dicts from each head's name to ``[batch, target_length, tracks]``. Logs have the head's name in front
    (``human_loss``); ``loss`` is the heads' sum.

    Raises:
        ValueError: ``x`` or ``y`` does not name the model's heads.

    Example:
        >>> model = Enformer(heads={"human": 5313, "mouse": 1643})
        >>> both = AlternatingHeads(model)
        >>> both.compile(keras.optimizers.Adam(5e-4, global_clipnorm=0.2), loss=keras.losses.Poisson())
        >>> both.fit({"human": x_human, "mouse": x_mouse}, {"human": y_human, "mouse": y_mouse})
        >>> model.save("both.keras")

    Source: Enformer, Methods, "Model training and evaluation" (alternating human and mouse batches).
    """

    def __init__(self, model: Enformer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.head_models = {head: model.head_model(head) for head in model.heads}
        self.built = True

    def compile(
        self, optimizer: Any = "adam", loss: Any = "poisson", metrics: Any = None, **kwargs: Any
    ) -> None:
        """Configure training.

        Args:
            optimizer: The one optimizer of all heads.
            loss: A loss, or a dict with one for each head.
            metrics: Configurations do not hold state, metrics do: a function without arguments that returns a
                list of fresh metrics for a head, or ``None``.
            **kwargs: Further arguments of ``keras.Model.compile``.

        Raises:
            ValueError: The losses are not for the model's heads, or ``metrics`` is not a function.
        """
        if isinstance(loss, Mapping):
            self._named(loss)
        if metrics is not None and not callable(metrics):
            raise ValueError(
                f"metrics must be a function that makes a head's metrics, such as lambda: [PearsonR()], got "
                f"{metrics}"
            )
        super().compile(optimizer=optimizer, loss=None, **kwargs)
        self.optimizer.build(self.trainable_variables)
        on_jax = keras.backend.backend() == "jax"
        for head, model in self.head_models.items():
            model.compile(
                # The scaling of a loss in half precision belongs to the optimizer that all share.
                optimizer=None if on_jax else self.optimizer,
                auto_scale_loss=False,
                loss=loss[head] if isinstance(loss, Mapping) else loss,
                metrics=metrics() if metrics is not None else None,
                jit_compile=False,  # the step around it is compiled
            )
            if on_jax:
                model.optimizer = _PartOfOptimizer(self.optimizer, model.trainable_variables)
            # Metrics make their variables here, not in a step that is being compiled.
            batch = [keras.KerasTensor((1, *tensor.shape[1:])) for tensor in (model.input, model.output)]
            model._symbolic_build(data_batch=tuple(batch))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of all heads, which `fit` resets."""
        return [metric for model in self.head_models.values() for metric in model.metrics]

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Predict ``[batch, target_length, tracks]`` for each head named, from its own windows."""
        return {head: self.head_models[head](inputs[head], training=training) for head in self._named(inputs)}

    def train_step(self, *arguments: Any) -> Any:
        """Make one update for each head; called by `fit`."""
        return self._each_head("train_step", arguments)

    def test_step(self, *arguments: Any) -> Any:
        """Evaluate each head on its windows; called by `evaluate`."""
        return self._each_head("test_step", arguments)

    def _each_head(self, step: str, arguments: tuple[Any, ...]) -> Any:
        """Run Keras's step of each head's model; on JAX, where steps are pure, on its share of the state."""
        *state, data = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError("AlternatingHeads takes no sample weights")
        logs = {}
        values = _StateValues(self, *state) if state else None
        for head in self._named(x, y):
            model = self.head_models[head]
            if values is None:
                head_logs = getattr(model, step)((x[head], y[head]))
            else:
                head_logs, new = getattr(model, step)(values.of(model), (x[head], y[head]))
                values.replace(model, new)
            logs.update({f"{head}_{name}": value for name, value in head_logs.items()})
        logs["loss"] = sum(logs[f"{head}_loss"] for head in self.head_models)
        return logs if values is None else (logs, values.of(self))

    def _named(self, *structures: Mapping[str, Any]) -> list[str]:
        for structure in structures:
            if not isinstance(structure, Mapping) or set(structure) != set(self.head_models):
                found = sorted(structure) if isinstance(structure, Mapping) else type(structure).__name__
                raise ValueError(
                    f"AlternatingHeads wants dicts for the heads {sorted(self.head_models)}, got {found}"
                )
        return list(self.head_models)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "AlternatingHeads":
        """Build what `get_config` describes."""
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("model")), **config)


class _StateValues:
    """Values of a model's variables during a pure step, to be read and replaced by a part of the model.

    The state is that of Keras's JAX steps: trainable, non-trainable, optimizer's (in training) and metrics'.
    """

    def __init__(self, model: AlternatingHeads, state: tuple[list[Any], ...]) -> None:
        self._training = len(state) == 4
        self._values: dict[int, Any] = {}
        self.replace(model, state)

    def _variables(self, model: keras.Model) -> list[list[Any]]:
        optimizer = [model.optimizer.variables] if self._training else []
        return [
            model.trainable_variables,
            model.non_trainable_variables,
            *optimizer,
            model.metrics_variables,
        ]

    def of(self, model: keras.Model) -> tuple[list[Any], ...]:
        return tuple([self._values[id(v)] for v in variables] for variables in self._variables(model))

    def replace(self, model: keras.Model, state: tuple[list[Any], ...]) -> None:
        for variables, values in zip(self._variables(model), state, strict=True):
            self._values.update((id(v), value) for v, value in zip(variables, values, strict=True))


class _PartOfOptimizer:
    """An optimizer as Keras's JAX step calls it, for some of the variables that it was built for."""

    def __init__(self, optimizer: keras.optimizers.Optimizer, trainable_variables: list[Any]) -> None:
        self._optimizer = optimizer
        self._trainable_variables = list(trainable_variables)
        self.built = True

    @property
    def variables(self) -> list[Any]:
        variables: list[Any] = self._optimizer.variables
        return variables

    def scale_loss(self, loss: Any) -> Any:
        return self._optimizer.scale_loss(loss)

    def stateless_apply(
        self, optimizer_variables: list[Any], grads: list[Any], trainable_variables: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        before = [
            *zip(self._trainable_variables, trainable_variables, strict=True),
            *zip(self.variables, optimizer_variables, strict=True),
        ]
        with keras.StatelessScope(state_mapping=before) as scope:
            self._optimizer.apply(grads, self._trainable_variables)
        return (
            [scope.get_current_value(variable) for variable in self._trainable_variables],
            [scope.get_current_value(variable) for variable in self.variables],
        )
