"""Training on several organisms: one update for each in turn."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_integer
from enformer_keras.model.enformer import Enformer
from enformer_keras.model.rematerialization import refuse_hdf5
from enformer_keras.model.xla import leave_xla_out


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
        ValueError: ``model`` is no Enformer, or ``x`` or ``y`` does not name its heads.

    Example:
        >>> model = Enformer(heads={"human": 5313, "mouse": 1643})
        >>> both = AlternatingHeads(model)
        >>> both.compile(keras.optimizers.Adam(5e-4, global_clipnorm=0.2), loss=keras.losses.Poisson())
        >>> both.fit({"human": x_human, "mouse": x_mouse}, {"human": y_human, "mouse": y_mouse})
        >>> model.save("both.keras")

    Source: Enformer, Methods, "Model training and evaluation" (alternating human and mouse batches).
    """

    def __init__(self, model: Enformer, **kwargs: Any) -> None:
        if not isinstance(model, Enformer):
            raise ValueError(f"AlternatingHeads trains an Enformer, got {model!r}")
        super().__init__(**kwargs)
        self.model = model
        self.head_models = {head: model.head_model(head) for head in model.heads}
        self.built = True

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = "poisson",
        metrics: Any = None,
        gradient_accumulation_steps: int = 1,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        Args:
            optimizer: The one optimizer of all heads.
            loss: A loss, or a dict with one for each head.
            metrics: Configurations do not hold state, metrics do: a function without arguments that returns a
                list of fresh metrics for a head, or ``None``.
            gradient_accumulation_steps: Batches of a head of which the mean gradient makes an update. So many
                steps make one update for each head in turn, nearly as one step of batches so many times as
                large would: a head's earlier gradients are from before the last updates of other heads. Each
                head keeps a sum of gradients, the size of the model.
            **kwargs: Further arguments of ``keras.Model.compile``.

        Raises:
            ValueError: The losses are not for the model's heads, ``metrics`` is not a function, gradients are
                to be accumulated by the optimizer, which would take the gradients of all heads for those of
                one, or on several replicas.
        """
        optimizer = keras.optimizers.get(optimizer)
        _refuse_accumulation(optimizer)
        check_integer("gradient_accumulation_steps", gradient_accumulation_steps)
        on_tensorflow = keras.backend.backend() == "tensorflow"
        replicas = self.distribute_strategy.num_replicas_in_sync if on_tensorflow else 1
        if gradient_accumulation_steps > 1 and replicas > 1:
            raise ValueError(
                f"gradient_accumulation_steps={gradient_accumulation_steps} is for one device, not for "
                f"{replicas} replicas: leave it out, or train on one"
            )
        if isinstance(loss, Mapping):
            self._named(loss)
        if metrics is not None and not callable(metrics):
            raise ValueError(
                f"metrics must be a function that makes a head's metrics, such as lambda: [PearsonR()], got "
                f"{metrics}"
            )
        super().compile(optimizer=optimizer, loss=None, **kwargs)
        leave_xla_out(self, kwargs.get("jit_compile", "auto"))
        self.optimizer.build(self.trainable_variables)
        in_turn = keras.backend.backend() == "jax" or gradient_accumulation_steps > 1
        for head, model in self.head_models.items():
            model.compile(
                # The scaling of a loss in half precision belongs to the optimizer that all share.
                optimizer=None if in_turn else self.optimizer,
                auto_scale_loss=False,
                loss=loss[head] if isinstance(loss, Mapping) else loss,
                metrics=metrics() if metrics is not None else None,
                jit_compile=False,  # the step around it is compiled
            )
            if in_turn:
                model.optimizer = _Turn(
                    self.optimizer,
                    head,
                    model.trainable_variables,
                    self.trainable_variables,
                    gradient_accumulation_steps,
                )
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
                with model.optimizer.among(values) if step == "train_step" else contextlib.nullcontext():
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

    def save(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write a ``.keras`` file, as ``keras.Model.save`` does.

        Raises:
            ValueError: The file's name is that of Keras's older format.
        """
        refuse_hdf5(filepath)
        super().save(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "AlternatingHeads":
        """Build what `get_config` describes."""
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("model")), **config)


def _refuse_accumulation(optimizer: Any) -> None:
    """Refuses an optimizer, or one around another, that counts batches of any head to its next update."""
    while optimizer is not None:
        if steps := optimizer.gradient_accumulation_steps:
            raise ValueError(
                f"gradient_accumulation_steps={steps} of {optimizer.name} would make updates on the turn of "
                f"some heads only: give compile(..., gradient_accumulation_steps={steps}) instead"
            )
        optimizer = getattr(optimizer, "inner_optimizer", None)


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
        return tuple(self.of_variables(variables) for variables in self._variables(model))

    def of_variables(self, variables: Iterable[Any]) -> list[Any]:
        return [self._values[id(variable)] for variable in variables]

    def replace(self, model: keras.Model, state: tuple[list[Any], ...]) -> None:
        for variables, values in zip(self._variables(model), state, strict=True):
            self.replace_variables(variables, values)

    def replace_variables(self, variables: Iterable[Any], values: Iterable[Any]) -> None:
        self._values.update((id(v), value) for v, value in zip(variables, values, strict=True))


