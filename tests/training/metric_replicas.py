"""Runs the metrics on two replicas and on one; prints what differs. A process of its own, because TensorFlow
splits a CPU into logical devices only before it does anything else.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from enformer_keras import R2, PearsonR

BATCHES = 3


def figures(strategy, y, p, sizes):
    """Figures of all tracks after ``BATCHES`` updates with ``sizes[i]`` examples each on replica i."""
    with strategy.scope():
        metrics = [PearsonR(y.shape[-1]), R2(y.shape[-1])]

    @tf.function
    def update(y, p):
        for metric in metrics:
            metric.update_state(y, p)

    def shares(batch):
        parts = iter(np.split(batch, np.cumsum(sizes)[:-1]))
        return strategy.experimental_distribute_values_from_function(lambda context: tf.constant(next(parts)))

    for metric in metrics:
        metric.reset_state()
    for y_batch, p_batch in zip(np.split(y, BATCHES), np.split(p, BATCHES), strict=True):
        strategy.run(update, (shares(y_batch), shares(p_batch)))
    return np.stack([metric.per_track().numpy() for metric in metrics])


def reports(strategy, x, y):
    """What `fit` and `evaluate` report; the last batch leaves the second of two replicas without examples."""
    with strategy.scope():
        inputs = keras.Input((5, 3))
        model = keras.Model(inputs, {"a": keras.layers.Dense(3, kernel_initializer="identity")(inputs)})
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics={"a": [PearsonR(), R2()]})
    data = tf.data.Dataset.from_tensor_slices((x, {"a": y})).batch(4)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    data = data.with_options(options)
    fitted = {name: values[0] for name, values in model.fit(data, shuffle=False, verbose=0).history.items()}
    evaluated = model.evaluate(data, verbose=0, return_dict=True)
    return np.array([values[name] for name in ("pearson_r", "r2") for values in (fitted, evaluated)])


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    rng = np.random.default_rng(0)
    y = rng.normal(1e4, 30.0, size=(4 * BATCHES, 5, 3)).astype("float32")
    p = y + rng.normal(5.0, 20.0, size=y.shape).astype("float32")
    y[..., 2] = 0.1  # has no figure, on any number of replicas
    # One strategy for each set of devices: a second one's all-reduces would be taken for the first one's.
    one, two = (tf.distribute.MirroredStrategy(devices) for devices in (["/cpu:0"], ["/cpu:0", "/cpu:1"]))
    whole = figures(one, y, p, [4])
    differences = {}
    for sizes in ([2, 2], [1, 3], [4, 0]):
        shared = figures(two, y, p, sizes)
        assert (np.isnan(shared) == [False, False, True]).all(), shared
        differences[f"{sizes}"] = float(np.nanmax(np.abs(shared - whole)))
    differences["fit"] = float(np.abs(reports(two, p[:9], y[:9]) - reports(one, p[:9], y[:9])).max())
    json.dump(differences, sys.stdout)


if __name__ == "__main__":
    main()
