"""The function that TFX's Trainer calls."""

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.examples.account import Account, read_accounts
from components.trainer.across_hosts import Alike, is_chief, spans_hosts
from components.trainer.checkpoints import Checkpoints
from components.trainer.chief import train_as_chief
from components.trainer.distributed import BatchesOfHost, hosts_read, is_tpu
from components.trainer.fitting import fit
from components.trainer.input_data import (
    HeadExamples,
    Share,
    evaluation_batches,
    find_examples,
    training_batches,
)
from components.trainer.serving import NUM_WINDOWS, ModelCard, export_model, make_decoder
from components.trainer.strategy import (
    find_hosts,
    local_devices,
    make_strategy,
    number_of_replica,
    per_replica_batch,
)
from components.trainer.training import Training
from components.trainer.warm_start import find_start, start_from
from enformer_keras import R2, AdamByPart, AlternatingHeads, Enformer, PearsonR, WarmUp
from enformer_keras.model.xla import xla_compiles

_logger = logging.getLogger(__name__)


def compile_model(model: Enformer, training: Training) -> AlternatingHeads:
    """Compiles a model for training: Poisson loss, Adam with warm-up and global-norm clipping.

    Args:
        model: any Enformer, of one head or several.
        training: how to train.

    Returns:
        What trains it, one update for each head in turn.

    Source: Enformer, Methods, "Model training and evaluation".
    """
    updates = len(model.heads)  # of a step, each of which the schedule counts
    decay_steps = training.steps - training.warm_up_steps if training.decay else None
    if model.distribute_strategy.num_replicas_in_sync > 1:
        model.share_batches(number_of_replica)
    trainer = AlternatingHeads(model)
    trainer.compile(
        optimizer=AdamByPart(
            WarmUp(
                training.learning_rate,
                training.warm_up_steps * updates,
                decay_steps and decay_steps * updates,
            ),
            training.rates,
            global_clipnorm=training.clip_norm,
        ),
        loss=keras.losses.Poisson(),
        metrics=lambda: [PearsonR(), R2()],
        jit_compile=training.jit_compile,
        steps_per_execution=training.steps_per_execution,
    )
    return trainer


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
        if not cluster.is_chief:
            raise RuntimeError(
                f"TF_CONFIG={os.environ['TF_CONFIG']} is not the chief's, which alone runs the pipeline: run "
                "`python -m components.trainer.host` on this host"
            )
        replicas = len(cluster.hosts) * local_devices()
        per_replica_batch(training.batch_size, replicas, f"the hosts in TF_CONFIG={os.environ['TF_CONFIG']}")
        train_as_chief(fn_args)


