"""A training of seconds, in this process or another one."""

import os
import resource
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.examples.records import encode_record
from components.trainer.checkpoints import Checkpoints
from components.trainer.fitting import fit
from components.trainer.input_data import evaluation_batches, find_examples, training_batches
from components.trainer.run_fn import compile_model
from components.trainer.training import Training
from enformer_keras import Enformer
from pipeline.environment import show_progress

WINDOW, FLANK = 256, 3
MODEL = {
    "channels": 24,
    "num_transformer_layers": 1,
    "num_heads": 1,
    "key_size": 4,
    "heads": {"tiny": 2},
    "sequence_length": WINDOW,
    "target_length": 2,
    "filters_divisible_by": 4,
}
STEPS, PARTS = 12, 6


def write_examples(path, count=7):
    """Examples whose sequence and target tell them apart; here a record is a sequence alone."""
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", np.uint8)
    records = [bases[rng.integers(0, 4, WINDOW + 2 * FLANK)].tobytes() for _ in range(count)]
    path.write_bytes(b"".join(map(encode_record, records)))


def decode(serialized):
    codes = tf.io.decode_raw(serialized, tf.uint8)
    sequence = tf.ensure_shape(tf.one_hot(codes // 2 % 4, 4), [None, WINDOW + 2 * FLANK, 4])
    return {"sequence": sequence, "target": tf.ensure_shape(sequence[:, :2, :2], [None, 2, 2])}


def train(folder, die_while="", replicas=1, model_changes=(), **changes):
    """Trains to the end, or to the moment named; writes the weights to `folder/weights.npz`."""
    sys.stdout = sys.stderr = (folder / "log").open("a", buffering=1)
    show_progress()
    training = Training(
        **{
            "steps": STEPS,
            "epochs": PARTS,
            "batch_size": 2,
            "warm_up_steps": 2,
            "learning_rate": 1e-2,
            "seed": 3,
        }
        | changes
    )
    if die_while == "saving":
        os.fsync = die_at_a_checkpoint
    if die_while == "disk is full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    examples = find_examples([str(folder / "*.gz")], at_least=2)
    arguments = {"head": "tiny", "window_length": WINDOW, "batch_size": training.batch_size}
    keras.utils.set_random_seed(training.seed)
    with logical_replicas(replicas).scope():
        model = Enformer(**{**MODEL, **dict(model_changes)})
        compile_model(model, training)
    checkpoints = Checkpoints(folder / "checkpoints", {"training": vars(training)})
    fit(
        model,
        lambda step: training_batches(
            examples,
            decode,
            **arguments,
            max_shift=3,
            reverse_complement=True,
            strand_pairs=[1, 0],
            seed=training.seed,
            first_step=step,
        ),
        evaluation_batches(examples, decode, **arguments),
        training,
        checkpoints=checkpoints,
        log_folder=str(folder / "tensorboard"),
    )
    if die_while == "exporting":
        os.kill(os.getpid(), signal.SIGKILL)
    partial = folder / "partial.npz"
    np.savez(partial, *[keras.ops.convert_to_numpy(variable) for variable in model.variables])
    partial.replace(folder / "weights.npz")
    checkpoints.finish()


def logical_replicas(count):
    """A strategy of so many replicas, each a part of the CPU."""
    if count == 1:
        return tf.distribute.get_strategy()
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(count)])


def die_at_a_checkpoint(descriptor):
    """In the place of fsync: all is written and nothing renamed."""
    if "step-" in Path(f"/proc/self/fd/{descriptor}").readlink().name:
        os.kill(os.getpid(), signal.SIGKILL)


def read_weights(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "weights.npz") as arrays:
        return [arrays[name] for name in arrays.files]
