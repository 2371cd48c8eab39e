"""Which devices train: chosen in the open, never by falling back."""

import logging
import os
from typing import Literal, overload

import tensorflow as tf

from components.trainer.cluster import Cluster, read_cluster
from components.trainer.training import STRATEGIES

_logger = logging.getLogger(__name__)

_LOCAL = "local"


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes the distribution strategy that a configuration asks for.

    Args:
        name: `multi_worker` (the GPUs, or else the CPU, of each host that TF_CONFIG names, see
            `cluster.read_cluster`; TensorFlow must not have done anything in this process), `tpu` (all chips of
            the TPU that TPU_NAME names, or else of this host, see `find_tpu`), `mirrored` (all GPUs of this
            host; it wants at least two), `one` (one GPU if there is any, else the CPU), or `auto`: the first of
            these four that is there. The choice is logged.

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
    tpu = find_tpu() if name in ("auto", "tpu") else ""
    if name == "auto":
        # A TPU that was named and does not answer is an error: a CPU would train for years instead.
        name = "tpu" if tpu else "mirrored" if len(gpus) > 1 else "one"
        _logger.info("strategy auto: %s (TPU %s, %d GPUs)", name, tpu or "not found", len(gpus))
    if name == "tpu":
        return _connect_tpu(tpu)
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
    """Says, within a step that a strategy distributes, which of all its replicas makes it: an int32 scalar."""
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


def find_tpu() -> str:
    """Finds the TPU to train on, without asking it.

    Returns:
        What TPU_NAME says: `local` for the chips of this host, `grpc://HOST:PORT,grpc://HOST:PORT...` for
        TensorFlow's servers on the hosts of a slice, or the name of a TPU of Google Cloud; where it is not set,
        `local` if this host has chips, else nothing.
    """
    return os.environ.get("TPU_NAME", "") or (_LOCAL if tf.config.list_physical_devices("TPU") else "")


def _connect_tpu(name: str) -> tf.distribute.TPUStrategy:
    if not name:
        raise RuntimeError(
            "strategy 'tpu' was asked for, but this host has no TPU chips: set TPU_NAME, or ask for 'auto'"
        )
    try:
        # An empty name would be looked for in TPU_NAME, in which TensorFlow does not know `local`.
        tpu = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        tf.config.experimental_connect_to_cluster(tpu)
        tf.tpu.experimental.initialize_tpu_system(tpu)
    except (ValueError, RuntimeError, ImportError, tf.errors.OpError) as error:
        what = str(error).partition("\n")[0]
        raise RuntimeError(
            f"no TPU answers at TPU_NAME={name!r} ({what}): is this TensorFlow's build for TPUs "
            "(setup/tpu.lock; DEVICES=tpu of kubeflow/Dockerfile), and does no other process hold the chips?"
        ) from error
    return tf.distribute.TPUStrategy(tpu)
