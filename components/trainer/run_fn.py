"""The function that TFX's Trainer calls."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.across_hosts import Alike, is_chief, share_of_host, spans_hosts
from components.trainer.checkpoints import Checkpoints
from components.trainer.chief import train_as_chief
from components.trainer.fitting import fit
from components.trainer.input_data import evaluation_batches, find_examples, training_batches
from components.trainer.serving import ModelCard, export_model, make_decoder
from components.trainer.strategy import find_hosts, local_devices, make_strategy, per_replica_batch
from components.trainer.training import Training
from enformer_keras import R2, Enformer, PearsonR, SynchronizedAdam, WarmUp

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
        optimizer=SynchronizedAdam(
            WarmUp(training.learning_rate, training.warm_up_steps, decay_steps),
            global_clipnorm=training.clip_norm,
        ),
        loss=keras.losses.Poisson(),
        metrics={head: [PearsonR(tracks), R2(tracks)] for head, tracks in model.heads.items()},
        jit_compile=training.jit_compile,
        steps_per_execution=training.steps_per_execution,
    )
    model.optimizer.build(model.trainable_variables)


def run_fn(fn_args: Any) -> None:
    """Trains and exports; called by TFX's Trainer.

    Args:
        fn_args: as for `train`.

    Raises:
        ValueError: as for `train`, or TF_CONFIG is malformed, or its hosts cannot divide the batch.
        RuntimeError: the devices or hosts that were asked for are not there, or the hosts' training failed.
        FileNotFoundError, CheckpointError, Preempted: as for `train`.
    """
    training = Training(**fn_args.custom_config["training"])
    cluster = find_hosts(training.strategy)
    if cluster is None:
        train(fn_args, make_strategy(training.strategy))
    else:
        replicas = len(cluster.hosts) * local_devices()
        per_replica_batch(training.batch_size, replicas, f"the hosts in TF_CONFIG={os.environ['TF_CONFIG']}")
        train_as_chief(fn_args)


def train(fn_args: Any, strategy: tf.distribute.Strategy) -> None:
    """Trains and, on the chief, exports; of several hosts, each calls it with the same arguments.

    Args:
        fn_args: TFX's `FnArgs`. `custom_config` holds `model` (arguments of `Enformer`), `training` (fields of
            `Training`), `organisms` (see `serving.ModelCard`), `checkpoints` (a folder that outlives this
            attempt), `data_fingerprint`, `code_fingerprint` and `code_version`.
        strategy: of `make_strategy`.

    Raises:
        ValueError: the configuration cannot train; says what to change.
        FileNotFoundError: there are no examples.
        CheckpointError: a checkpoint cannot be written, or none can be read.
        Preempted: SIGTERM came; the next run goes on.
    """
    config = fn_args.custom_config
    training = Training(**config["training"])
    (head,) = config["model"]["heads"]
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    examples = find_examples(fn_args.train_files, at_least=training.batch_size)
    validation_examples = find_examples(fn_args.eval_files, at_least=1)
    _logger.info("%d training and %d validation examples", len(examples), len(validation_examples))
    batches = {
        "decode": make_decoder(transform_output.transform_features_layer(), transform_output),
        "head": head,
        "window_length": config["model"]["sequence_length"],
        "batch_size": training.batch_size,
    }
    share = share_of_host(strategy) if spans_hosts(strategy) else None

    def batches_from(first_step: int) -> tf.data.Dataset:
        return training_batches(
            examples,
            **batches,
            max_shift=training.max_shift,
            reverse_complement=training.reverse_complement,
            strand_pairs=[track["strand_pair"] for track in config["organisms"][head]["tracks"]],
            seed=training.seed,
            first_step=first_step,
            share=share,
        )

    # ExampleGen never writes to the same folder twice, so the files' names stand for what they hold.
    checkpoints = (
        Checkpoints(
            Path(config["checkpoints"]),
            {**config, "train_files": fn_args.train_files, "eval_files": fn_args.eval_files},
        )
        if is_chief(strategy)
        else None
    )

    keras.utils.set_random_seed(training.seed)
    _logger.info(
        "%s: %d replicas with %d examples each",
        type(strategy).__name__,
        strategy.num_replicas_in_sync,
        per_replica_batch(training.batch_size, strategy.num_replicas_in_sync, type(strategy).__name__),
    )
    if training.jit_compile and strategy is not tf.distribute.get_strategy():
        # Keras cannot have XLA compile a step that a strategy distributes; a TPU's is compiled by its own.
        _logger.info("jit_compile is for one device and is left out under this strategy")
        training = dataclasses.replace(training, jit_compile=False)
    validation = evaluation_batches(
        validation_examples,
        **batches,
        whole_batches=isinstance(strategy, tf.distribute.TPUStrategy),
        share=share,
    )
    with strategy.scope():
        model = Enformer(**config["model"])
        compile_model(model, training)
        step = fit(
            model, batches_from, validation, training, checkpoints=checkpoints, log_folder=fn_args.model_run_dir
        )
    if checkpoints is not None:
        card = ModelCard.from_config(config, step)
        export_model(model, transform_output, fn_args.serving_model_dir, card, validation_examples)
        checkpoints.finish()
    if spans_hosts(strategy):
        Alike(strategy).told_by_chief("exported")  # whoever leaves before counts as lost
