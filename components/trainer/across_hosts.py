"""What several hosts do alike: the same figures, an end at the same step.

Hosts wait for one another here without a limit of their own. That one has died TensorFlow notices, and ends the
others with an error; for one that is merely late they wait.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def spans_hosts(strategy: tf.distribute.Strategy) -> bool:
    """Says whether a strategy trains on several hosts."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process is the one that writes: the only one, or the chief of several hosts."""
    return not spans_hosts(strategy) or _rank(strategy) == 0


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
            values: numbers that float64 holds, of any shape, which is the same on all hosts.

        Returns:
            Their sum, float64 of that shape.
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
