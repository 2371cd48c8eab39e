"""Runs a layer or a whole model on two replicas and on one; prints what differs. A process of its own, because
TensorFlow splits a CPU into logical devices only before it does anything else.
"""

import functools
import json
import sys

import keras
import numpy as np
import tensorflow as tf

from enformer_keras.model.enformer import BLOCKS, Enformer
from enformer_keras.model.layers import Dropout, SynchronizedBatchNormalization
from enformer_keras.training.augmentation import Augmentation


def step(strategy, batch, sizes):
    """One training step with ``sizes[i]`` examples on replica i; outputs, input gradient and statistics."""
    with strategy.scope():
        layer = SynchronizedBatchNormalization()
        layer.build(batch.shape)
        layer.gamma.assign([1.5, -0.5, 2.0])
        layer.beta.assign([0.1, 0.2, 0.3])
    shares = iter(np.split(batch, np.cumsum(sizes)[:-1]))
    parts = strategy.experimental_distribute_values_from_function(lambda context: tf.constant(next(shares)))

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.sin(y))
        return y, tape.gradient(loss, x)

    y, gradient = (
        np.concatenate([part.numpy() for part in strategy.experimental_local_results(values)])
        for values in strategy.run(run, [parts])
    )
    return y, gradient, layer.moving_mean.numpy(), layer.moving_variance.numpy()


def normalization(one, two):
    """Largest differences by the numbers of examples on each replica."""
    batch = np.random.default_rng(0).normal(30.0, 2.0, size=(4, 5, 3)).astype("float32")
    whole = step(one, batch, [4])
    return {
        f"{sizes}": [float(np.abs(a - b).max()) for a, b in zip(step(two, batch, sizes), whole, strict=True)]
        for sizes in ([2, 2], [1, 3])
    }


def number_of_replica():
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def draws(strategy, layer, examples):
    """What a layer made by ``layer`` lets pass in its second step, of examples that replicas share."""
    with strategy.scope():
        layer = layer()
    rows = len(examples[0]) // strategy.num_replicas_in_sync
    share = [tf.constant(values[:rows]) for values in examples]  # all are alike but for the draws

    @tf.function
    def run():
        layer(*share, training=True)
        return tf.nest.flatten(layer(*share, training=True))[0]

    parts = strategy.experimental_local_results(strategy.run(run))
    return np.concatenate([part.numpy() > 0 for part in parts])


def all_draws(one, two):
    """Share of elements in which draws differ: of two replicas from each other, and from one device's."""
    ones = [np.ones((4, 50), "float32")]
    flanked = np.eye(4, dtype="float32")[np.random.default_rng(0).integers(0, 4, 30)]
    windows = [np.stack([flanked] * 32), np.ones((32, 2, 1), "float32")]

    def dropout():
        return Dropout(0.5, seed=1)

    def augmentation():
        return Augmentation(24, [0], seed=1)

    def sharing(make):
        layer = make()
        layer.share_batches(number_of_replica)
        return layer

    kinds = {
        "keras": (lambda: keras.layers.Dropout(0.5, seed=1), ones),
        "alone": (dropout, ones),
        "sharing": (lambda: sharing(dropout), ones),
        "augmentation_alone": (augmentation, windows),
        "augmentation_sharing": (lambda: sharing(augmentation), windows),
    }
    differences = {}
    for name, (layer, examples) in kinds.items():
        whole, shared = draws(one, layer, examples), draws(two, layer, examples)
        first, second = np.split(shared, 2)
        differences[name] = [float(np.mean(first != second)), float(np.mean(shared != whole))]
    return differences


def fit(strategy, x, y, rematerialized=()):
    """What one step of `fit` reports and changes: with a rate of 1, that is minus the gradient of the loss.

    In float64, where rounding does not hide a difference.
    """
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = Enformer(
            channels=48,
            num_transformer_layers=1,
            num_heads=2,
            heads={"ecoli": 3},
            sequence_length=1024,
            target_length=4,
            key_size=8,
            filters_divisible_by=8,
            position_dropout=0.2,
            rematerialized=rematerialized,
            dtype="float64",
        )
        model.share_batches(number_of_replica)
        model.compile(keras.optimizers.SGD(1.0), keras.losses.Poisson(dtype="float64"))
    # At first the attention's output is zero, and with it the gradients of what comes before.
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign_add(0.5 * rng.normal(size=weight.shape) / np.sqrt(max(np.prod(weight.shape[:-1]), 4)))
    before = {weight.path: weight.numpy() for weight in model.weights}
    loss = model.fit(x, {"ecoli": y}, batch_size=len(x), verbose=0).history["loss"]
    trainable, rest = (
        {weight.path: weight.numpy() - before[weight.path] for weight in weights}
        for weights in (model.trainable_weights, model.non_trainable_weights)
    )
    return {"loss": {"loss": np.array(loss)}, "gradients": trainable, "statistics": rest}


def whole_model(one, two, rematerialized=False):
    """By kind and variable: norm of the difference, norm on one replica, which keeps all activations."""
    rng = np.random.default_rng(0)
    x = np.eye(4)[rng.integers(0, 4, size=(4, 1024))]
    y = rng.poisson(3.0, size=(4, 4, 3)).astype("float64")
    whole = fit(one, x, y)
    shared = fit(two, x, y, rematerialized=BLOCKS if rematerialized else ())
    return {
        kind: {
            name: [float(np.linalg.norm(shared[kind][name] - value)), float(np.linalg.norm(value))]
            for name, value in values.items()
        }
        for kind, values in whole.items()
    }


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # One strategy for each set of devices: a second one's all-reduces would be taken for the first one's.
    one, two = (tf.distribute.MirroredStrategy(devices) for devices in (["/cpu:0"], ["/cpu:0", "/cpu:1"]))
    differences = {
        "normalization": normalization,
        "draws": all_draws,
        "model": whole_model,
        "rematerialized": functools.partial(whole_model, rematerialized=True),
    }
    json.dump(differences[sys.argv[1]](one, two), sys.stdout)


if __name__ == "__main__":
    main()
