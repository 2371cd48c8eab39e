"""Which devices train: chosen in the open, never by falling back."""

import logging
import os
from typing import Literal, overload

import tensorflow as tf

from components.trainer.cluster import Cluster, read_cluster
from components.trainer.training import STRATEGIES

_logger = logging.getLogger(__name__)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes the distribution strategy that a configuration asks for.

    Args:
        name: `multi_worker` (the GPUs, or else the CPU, of each host that TF_CONFIG names, see
            `cluster.read_cluster`; TensorFlow must not have done anything in this process), `tpu` (the TPU that
            TPU_NAME or the host offers), `mirrored` (all GPUs of this host; it wants at least two), `one` (one
            GPU if there is any, else the CPU), or `auto`: the first of these four that is there. The choice is
            logged.

    Returns:
        A strategy; models and optimizers are made in its scope.

    Raises:
        ValueError: another name, or TF_CONFIG is malformed.
        RuntimeError: the devices that were asked for are not there.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy must be one of {STRATEGIES}, got {name!r}")
    if find_hosts(name):
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_physical_devices("GPU")
    tpu, no_tpu = _find_tpu() if name in ("auto", "tpu") else (None, "")
    if name == "auto":
        name = "tpu" if tpu else "mirrored" if len(gpus) > 1 else "one"
        _logger.info("strategy auto: %s (TPU %s, %d GPUs)", name, "found" if tpu else "not found", len(gpus))
    if name == "tpu":
        if tpu is None:
            raise RuntimeError(
                f"strategy 'tpu' was asked for, but no TPU answers ({no_tpu}): set TPU_NAME, or ask for 'auto'"
            )
        tf.config.experimental_connect_to_cluster(tpu)
        tf.tpu.experimental.initialize_tpu_system(tpu)
        return tf.distribute.TPUStrategy(tpu)
    if name == "mirrored":
        if len(gpus) < 2:
            raise RuntimeError(
                f"strategy 'mirrored' was asked for, but this machine has {len(gpus)} GPUs: ask for 'one'"
            )
        return tf.distribute.MirroredStrategy()
    _logger.info("strategy one: training on %s", "one GPU" if gpus else "the CPU")
    return tf.distribute.get_strategy()  # TensorFlow's default: the first GPU, else the CPU


@overload
def find_hosts(name: Literal["multi_worker"]) -> Cluster: ...
@overload
def find_hosts(name: str) -> Cluster | None: ...
def find_hosts(name: str) -> Cluster | None:
    """Finds the hosts that train together under the strategy that a configuration asks for.

    Args:
        name: as for `make_strategy`.

    Returns:
        The hosts; `None` if this one trains alone.

    Raises:
        ValueError: TF_CONFIG is malformed.
        RuntimeError: `multi_worker` was asked for, and TF_CONFIG names no other host.
    """
    if name not in ("auto", "multi_worker"):
        return None
    cluster = read_cluster()
    if cluster and len(cluster.hosts) > 1:
        if name == "auto":
            _logger.info("strategy auto: multi_worker (TF_CONFIG names %s)", ", ".join(cluster.hosts))
        return cluster
    if name == "multi_worker":
        raise RuntimeError(
            "strategy 'multi_worker' was asked for, but TF_CONFIG names no second host "
            f"(TF_CONFIG={os.environ.get('TF_CONFIG')!r}): set it on every host, or ask for 'auto'"
        )
    return None


def local_devices() -> int:
    """Counts the replicas that this host trains under `multi_worker`: its GPUs, or the CPU."""
    return len(tf.config.list_physical_devices("GPU")) or 1


def number_of_replica() -> tf.Tensor:
    """Says, within a step that a strategy distributes, which of all its replicas makes it."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def per_replica_batch(batch_size: int, replicas: int, of: str) -> int:
    """Divides a batch among the replicas.

    Args:
        batch_size: examples of an update, over all replicas.
        replicas: their number.
        of: whose they are, for the error.

    Returns:
        Examples of each replica.

    Raises:
        ValueError: they do not come out even.
    """
    if batch_size % replicas:
        raise ValueError(
            f"training.batch_size={batch_size} must be a multiple of the {replicas} replicas of {of}"
        )
    return batch_size // replicas


def _find_tpu() -> tuple[tf.distribute.cluster_resolver.TPUClusterResolver | None, str]:
    """Finds the TPU; and if there is none, why."""
    try:
        return tf.distribute.cluster_resolver.TPUClusterResolver(), ""
    except (ValueError, tf.errors.NotFoundError) as error:
        if os.environ.get("TPU_NAME"):  # nobody else expects one
            _logger.warning("TPU_NAME=%r: no TPU: %s", os.environ["TPU_NAME"], error)
        return None, str(error)
