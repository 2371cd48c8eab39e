"""A program for `.venv-tpu`: traces a training step under the real TPUStrategy, for chips that are made up.

The strategy is TensorFlow's own; what is made up is the list of devices that it is told of. Variables lie on
the CPU in their place, and nothing runs on a chip. Prints, as JSON, what the programs for chips are made of.
"""

import inspect
import json
import sys
from pathlib import Path

from components.startup import start_tensorflow

start_tensorflow()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.python.client import session  # noqa: E402
from tensorflow.python.tpu import tpu_system_metadata  # noqa: E402

from components.trainer.distributed import DistributedModel, hosts_read, is_tpu, share_of  # noqa: E402
from components.trainer.input_data import evaluation_batches, training_batches  # noqa: E402
from components.trainer.run_fn import compile_model, copy_to_host  # noqa: E402
from components.trainer.training import Training  # noqa: E402
from enformer_keras import Enformer  # noqa: E402
from tests.trainer.tiny_training import HEADS, MODEL, WINDOW, decode, head_examples, write_examples  # noqa: E402

CHIPS = 2


class NoChips(tf.distribute.cluster_resolver.TPUClusterResolver):
    def get_tpu_system_metadata(self):
        devices = [
            session._DeviceAttributes(f"/job:localhost/replica:0/task:0/device:TPU:{index}", "TPU", 0, 0)
            for index in range(CHIPS)
        ]
        return tpu_system_metadata.TPUSystemMetadata(CHIPS, 1, CHIPS, None, devices)


def look_at(function):
    """Of a traced step: operations on the chips, their types and shapes, and what asks for a compiler."""
    operations = list(function.graph.get_operations())
    for inner in function.graph._functions.values() if hasattr(function.graph, "_functions") else ():
        operations += getattr(getattr(inner, "graph", None), "get_operations", list)()
    chips = [one for one in operations if "_tpu_replicate" in one.node_def.attr]
    outputs = [(one, tensor) for one in chips for tensor in one.outputs]
    return {
        "operations": len(chips),
        "collectives": sorted(
            {one.type for one in chips} & {"CrossReplicaSum", "AllToAll", "CollectivePermute"}
        ),
        "dtypes": sorted({tensor.dtype.base_dtype.name for _, tensor in outputs}),
        "without_shape": sorted(
            {
                f"{one.type} {one.name} {tensor.shape}"
                for one, tensor in outputs
                if tensor.dtype not in (tf.resource, tf.variant) and not tensor.shape.is_fully_defined()
            }
        ),
        "compilers": sorted({one.name for one in operations if one.node_def.attr["_XlaMustCompile"].b}),
    }


def main(folder):
    tf.config.set_soft_device_placement(True)
    write_examples(folder, tiny=7, small=5)
    examples = {head: head_examples(folder, head) for head in HEADS}
    strategy = tf.distribute.TPUStrategy(NoChips("local"))
    training = Training(steps=12, batch_size=4, warm_up_steps=2, steps_per_execution=3, epochs=2)
    sizes = {"window_length": WINDOW, "batch_size": training.batch_size}
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = Enformer(**MODEL, dtype="mixed_bfloat16", tower_pieces=2)
        trainer = compile_model(model, training)
    contexts = []

    def of_host(context):
        contexts.append(context)
        arguments = {"max_shift": 3, "reverse_complement": True, "seed": 0}
        return training_batches(examples, decode, **sizes, **arguments, share=share_of(context))

    def validation(context):
        return evaluation_batches(
            examples["tiny"], decode, **sizes, whole_batches=True, share=share_of(context)
        )

    batches = iter(strategy.distribute_datasets_from_function(of_host))
    validated = iter(strategy.distribute_datasets_from_function(validation))
    steps = DistributedModel(trainer)._train
    head = DistributedModel(trainer.head_models["tiny"])._test
    specs = tf.nest.flatten([batches.element_spec, validated.element_spec], expand_composites=True)
    host = copy_to_host(model)
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    print(
        json.dumps(
            {
                "is_tpu": is_tpu(strategy),
                "hosts_read": hosts_read(strategy),
                "share": list(share_of(contexts[0]).__dict__.values()),
                "inputs": [[str(spec.shape), spec.shape.is_fully_defined()] for spec in specs],
                "train": look_at(steps.one.get_concrete_function(batches)),
                "test": look_at(head.one.get_concrete_function(validated)),
                "copied": all(
                    (keras.ops.convert_to_numpy(one) == keras.ops.convert_to_numpy(other)).all()
                    for one, other in zip(host.variables, model.variables, strict=True)
                ),
                "pieces": [model.tower_pieces, host.tower_pieces],
                "copy_has_a_strategy": host.distribute_strategy is strategy,
                "resolver": [*inspect.signature(resolver.__init__).parameters][:2],
                "connect": [*inspect.signature(tf.config.experimental_connect_to_cluster).parameters][:1],
                "initialize": [*inspect.signature(tf.tpu.experimental.initialize_tpu_system).parameters][:1],
                "strategy": [*inspect.signature(tf.distribute.TPUStrategy.__init__).parameters][:2],
            }
        ),
        file=sys.stdout,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
