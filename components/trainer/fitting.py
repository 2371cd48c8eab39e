"""The fit: in parts, each validated and kept, so that whatever ends the process costs a part at most."""

import contextlib
import dataclasses
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from components.trainer.across_hosts import Alike, spans_hosts
from components.trainer.checkpoints import CheckpointError, Checkpoints, Progress
from components.trainer.distributed import BatchesOfHost, DistributedModel, hosts_read
from components.trainer.training import Training
from enformer_keras import AlternatingHeads

_logger = logging.getLogger(__name__)
_LOG_EVERY_S = 60
_SCORE = "pearson_r"  # how the names of figures of `PearsonR` end, with the head's name in front


class Preempted(SystemExit):
    """SIGTERM came and the state has been saved; the exit status is the signal's."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def fit(
    trainer: AlternatingHeads,
    train: Callable[[int], tf.data.Dataset | BatchesOfHost],
    validation: Mapping[str, tf.data.Dataset | BatchesOfHost],
    training: Training,
    *,
    checkpoints: Checkpoints | None,
    log_folder: str,
) -> int:
    """Fits in parts, each followed by a validation and a checkpoint; goes on from the newest if there is any.

    A checkpoint holds weights, moving statistics, random generators and optimizer. As the training order is a
    function of the step, a run that was killed ends with the weights of one that was not. SIGTERM, by which
    clusters say that a machine is needed elsewhere, saves after the running update and ends the process.

    Parts are compared by Pearson's r in validation, the mean over the heads.

    Under a strategy whose hosts read (`distributed.hosts_read`), what makes batches makes those of a host.

    Under a strategy that spans hosts each of them calls this. All go on from what the chief has read, stop at
    the same step when SIGTERM comes to one, and only the chief writes. The hosts of a TPU slice are not such:
    one process, this one, has them all work.

    Args:
        trainer: of the model, compiled.
        train: from a step to endless batches that begin there.
        validation: head -> all its validation batches.
        training: how to train.
        checkpoints: of this very configuration; `None` on a host that is not the chief.
        log_folder: TensorBoard's folder.

    Returns:
        The step whose weights the model has, on the chief: that of the best part or the last (`training.keep`).

    Raises:
        Preempted: SIGTERM came.
        CheckpointError: a checkpoint cannot be written, or none can be read.
        FloatingPointError: the loss is not finite.
    """
    state = [*trainer.model.variables, *trainer.optimizer.variables]
    progress = _restore(state, checkpoints) if checkpoints else Progress()
    fitter: AlternatingHeads | DistributedModel = trainer
    heads: Mapping[str, keras.Model | DistributedModel] = trainer.head_models
    alike: Alike | None = None
    if hosts_read(trainer.distribute_strategy):
        fitter = DistributedModel(trainer)
        heads = {head: DistributedModel(model) for head, model in trainer.head_models.items()}
    if spans_hosts(trainer.distribute_strategy):
        alike = Alike(trainer.distribute_strategy)
        progress = Progress(**alike.told_by_chief(dataclasses.asdict(progress)))
        for variable in state:
            variable.assign(alike.from_chief(keras.ops.convert_to_numpy(variable)))
    writer = tf.summary.create_file_writer(log_folder) if checkpoints else tf.summary.create_noop_writer()
    for before in progress.history:  # each attempt has a folder of its own
        _write_figures(before, writer)
    parts = training.steps // training.steps_per_part

    def save() -> None:
        if checkpoints:
            checkpoints.save(progress, [keras.ops.convert_to_numpy(variable) for variable in state])

    with _sigterm() as terminated:
        if alike:
            terminated = alike.any(terminated)
        watch = _Watch(progress, training.steps, terminated)
        while len(progress.history) < parts and not _stalled(progress, training):
            part = len(progress.history)
            missing = (part + 1) * training.steps_per_part - progress.step
            figures: dict[str, dict[str, float]] = {"train": {}, "validation": {}}
            try:
                if missing:
                    fitted = fitter.fit(
                        train(progress.step),
                        steps_per_epoch=missing,
                        shuffle=False,  # the batches come in their order
                        callbacks=[watch],
                        verbose=1 if sys.stdout.isatty() else 0,
                    )
                    figures["train"] = {name: float(values[-1]) for name, values in fitted.history.items()}
                figures["validation"] = _validate(heads, validation, watch)
            except _Terminated:
                save()
                if alike:
                    alike.told_by_chief("saved")  # whoever leaves before counts as lost
                _logger.warning("SIGTERM: saved at step %d; the next run goes on from there", progress.step)
                raise Preempted from None
            if alike:  # hosts may round otherwise, and all must judge alike
                figures = alike.told_by_chief(figures)
            progress.history.append({"step": progress.step, **figures})
            _judge(progress)
            _write_figures(progress.history[-1], writer)
            save()
        if terminated():
            raise Preempted
    if training.keep == "best" and not progress.best_step:
        _logger.warning("no part has a validation figure: keeping the weights of step %d", progress.step)
    elif training.keep == "best":
        _logger.info("keeping the weights of step %d, the best in validation", progress.best_step)
        if checkpoints:
            _assign(state, checkpoints.load_best(progress), checkpoints)
        return progress.best_step
    return progress.step


class _Terminated(Exception):  # noqa: N818 (no error: a request)
    """SIGTERM came; the state is that after a whole update."""


class _Watch(keras.callbacks.Callback):
    """Counts and logs the updates, and stops at SIGTERM or at a loss that is not finite."""

    def __init__(self, progress: Progress, steps: int, terminated: Callable[[], bool]) -> None:
        super().__init__()
        self._progress = progress
        self._steps = steps
        self._terminated = terminated
        self._logged = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any]) -> None:
        self._progress.step += batch - self._first + 1
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"the loss is {logs['loss']} at step {self._progress.step}: lower training.learning_rate, or "
                "look in the data report for targets that are out of all proportion"
            )
        if time.monotonic() - self._logged > _LOG_EVERY_S:
            self._logged = time.monotonic()
            _logger.info("step %d of %d: loss %.4f", self._progress.step, self._steps, logs["loss"])
        self._stop_if_terminated()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._stop_if_terminated()

    def _stop_if_terminated(self) -> None:
        if self._terminated():
            raise _Terminated


@contextlib.contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """Notes SIGTERM instead of dying of it; gives the question whether it came."""
    came = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    except ValueError:
        _logger.warning("not in the main thread: SIGTERM ends the training without saving")
        yield lambda: False
        return
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def _restore(state: list[keras.Variable], checkpoints: Checkpoints) -> Progress:
    """Puts the newest checkpoint into the variables, if there is one."""
    found = checkpoints.load_newest()
    if found is None:
        return Progress()
    progress, values = found
    _assign(state, values, checkpoints)
    _logger.info("%s: going on from step %d", checkpoints.folder, progress.step)
    return progress


def _assign(state: list[keras.Variable], values: list[Any], checkpoints: Checkpoints) -> None:
    if [value.shape for value in values] != [tuple(variable.shape) for variable in state]:
        raise CheckpointError(
            f"{checkpoints.folder}: the checkpoint is of another model, though the configuration is the same: "
            "remove the folder to train from the beginning"
        )
    for variable, value in zip(state, values, strict=True):
        variable.assign(value)


def _validate(
    heads: Mapping[str, keras.Model | DistributedModel],
    validation: Mapping[str, tf.data.Dataset | BatchesOfHost],
    watch: keras.callbacks.Callback,
) -> dict[str, float]:
    """Evaluates head by head, which may have more or fewer windows; names as in training."""
    figures: dict[str, float] = {}
    for head, batches in validation.items():
        of_head = heads[head].evaluate(batches, callbacks=[watch], return_dict=True, verbose=0)
        figures |= {f"{head}_{name}": value for name, value in of_head.items()}
    return figures | {"loss": sum(figures[f"{head}_loss"] for head in validation)}


def _judge(progress: Progress) -> None:
    """Compares the last part with the best, and logs it."""
    part = progress.history[-1]
    of_heads = [value for name, value in part["validation"].items() if name.endswith(_SCORE)]
    reached = sum(of_heads) / len(of_heads)
    if reached > progress.best_score:  # False for NaN
        progress.best_step, progress.best_score = progress.step, reached
    _logger.info(
        "step %d: loss %.4f, in validation %.4f; %s %.4f, best %.4f at step %d",
        progress.step,
        part["train"].get("loss", math.nan),
        part["validation"]["loss"],
        _SCORE,
        reached,
        progress.best_score,
        progress.best_step,
    )


def _write_figures(part: dict[str, Any], writer: tf.summary.SummaryWriter) -> None:
    """Writes a part of the history for TensorBoard."""
    with writer.as_default(part["step"]):
        for phase in ("train", "validation"):
            for name, value in part[phase].items():
                tf.summary.scalar(f"{phase}/{name}", value)
    writer.flush()


def _stalled(progress: Progress, training: Training) -> bool:
    """Says whether as many parts as `training.patience` have passed since the best."""
    since_best = sum(1 for part in progress.history if part["step"] > progress.best_step)
    if training.patience and since_best >= training.patience:
        _logger.info("no better part in %d: stopped early at step %d", since_best, progress.step)
        return True
    return False
