"""Which devices train: chosen in the open, never by falling back."""

import logging

import tensorflow as tf

from components.trainer.training import STRATEGIES

_logger = logging.getLogger(__name__)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes the distribution strategy that a configuration asks for.

    Args:
        name: `tpu` (the TPU that TPU_NAME or the host offers), `mirrored` (all GPUs of this host; it wants at
            least two), `one` (one GPU if there is any, else the CPU), or `auto`: the first of these three
            that this machine has. The choice is logged.

    Returns:
        A strategy; models and optimizers are made in its scope.

    Raises:
        ValueError: another name.
        RuntimeError: the devices that were asked for are not there.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy must be one of {STRATEGIES}, got {name!r}")
    gpus = tf.config.list_physical_devices("GPU")
    tpu = _find_tpu() if name in ("auto", "tpu") else None
    if name == "auto":
        name = "tpu" if tpu else "mirrored" if len(gpus) > 1 else "one"
        _logger.info("strategy auto: %s (TPU %s, %d GPUs)", name, "found" if tpu else "not found", len(gpus))
    if name == "tpu":
        if tpu is None:
            raise RuntimeError(
                "strategy 'tpu' was asked for, but no TPU answers: set TPU_NAME, or ask for 'auto'"
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


def per_replica_batch(strategy: tf.distribute.Strategy, batch_size: int) -> int:
    """Divides a batch among the replicas.

    Args:
        strategy: of `make_strategy`.
        batch_size: examples of an update, over all replicas.

    Returns:
        Examples of each replica.

    Raises:
        ValueError: they do not come out even.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"training.batch_size={batch_size} must be a multiple of the {replicas} replicas of "
            f"{type(strategy).__name__}"
        )
    return batch_size // replicas


def _find_tpu() -> tf.distribute.cluster_resolver.TPUClusterResolver | None:
    try:
        return tf.distribute.cluster_resolver.TPUClusterResolver()
    except (ValueError, tf.errors.NotFoundError) as error:
        _logger.info("no TPU: %s", error)
        return None
