"""Checkpoints of a training: whole or not there, and enough to go on as if nothing had happened."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_logger = logging.getLogger(__name__)

_CONFIGURATION = "configuration.json"
_FINISHED = "finished"
_PARTIAL = ".partial"
_PROGRESS = "progress"
# The second is for the day when the first turns out to be damaged.
_NEWEST_KEPT = 2
# What NumPy and zipfile raise on files that are cut or altered.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError)


class CheckpointError(Exception):
    """A checkpoint cannot be written, or none can be read; the message gives the folder and the cure."""


@dataclasses.dataclass
class Progress:
    """How far a training has come.

    Attributes:
        step: updates made so far.
        history: an entry for each part that has ended: `step`, `train` and `validation`, figures by name.
        best_step: step at the end of the part that was best in validation; 0 before there is one.
        best_score: its score.
    """

    step: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best_step: int = 0
    best_score: float = float("-inf")


class Checkpoints:
    """The checkpoints of one training: a file each, of all variables and the progress.

    A checkpoint is written beside its place, flushed to the disk and renamed: a process that dies at any moment
    leaves those that it had. NumPy's format keeps a CRC-32 of every array, which reading verifies.

    Args:
        parent: folder of all trainings' folders; local or mounted.
        configuration: JSON values that decide what is trained. With others it is another training.

    Attributes:
        folder: of this training.
    """

    def __init__(self, parent: Path, configuration: Mapping[str, Any]) -> None:
        text = json.dumps(configuration, sort_keys=True, default=str, indent=2)
        self.folder = parent / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._look_around(json.loads(text))
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial in self.folder.glob(f"*{_PARTIAL}"):
            _logger.warning("%s: a run died while it wrote this checkpoint; removed", partial)
            partial.unlink()
        _write_whole(self.folder / _CONFIGURATION, lambda file: file.write(text.encode()))

    def save(self, progress: Progress, variables: Sequence[np.ndarray]) -> None:
        """Writes a checkpoint and removes the oldest: kept are the two newest and that of the best step.

        Args:
            progress: how far the training has come.
            variables: the state to go on from.

        Raises:
            CheckpointError: the disk does not take it.
        """
        arrays = {str(number): value for number, value in enumerate(variables)}
        arrays[_PROGRESS] = np.array(json.dumps(dataclasses.asdict(progress)))
        before = self._steps()
        try:
            _write_whole(self._file(progress.step), lambda file: np.savez(file, allow_pickle=False, **arrays))
        except OSError as error:
            size = sum(value.nbytes for value in arrays.values())
            raise CheckpointError(
                f"{self.folder}: the checkpoint of step {progress.step} cannot be written ({error}): free "
                f"{size / 1e6:.0f} MB and run again, which goes on from step {max(before, default=0)}"
            ) from error
        kept = {*self._steps()[-_NEWEST_KEPT:], progress.best_step}
        for step in self._steps():
            if step not in kept:
                self._file(step).unlink()

    def load_newest(self) -> tuple[Progress, list[np.ndarray]] | None:
        """Reads the newest checkpoint that is whole.

        Returns:
            Progress and variables, or `None` if this training has not begun.

        Raises:
            CheckpointError: there are checkpoints, and all are damaged.
        """
        steps = self._steps()
        for step in reversed(steps):
            try:
                return self._load(step)
            except _DAMAGE as error:
                _logger.warning("%s: damaged checkpoint, left out (%s)", self._file(step), error)
        if steps:
            raise CheckpointError(
                f"{self.folder}: all checkpoints are damaged (steps {steps}): remove the folder to train from "
                "the beginning"
            )
        return None

    def load_best(self, progress: Progress) -> list[np.ndarray]:
        """Reads the variables of the best step.

        Args:
            progress: which step that was.

        Returns:
            As they were given to `save`, in that order.

        Raises:
            CheckpointError: its checkpoint is damaged.
        """
        try:
            return self._load(progress.best_step)[1]
        except _DAMAGE as error:
            raise CheckpointError(
                f"{self._file(progress.best_step)}: the checkpoint of the best step is damaged ({error}): "
                "remove the folder to train from the beginning, or set training.keep to 'last'"
            ) from error

    def finish(self) -> None:
        """Says that the model has been exported: the next training may remove what is here.

        Not now: a run that dies between here and the note of its success in ML Metadata would train anew.
        """
        _write_whole(self.folder / _FINISHED, lambda file: None)

    def _look_around(self, configuration: Mapping[str, Any]) -> None:
        """Removes other trainings that have finished, and says which have not."""
        for file in sorted(self.folder.parent.glob(f"*/{_CONFIGURATION}")):
            if file.parent == self.folder:
                continue
            if (file.parent / _FINISHED).exists():
                _logger.info("%s: checkpoints of a training that has finished; removed", file.parent)
                shutil.rmtree(file.parent)
            else:
                try:
                    differences = ", ".join(_differences(json.loads(file.read_text()), configuration))
                except (OSError, ValueError) as error:
                    differences = f"how, its {_CONFIGURATION} does not tell any more: {error}"
                _logger.warning(
                    "%s: checkpoints of a training that was configured otherwise (%s) and has not finished; "
                    "not used. Put the configuration back to go on with it, or remove the folder",
                    file.parent,
                    differences,
                )

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.npz"

    def _steps(self) -> list[int]:
        return sorted(int(file.stem.removeprefix("step-")) for file in self.folder.glob("step-*.npz"))

    def _load(self, step: int) -> tuple[Progress, list[np.ndarray]]:
        with np.load(self._file(step), allow_pickle=False) as arrays:
            progress = Progress(**json.loads(str(arrays[_PROGRESS])))
            return progress, [arrays[str(number)] for number in range(len(arrays.files) - 1)]


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names the settings in which two configurations differ."""
    names = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            names.append(f"{prefix}{name}")
    return names


def _write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file beside its place, flushes it to the disk and renames it."""
    partial = path.with_name(path.name + _PARTIAL)
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name, too, has to reach the disk
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
