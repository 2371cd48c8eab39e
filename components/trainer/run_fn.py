"""The function that TFX's Trainer calls."""

import dataclasses
import hashlib
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.input_data import evaluation_batches, read_examples, training_batches
from components.trainer.serving import ModelCard, export_model, make_decoder
from components.trainer.strategy import make_strategy
from components.trainer.training import Training
from enformer_keras import R2, Enformer, PearsonR, WarmUp

_logger = logging.getLogger(__name__)


def compile_model(model: Enformer, training: Training) -> None:
    """Compiles a model for training: Poisson loss, Adam with warm-up and global-norm clipping.

    Args:
        model: any Enformer.
        training: how to train.

    Source: Enformer, Methods, "Model training and evaluation".
    """
    decay_steps = training.steps - training.warm_up_steps if training.decay else None
    model.compile(
        optimizer=keras.optimizers.Adam(
            WarmUp(training.learning_rate, training.warm_up_steps, decay_steps),
            global_clipnorm=training.clip_norm,
        ),
        loss=keras.losses.Poisson(),
        metrics={head: [PearsonR(tracks), R2(tracks)] for head, tracks in model.heads.items()},
        jit_compile=training.jit_compile,
    )


def run_fn(fn_args: Any) -> None:
    """Trains and exports; called by TFX's Trainer.

    Args:
        fn_args: TFX's `FnArgs`. `custom_config` holds `model` (arguments of `Enformer`), `training` (fields of
            `Training`), `strand_pairs` (for each track its partner), `checkpoints` (a folder that outlives this
            attempt), and fingerprints that only the cache reads.

    Raises:
        ValueError: the configuration cannot train; says what to change.
        FileNotFoundError: there are no examples.
    """
    config = fn_args.custom_config
    training = Training(**config["training"])
    (head,) = config["model"]["heads"]
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    batches = {
        "transform": make_decoder(transform_output.transform_features_layer(), transform_output),
        "head": head,
        "window_length": config["model"]["sequence_length"],
        "batch_size": training.batch_size,
    }
    train = training_batches(
        fn_args.train_files,
        **batches,
        max_shift=training.max_shift,
        reverse_complement=training.reverse_complement,
        strand_pairs=config["strand_pairs"],
        shuffle_buffer=training.shuffle_buffer,
        seed=training.seed,
    )
    validation = evaluation_batches(fn_args.eval_files, **batches)
    # The training examples are not counted to the end: that can be hundreds of gigabytes.
    count_examples(fn_args.train_files, at_least=training.batch_size, stop_at=training.batch_size)
    num_validation = count_examples(fn_args.eval_files, at_least=1)
    _logger.info("%d validation examples", num_validation)
    num_batches = math.ceil(num_validation / training.batch_size)
    validation = validation.apply(tf.data.experimental.assert_cardinality(num_batches))

    keras.utils.set_random_seed(training.seed)
    strategy = make_strategy(training.strategy)
    _logger.info("%s with %d replicas", type(strategy).__name__, strategy.num_replicas_in_sync)
    if training.jit_compile and strategy is not tf.distribute.get_strategy():
        # Keras cannot have XLA compile a step that a strategy distributes; a TPU's is compiled by its own.
        _logger.info("jit_compile is for one device and is left out under this strategy")
        training = dataclasses.replace(training, jit_compile=False)
    with strategy.scope():
        model = Enformer(**config["model"])
        compile_model(model, training)
    fit(
        model,
        train,
        validation,
        training,
        checkpoints=Path(config["checkpoints"]) / _key(config, fn_args.train_files),
        log_folder=fn_args.model_run_dir,
    )
    card = ModelCard.from_config(config)
    export_model(model, transform_output, fn_args.serving_model_dir, card, fn_args.eval_files)


def fit(
    model: Enformer,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    training: Training,
    *,
    checkpoints: Path,
    log_folder: str,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Fits in `training.epochs` parts, each logged for TensorBoard, validated and checkpointed.

    A run that was killed goes on from its last checkpoint; one that ends removes it.

    Args:
        model: compiled model.
        train: endless batches.
        validation: all validation batches.
        training: how to train.
        checkpoints: folder of this very configuration.
        log_folder: TensorBoard's folder.
        callbacks: further callbacks.
    """
    epochs = max(parts for parts in range(1, training.epochs + 1) if training.steps % parts == 0)
    model.fit(
        train,
        epochs=epochs,
        steps_per_epoch=training.steps // epochs,
        shuffle=False,  # the dataset is shuffled already
        validation_data=validation,
        callbacks=[
            keras.callbacks.BackupAndRestore(checkpoints),
            keras.callbacks.TerminateOnNaN(raise_error=True),
            keras.callbacks.TensorBoard(log_folder, write_graph=False),
            *callbacks,
        ],
        # A bar where a person watches, a line for each part in a log.
        verbose=1 if sys.stdout.isatty() else 2,
    )


def count_examples(files: Sequence[str], at_least: int, stop_at: int = -1) -> int:
    """Counts the examples of a split.

    Args:
        files: patterns of gzipped TFRecord files.
        at_least: how many there must be.
        stop_at: how many to count at most; -1 counts all.

    Returns:
        Their number.

    Raises:
        ValueError: there are fewer than `at_least`.
    """
    count = sum(1 for _ in read_examples(files).take(stop_at))
    if count < at_least:
        raise ValueError(
            f"{list(files)} hold {count} examples, fewer than {at_least}: lower training.batch_size, or "
            "the stride of the dataset's windows"
        )
    return count


def _key(config: Mapping[str, Any], files: Sequence[str]) -> str:
    """A name for the checkpoints of this configuration on these examples."""
    text = json.dumps([config, sorted(files)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