class _Turn:
    """The optimizer that all heads share, as Keras's training step of one head's model calls it.

    Args:
        optimizer: The shared one, built for ``all_weights``.
        head: Its name, for names of variables.
        weights: The trainable variables of the head's model.
        all_weights: Those of all heads.
        accumulation_steps: Batches of this head of which the mean gradient makes an update.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        head: str,
        weights: list[Any],
        all_weights: list[Any],
        accumulation_steps: int,
    ) -> None:
        self.built = True
        self._values: _StateValues | None = None
        self._optimizer = optimizer
        self._weights = list(weights)
        self._all_weights = list(all_weights)
        self._steps = accumulation_steps
        if accumulation_steps > 1:
            # Among the optimizer's own variables, to be kept and restored with them.
            self._count = optimizer.add_variable((), dtype="int32", name=f"{head}_accumulated")
            self._sums = [
                optimizer.add_variable_from_reference(weight, name=f"{head}_gradient_accumulator")
                for weight in weights
            ]

    @contextlib.contextmanager
    def among(self, values: _StateValues) -> Iterator[None]:
        """Within, `stateless_apply` finds there the weights of other heads, and leaves them there."""
        self._values = values
        try:
            yield
        finally:
            self._values = None  # no tracer outlives its step

    @property
    def variables(self) -> list[Any]:
        variables: list[Any] = self._optimizer.variables
        return variables

    def scale_loss(self, loss: Any) -> Any:
        return self._optimizer.scale_loss(loss)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        self.apply(*zip(*grads_and_vars, strict=True))

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any]) -> None:
        """Take a batch's gradients; with the last one of an accumulation, update."""
        if self._steps == 1:
            self._optimizer.apply(grads, trainable_variables)
            return
        sums = self._added(grads, self._sums)

        def update() -> None:
            self._optimizer.apply(self._means(sums), trainable_variables)
            for variable in self._sums:
                variable.assign(ops.zeros_like(variable))

        def keep() -> None:
            for variable, value in zip(self._sums, sums, strict=True):
                variable.assign(value)

        self._count.assign_add(1)
        ops.cond(ops.equal(ops.mod(self._count, self._steps), 0), update, keep)

    def stateless_apply(
        self, optimizer_variables: list[Any], grads: list[Any], trainable_variables: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Do what `apply` does, as a pure function of the values of `variables` and of the head's weights.

        The weights of other heads go with them: moving averages are of all.
        """
        values = self._values
        if values is None:
            raise ValueError("a head's turn needs the weights of the others: see `among`")
        values.replace_variables(self._weights, trainable_variables)
        weights = values.of_variables(self._all_weights)
        if self._steps == 1:
            weights, optimizer_variables = self._update(optimizer_variables, grads, weights)
        else:
            before = [*zip(self.variables, optimizer_variables, strict=True)]
            with keras.StatelessScope(before) as scope:
                sums = self._added(grads, self._sums)
                means = self._means(sums)
                self._count.assign_add(1)
                last = ops.equal(ops.mod(self._count, self._steps), 0)
                for variable, value in zip(self._sums, sums, strict=True):
                    variable.assign(ops.where(last, ops.zeros_like(value), value))
            state = [scope.get_current_value(variable) for variable in self.variables]
            weights, optimizer_variables = ops.cond(
                last, lambda: self._update(state, means, weights), lambda: (weights, state)
            )
        values.replace_variables(self._all_weights, weights)
        return values.of_variables(self._weights), optimizer_variables

    def _update(self, state: list[Any], grads: list[Any], weights: list[Any]) -> tuple[list[Any], list[Any]]:
        """New values of all weights and of the optimizer's variables."""
        by_weight = {id(weight): grad for weight, grad in zip(self._weights, grads, strict=True)}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")  # of other heads, as it should be
            updated: tuple[list[Any], list[Any]] = self._optimizer.stateless_apply(
                state, [by_weight.get(id(weight)) for weight in self._all_weights], weights
            )
        return updated

    def _added(self, grads: Sequence[Any], sums: Sequence[Any]) -> list[Any]:
        # Without the factor of the loss, which another head's update may change between two batches.
        scale = self._optimizer.scale_loss(1.0)
        return [ops.add(so_far, ops.divide(grad, scale)) for so_far, grad in zip(sums, grads, strict=True)]

    def _means(self, sums: Sequence[Any]) -> list[Any]:
        factor = self._optimizer.scale_loss(1.0) / self._steps
        return [ops.multiply(total, factor) for total in sums]
