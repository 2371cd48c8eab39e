"""A training of seconds, in this process or another one."""

import os
import resource
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.examples.example import make_example
from components.examples.records import encode_record
from components.trainer import distributed
from components.trainer.checkpoints import Checkpoints
from components.trainer.fitting import fit
from components.trainer.input_data import HeadExamples, evaluation_batches, find_examples, training_batches
from components.trainer.run_fn import compile_model
from components.trainer.training import Training
from components.transform.decoding import decode_sequences
from enformer_keras import Enformer
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval
from pipeline.environment import show_progress

WINDOW, FLANK = 256, 3
HEADS = {"tiny": 2, "small": 1}
STRAND_PAIRS = {"tiny": [1, 0], "small": [0]}
MODEL = {
    "channels": 24,
    "num_transformer_layers": 1,
    "num_heads": 1,
    "key_size": 4,
    "heads": HEADS,
    "sequence_length": WINDOW,
    "target_length": 2,
    "filters_divisible_by": 4,
}
STEPS, PARTS = 12, 6


def write_examples(folder, **counts):
    """Random examples of each organism named."""
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", np.uint8)
    interval = Interval("chrom", 0, WINDOW)
    for organism, count in counts.items():
        examples = [
            make_example(
                organism=organism,
                window=Window(interval, interval, "train"),
                sequence=bases[rng.integers(0, 4, WINDOW + 2 * FLANK)].tobytes(),
                flank_length=FLANK,
                target=rng.poisson(1, (2, HEADS[organism])).astype(np.float16),
            )
            for _ in range(count)
        ]
        records = [encode_record(example.SerializeToString()) for example in examples]
        (folder / f"{organism}-00000-of-00001.gz").write_bytes(b"".join(records))


def head_examples(folder, head="tiny"):
    """What the Trainer finds of an organism."""
    places = find_examples([f"{folder}/*"], head, at_least=1)
    return HeadExamples(places, target_length=2, tracks=HEADS[head], strand_pairs=STRAND_PAIRS[head])


def decode(serialized):
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("sequence", "target")}
    parsed = tf.io.parse_example(serialized, features)
    return parsed | {"sequence": decode_sequences(parsed["sequence"], WINDOW + 2 * FLANK)}


def train(folder, die_while="", replicas=1, as_on_tpu=False, whole_batches=False, model_changes=(), **changes):
    """Trains to the end, or to the moment named; writes the weights to `folder/weights.npz`.

    `as_on_tpu`: as under TPUStrategy, which the strategy of the replicas then stands for.
    """
    sys.stdout = sys.stderr = (folder / "log").open("a", buffering=1)
    show_progress()
    training = Training(
        **{
            "steps": STEPS,
            "epochs": PARTS,
            "batch_size": 2,
            "warm_up_steps": 1,
            "learning_rate": 1e-2,
            "seed": 3,
        }
        | changes
    )
    if die_while == "saving":
        os.fsync = die_at_a_checkpoint
    if die_while == "disk is full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    heads = {head: head_examples(folder, head) for head in HEADS}
    sizes = {"window_length": WINDOW, "batch_size": training.batch_size}
    keras.utils.set_random_seed(training.seed)
    with logical_replicas(replicas).scope():
        model = Enformer(**{**MODEL, **dict(model_changes)})
        trainer = compile_model(model, training)
    checkpoints = Checkpoints(folder / "checkpoints", {"training": vars(training)})

    def training_from(step):
        def of_host(share=None):
            return training_batches(
                heads,
                decode,
                **sizes,
                max_shift=3,
                reverse_complement=True,
                seed=training.seed,
                first_step=step,
                share=share,
            )

        return of_host if as_on_tpu else of_host()

    def validation_of(examples):
        def of_host(share=None):
            return evaluation_batches(examples, decode, **sizes, whole_batches=whole_batches, share=share)

        return of_host if as_on_tpu else of_host()

    if as_on_tpu:
        distributed.is_tpu = lambda strategy: True
    fit(
        trainer,
        training_from,
        {head: validation_of(examples) for head, examples in heads.items()},
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
