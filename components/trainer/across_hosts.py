"""What several hosts do alike: the same updates, the same figures, an end at the same step."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.trainer.input_data import Share


def spans_hosts(strategy: tf.distribute.Strategy) -> bool:
    """Says whether a strategy trains on several hosts."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process is the one that writes: the only one, or the chief of several hosts."""
    return not spans_hosts(strategy) or _rank(strategy) == 0


def share_of_host(strategy: tf.distribute.Strategy) -> Share:
    """Finds what this host reads of every batch, under a strategy that spans hosts."""
    count = len(strategy.extended.worker_devices)
    return Share(strategy.num_replicas_in_sync, _rank(strategy) * count, count)


def _rank(strategy: tf.distribute.Strategy) -> int:
    resolver = strategy.cluster_resolver
    after_chief = resolver.task_type == "worker" and "chief" in resolver.cluster_spec().jobs
    return resolver.task_id + after_chief


class Alike:
    """Keeps all hosts of a strategy at the same thing. Each method must be called by all of them, in one order.

    Args:
        strategy: of this training.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        replicas = len(strategy.extended.worker_devices)

        def of_replica(values: tf.Tensor) -> tf.Tensor:
            # The first replica of a host stands for it.
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(number % replicas == 0, values, tf.zeros_like(values))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float64)])
        def add(values: tf.Tensor) -> tf.Tensor:
            return strategy.reduce("SUM", strategy.run(of_replica, args=(values,)), axis=None)

        self._add = add

    def add(self, values: np.ndarray) -> np.ndarray:
        """Adds what the hosts have.

        Args:
            values: numbers that float64 holds, of the same shape on all hosts.

        Returns:
            Their sum, float64.
        """
        return self._add(np.ravel(values).astype(np.float64)).numpy().reshape(values.shape)

    def any(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        """Makes of a question to one host the question whether any host says yes."""
        return lambda: bool(self.add(np.array(float(asked()))))

    def from_chief(self, values: np.ndarray) -> np.ndarray:
        """Gives all hosts the chief's numbers, whatever theirs are; of their dtype and shape."""
        values = np.asarray(values)
        return self.add(values if is_chief(self._strategy) else np.zeros_like(values)).astype(values.dtype)

    def told_by_chief(self, message: Any) -> Any:
        """Gives all hosts the chief's JSON value."""
        text = np.frombuffer(json.dumps(message).encode(), np.uint8)
        length = int(self.from_chief(np.array(len(text))))
        return json.loads(self.from_chief(np.resize(text, length)).tobytes())


class ModelAcrossHosts:
    """Keras's `fit` and `evaluate` for a model whose strategy spans hosts, as far as `fitting.fit` needs them.

    Those of Keras 3.15 fail there: they reduce the figures of a step, which are scalars, along their axis 0
    (`reduce_per_replica`), and hand a batch of several tensors to `Strategy.reduce`, which takes one
    (`_maybe_symbolic_build`). What a step does, and how figures come together, is Keras's here too.

    Args:
        model: compiled and built in the strategy's scope.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._strategy = model.distribute_strategy
        self._train = self._function(model.train_step)
        self._test = self._function(model.test_step)

    def fit(
        self, batches: tf.data.Dataset, *, steps_per_epoch: int, callbacks: Sequence[Any], **_: Any
    ) -> keras.callbacks.History:
        """Makes updates.

        Args:
            batches: of each replica of this host in turn.
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

    def evaluate(self, batches: tf.data.Dataset, *, callbacks: Sequence[Any], **_: Any) -> dict[str, float]:
        """Evaluates all batches.

        Args:
            batches: of each replica of this host in turn, as many on each host.
            callbacks: told of the end of each execution.

        Returns:
            The figures over what all hosts have.
        """
        told = keras.callbacks.CallbackList(callbacks, model=self._model)
        replicas = len(self._strategy.extended.worker_devices)
        return self._run(
            self._test,
            batches,
            int(batches.cardinality()) // replicas,
            told.on_test_batch_begin,
            told.on_test_batch_end,
        )

    def _run(
        self,
        one: Callable[[Iterator[Any]], dict[str, tf.Tensor]],
        batches: tf.data.Dataset,
        steps: int,
        on_begin: Callable[[int], None],
        on_end: Callable[[int, dict[str, float]], None],
    ) -> dict[str, float]:
        self._model.reset_metrics()
        # Not experimental_distribute_dataset, which would divide every batch once more.
        iterator = iter(self._strategy.distribute_datasets_from_function(lambda context: batches))
        logs: dict[str, Any] = {}
        for first in range(0, steps, self._model.steps_per_execution):
            count = min(self._model.steps_per_execution, steps - first)
            on_begin(first)
            for _ in range(count):
                logs = one(iterator)
            logs = {name: float(value) for name, value in logs.items()}
            on_end(first + count - 1, logs)
        # As Keras does: metrics weigh steps by their examples; figures that are no metric's have those of logs.
        figures = {name: float(value) for name, value in self._model.get_metrics_result().items()}
        return figures if figures.keys() == logs.keys() else logs

    def _function(
        self, step: Callable[[Any], dict[str, tf.Tensor]]
    ) -> Callable[[Iterator[Any]], dict[str, tf.Tensor]]:
        @tf.function(reduce_retracing=True)
        def one(iterator: Iterator[Any]) -> dict[str, tf.Tensor]:
            logs = self._strategy.run(step, args=(next(iterator),))
            return {name: self._strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        return one
