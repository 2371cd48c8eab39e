"""Keras's `fit` and `evaluate` where hosts read their own share of every batch: several hosts, and TPUs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from components.trainer.across_hosts import spans_hosts
from components.trainer.input_data import Share

# From what a host has of every batch to its batches, of each of its replicas in turn.
BatchesOfHost = Callable[[Share], tf.data.Dataset]


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Says whether a strategy trains on TPUs, of one host or of several."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def hosts_read(strategy: tf.distribute.Strategy) -> bool:
    """Says whether each host of a strategy reads its own share: where there are several, and on TPUs."""
    return spans_hosts(strategy) or is_tpu(strategy)


class DistributedModel:
    """Keras's `fit` and `evaluate`, as far as `fitting.fit` needs them, for a strategy whose hosts read.

    Those of Keras 3.15 fail across hosts: they reduce the figures of a step, which are scalars, along their
    axis 0 (`reduce_per_replica`), and hand a batch of several tensors to `Strategy.reduce`, which takes one
    (`_maybe_symbolic_build`). On TPUs they have every batch made whole and divided, where a host can make what
    its own chips need. What a step does, and how figures come together, is Keras's here too.

    On TPUs, the steps of an execution are a loop of TensorFlow's: between them no Python runs. Nothing is told
    to compile: the strategy compiles what runs on TPUs, and TensorFlow's build for them compiles nothing else.

    Args:
        model: compiled and built in the strategy's scope.
        loops: whether an execution is such a loop; by default, on TPUs.
    """

    def __init__(self, model: keras.Model, loops: bool | None = None) -> None:
        self._model = model
        self._strategy = model.distribute_strategy
        self._loops = is_tpu(self._strategy) if loops is None else loops
        self._train = self._function(model.train_step)
        self._test = self._function(model.test_step)

    def fit(
        self, batches: BatchesOfHost, *, steps_per_epoch: int, callbacks: Sequence[Any], **_: Any
    ) -> keras.callbacks.History:
        """Makes updates.

        Args:
            batches: makes those of a host, all of the same shape on TPUs.
            steps_per_epoch: updates to make.
            callbacks: told of the beginning and the end of each execution.

        Returns:
            With the figures in `history`, each a list of one.
        """
        told = keras.callbacks.CallbackList(callbacks, model=self._model)
        figures = self._run(
            self._train,
            batches,
            steps_per_epoch,
            told.on_train_batch_begin,
            told.on_train_batch_end,
        )
        history = keras.callbacks.History()
        history.history = {name: [value] for name, value in figures.items()}
        return history

    def evaluate(self, batches: BatchesOfHost, *, callbacks: Sequence[Any], **_: Any) -> dict[str, float]:
        """Evaluates all batches.

        Args:
            batches: makes those of a host, as many on each host.
            callbacks: told of the end of each execution.

        Returns:
            The figures over what all hosts have.
        """
        told = keras.callbacks.CallbackList(callbacks, model=self._model)
        return self._run(
            self._test,
            batches,
            None,
            told.on_test_batch_begin,
            told.on_test_batch_end,
        )

    def _run(
        self,
        steps_of: "_Steps",
        batches: BatchesOfHost,
        steps: int | None,
        on_begin: Callable[[int], None],
        on_end: Callable[[int, dict[str, float]], None],
    ) -> dict[str, float]:
        """Makes so many steps, or as many as there are batches."""
        self._model.reset_metrics()
        read: list[int] = []

        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            share = share_of(context)
            dataset = batches(share)
            if steps is None:
                read.append(int(dataset.cardinality()) // share.count)
            return dataset

        # Not experimental_distribute_dataset, which would divide every batch once more.
        iterator = iter(self._strategy.distribute_datasets_from_function(of_host))
        steps = read[0] if steps is None else steps
        logs: dict[str, Any] = {}
        for first in range(0, steps, self._model.steps_per_execution):
            count = min(self._model.steps_per_execution, steps - first)
            on_begin(first)
            logs = {name: float(value) for name, value in steps_of.several(iterator, count).items()}
            on_end(first + count - 1, logs)
        # As Keras does: metrics weigh steps by their examples; figures that are no metric's have those of logs.
        figures = {name: float(value) for name, value in self._model.get_metrics_result().items()}
        return figures if figures.keys() == logs.keys() else logs

    def _function(self, step: Callable[[Any], dict[str, tf.Tensor]]) -> "_Steps":

        @tf.function(reduce_retracing=True)
        def one(iterator: Iterator[Any]) -> dict[str, tf.Tensor]:
            logs = self._strategy.run(step, args=(next(iterator),))
            return {name: self._strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        def in_turn(iterator: Iterator[Any], count: int) -> dict[str, tf.Tensor]:
            logs: dict[str, tf.Tensor] = {}
            for _ in range(count):
                logs = one(iterator)
            return logs

        @tf.function(reduce_retracing=True, autograph=False)
        def in_a_loop(
            iterator: Iterator[Any], count: tf.Tensor, logs: dict[str, tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            _, logs = tf.while_loop(
                lambda done, logs: done < count,
                lambda done, logs: (done + 1, one(iterator)),
                (tf.constant(0), logs),
            )
            return logs

        def looping(iterator: Iterator[Any], count: int) -> dict[str, tf.Tensor]:
            # What a loop carries has its shape before it begins. This is the one time that `one` is traced.
            shapes = one.get_concrete_function(iterator).structured_outputs
            none_yet = {name: tf.zeros(value.shape, value.dtype) for name, value in shapes.items()}
            return in_a_loop(iterator, tf.constant(count), none_yet)

        return _Steps(one, looping if self._loops else in_turn)


class _Steps(NamedTuple):
    """From batches to figures: a step, a `tf.function`; and so many, of which the last gives the figures."""

    one: Any
    several: Callable[[Iterator[Any], int], dict[str, tf.Tensor]]


def share_of(context: tf.distribute.InputContext) -> Share:
    """Finds what a host reads of every batch.

    Args:
        context: of the host, as `distribute_datasets_from_function` gives it. Hosts have as many replicas as
            each other, and number them in turn.

    Returns:
        The share.
    """
    count = context.num_replicas_in_sync // context.num_input_pipelines
    return Share(context.num_replicas_in_sync, context.input_pipeline_id * count, count)
