"""Runs batch normalization on two replicas and on one; prints what differs. A process of its own, because
TensorFlow splits a CPU into logical devices only before it does anything else.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from enformer_keras.layers import SynchronizedBatchNormalization


def step(devices, batch, sizes):
    """One training step with ``sizes[i]`` examples on replica i; outputs, input gradient and statistics."""
    strategy = tf.distribute.MirroredStrategy(devices)
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


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    batch = np.random.default_rng(0).normal(30.0, 2.0, size=(4, 5, 3)).astype("float32")
    one = step(["/cpu:0"], batch, [4])
    differences = {
        f"{sizes}": [
            float(np.abs(a - b).max())
            for a, b in zip(step(["/cpu:0", "/cpu:1"], batch, sizes), one, strict=True)
        ]
        for sizes in ([2, 2], [1, 3])
    }
    json.dump(differences, sys.stdout)


if __name__ == "__main__":
    main()