def train(fn_args: Any, strategy: tf.distribute.Strategy) -> None:
    """Trains and, on the chief, exports; of several hosts, each calls it with the same arguments.

    Args:
        fn_args: TFX's `FnArgs`. `custom_config` holds `model` (arguments of `Enformer`), `training` (fields of
            `Training`), `averaging` (of `Averaging`), `checkpoints` (a folder that outlives this attempt),
            `warm_start` and `pushed` (see `warm_start.find_start`), `data_fingerprint`, `code_fingerprint` and
            `code_version`. What the heads' tracks are, the examples tell.
        strategy: of `make_strategy`.

    Raises:
        ValueError: the configuration cannot train; says what to change.
        FileNotFoundError: there are no examples of an organism, or nothing where the warm start is said to be.
        CheckpointError: a checkpoint cannot be written, or none can be read.
        Preempted: SIGTERM came; the next run goes on.
    """
    config = fn_args.custom_config
    training = Training(**config["training"])
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    accounts = read_accounts(fn_args.train_files[0].rsplit("/", 2)[0])  # beside the splits' folders
    examples = _find_heads(fn_args.train_files, config["model"]["heads"], accounts, training.batch_size)
    validation_examples = _find_heads(fn_args.eval_files, config["model"]["heads"], accounts, at_least=1)
    for head in examples:
        _logger.info(
            "%s: %d training and %d validation examples",
            head,
            len(examples[head].places),
            len(validation_examples[head].places),
        )
    decode = make_decoder(transform_output.transform_features_layer(), transform_output)
    batches = {"window_length": config["model"]["sequence_length"], "batch_size": training.batch_size}

    def batches_from(first_step: int) -> tf.data.Dataset | BatchesOfHost:
        def of_host(share: Share | None) -> tf.data.Dataset:
            return training_batches(
                examples,
                decode,
                **batches,
                max_shift=training.max_shift,
                reverse_complement=training.reverse_complement,
                seed=training.seed,
                first_step=first_step,
                share=share,
            )

        return of_host if hosts_read(strategy) else of_host(None)

    def validation_batches(head: HeadExamples) -> tf.data.Dataset | BatchesOfHost:
        def of_host(share: Share | None) -> tf.data.Dataset:
            return evaluation_batches(head, decode, **batches, whole_batches=is_tpu(strategy), share=share)

        return of_host if hosts_read(strategy) else of_host(None)

    start = find_start(config["warm_start"], Path(config["pushed"]))
    # ExampleGen never writes to the same folder twice, so the files' names stand for what they hold. Averaging
    # decides no weight: where it alone changed, the trained model is exported again.
    trained_by = {name: value for name, value in config.items() if name != "averaging"}
    trained_on = {"train_files": fn_args.train_files, "eval_files": fn_args.eval_files, "warm_start": start}
    checkpoints = (
        Checkpoints(Path(config["checkpoints"]), {**trained_by, **trained_on}) if is_chief(strategy) else None
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
    elif training.jit_compile and not xla_compiles():
        _logger.warning(
            "jit_compile is left out: TensorFlow's build for TPUs cannot compile for the CPU, which trains here"
        )
        training = dataclasses.replace(training, jit_compile=False)
    validation = {name: validation_batches(head) for name, head in validation_examples.items()}
    tracks = {head: [track.identifier for track in account.tracks] for head, account in accounts.items()}
    with strategy.scope():
        model = Enformer(**config["model"])
    # Of several hosts, the others get the chief's weights when training begins.
    started_from = start_from(model, start if is_chief(strategy) else "", tracks)
    with strategy.scope():
        trainer = compile_model(model, training)
        step = fit(
            trainer,
            batches_from,
            validation,
            training,
            checkpoints=checkpoints,
            log_folder=fn_args.model_run_dir,
        )
    if checkpoints is not None:
        if is_tpu(strategy):
            model = copy_to_host(model)
        if model.lora_rank is not None:
            model = model.merge_lora()
        card = ModelCard.from_config(config, accounts, started_from, step)
        windows = [place for head in validation_examples.values() for place in head.places[:NUM_WINDOWS]]
        export_model(model, transform_output, fn_args.serving_model_dir, card, windows)
        checkpoints.finish()
    if spans_hosts(strategy):
        leave_together(lambda: Alike(strategy).told_by_chief("exported"), is_chief(strategy))


def copy_to_host(model: Enformer) -> Enformer:
    """Copies a model from TPUs, whose variables only programs for TPUs can read, to this process's CPU.

    Args:
        model: trained.

    Returns:
        The same, of no strategy and with a tower in one piece; what is exported of it names no device.
    """
    values = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    with tf.device("/CPU:0"):
        # In pieces it would be slower there, and its tower not be reused between alleles.
        copied = Enformer.from_config({**model.get_config(), "tower_pieces": 1})
        for variable, value in zip(copied.variables, values, strict=True):
            variable.assign(value)
    return copied


def leave_together(meet: Callable[[], Any], chief: bool) -> None:
    """Waits until the chief has exported the model: whoever leaves before counts as lost.

    The chief exports alone, and whole or not at all: once it has, nobody is needed any more.

    Args:
        meet: returns where all hosts have called it.
        chief: whether this host is the chief.

    Raises:
        UnavailableError, CancelledError, AbortedError: on another host, the chief is lost.
    """
    try:
        meet()
    except (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.AbortedError) as error:
        if not chief:
            raise
        _logger.warning("the model is exported; a host left before it was: %s", error.message)


def _find_heads(
    files: Sequence[str], heads: Mapping[str, int], accounts: Mapping[str, Account], at_least: int
) -> dict[str, HeadExamples]:
    """Finds the examples of every head in a split."""
    found = {}
    for head, tracks in heads.items():
        account = accounts[head]
        if len(account.tracks) != tracks:
            raise ValueError(
                f"head {head} has {tracks} tracks, its examples have {len(account.tracks)}: the track table "
                "has changed since they were built; run the pipeline from its beginning"
            )
        found[head] = HeadExamples(
            find_examples(files, head, at_least),
            account.target_length,
            tracks,
            [track.strand_pair for track in account.tracks],
        )
    return found
