"""Long work in parts, each a file: a run that is killed goes on, and several machines share one.

A part depends on nothing but its question and its number, so that it has the same bytes whoever computes it, in
whatever order.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.whole_files import whole_files

# Where a run's parts are, in the folder of its results.
PARTS = ".parts"
# There once all results are written and begin to take their places: such files are of this run.
WRITTEN = "written"
_QUESTION = "question.json"
# In each part's file: the digest of the question that it answers.
_DIGEST = "question_sha256"
_LOCK = "lock"
# Added to the name of a folder that is being removed.
_DONE = "-done"
# Of a value, in a message.
_MOST_SHOWN = 60


class Worker(Protocol):
    """What answers parts of a job: a model and files that are open."""

    def part(self, index: int) -> Mapping[str, np.ndarray]:
        """Computes a part: name -> array, none of objects."""


class Job(Protocol):
    """Work that can be done in parts: a small thing of paths and options, which can be pickled."""

    @property
    def question(self) -> Mapping[str, Any]:
        """Everything that decides a number, as JSON holds it: name -> value."""

    @property
    def num_parts(self) -> int:
        """How many parts there are."""

    def open(self) -> contextlib.AbstractContextManager[Worker]:
        """Opens model and files, which takes long; once a process."""


class PartsFolder:
    """The parts of one job that are done.

    Args:
        folder: of the parts alone; made if it is missing.
        question: of the job (`Job.question`).
        num_parts: how many there will be.
        anew: whether parts of another question are removed, in place of an error.

    Raises:
        DatasetError: the folder has parts of another question; what differs is named. Or it cannot be written.
    """

    def __init__(
        self, folder: Path, question: Mapping[str, Any], num_parts: int, *, anew: bool = False
    ) -> None:
        self.folder, self.num_parts = folder, num_parts
        asked = json.loads(json.dumps({**question, "parts": num_parts}))
        self._digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        begun = read_question(folder)
        if begun == asked:
            return
        there = sorted(folder.glob("part-*.npz"))
        if begun is not None and there and not anew:
            raise DatasetError(
                f"{folder}: has {len(there)} parts of a run with {differences(begun, asked)}; give what that "
                "was begun with, or another --output, or --overwrite to begin anew"
            )
        for path in (*there, *folder.glob("shard-*.json"), folder / WRITTEN):
            path.unlink(missing_ok=True)
        with _no_room(folder / _QUESTION), whole_files(folder, [_QUESTION], shared=True) as partial:
            partial[_QUESTION].write_text(json.dumps(asked, indent=1), encoding="utf-8")

    @classmethod
    def begun(cls, folder: Path) -> PartsFolder:
        """Opens the folder of a run that was begun, to read what is there.

        Raises:
            DatasetError: there is none.
        """
        question = read_question(folder)
        if question is None:
            raise DatasetError(f"{folder}: no parts of a run are there; give the --output of one")
        num_parts = question.pop("parts")
        return cls(folder, question, num_parts)

    @property
    def digest(self) -> str:
        """SHA-256 of question and number of parts, in hex."""
        return self._digest

    def path(self, index: int) -> Path:
        """Where a part is once it is done."""
        return self.folder / f"part-{index:06}.npz"

    def of_shard(self, shard: tuple[int, int] = (1, 1)) -> range:
        """Returns the parts of a shard, whether they are done or not (`missing`)."""
        which, count = shard
        return range(which - 1, self.num_parts, count)

    def missing(self, shard: tuple[int, int] = (1, 1)) -> list[int]:
        """Returns the parts that are still to be done.

        Args:
            shard: which of how many machines asks, from 1: its parts are every so many.
        """
        return [at for at in self.of_shard(shard) if not self.path(at).exists()]

    def write(self, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a part; it is there whole or not at all.

        Raises:
            DatasetError: the file cannot be written.
        """
        path = self.path(index)
        named = {_DIGEST: np.array(self._digest), **arrays}
        with (
            _no_room(path),
            whole_files(self.folder, [path.name], shared=True) as partial,
            partial[path.name].open("wb") as file,
        ):
            np.savez(file, allow_pickle=False, **named)

    def read(self, index: int) -> dict[str, np.ndarray]:
        """Reads a part, with its checksums.

        Raises:
            DatasetError: it is missing or damaged, or answers another question.
        """
        path = self.path(index)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            digest = str(arrays.pop(_DIGEST))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); remove it, and run again") from error
        if digest != self._digest:
            raise DatasetError(f"{path}: is of another run; remove it, and run again")
        return arrays

    def check(self, shard: tuple[int, int] = (1, 1)) -> list[int]:
        """Reads the parts of a shard that are there, and removes those that are damaged.

        Returns:
            Their numbers: they are missing now.
        """
        damaged = []
        for index in self.of_shard(shard):
            if self.path(index).exists():
                try:
                    self.read(index)
                except DatasetError:
                    self.path(index).unlink()
                    damaged.append(index)
        return damaged

    @contextlib.contextmanager
    def held(self, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
        """Keeps other runs of the shard from the folder, and of the whole all others.

        What runs that were killed left half written is removed.

        Raises:
            DatasetError: another run is at work.
        """
        with contextlib.ExitStack() as stack:
            whole = shard == (1, 1)
            names = [_LOCK] if whole else [_LOCK, f"{_LOCK}-{shard[0]}-of-{shard[1]}"]
            for name in names:
                if not stack.enter_context(_locked(self.folder / name, alone=whole or name != _LOCK)):
                    raise DatasetError(
                        f"{self.folder}: another run is at work on it; wait until it ends, or give another "
                        "--output"
                    )
            if whole:
                for path in self.folder.glob(".partial-*-part-*"):
                    path.unlink(missing_ok=True)
            yield

    def remove(self) -> None:
        """Removes all parts: their work is done."""
        remove_folder(self.folder)


def read_question(folder: Path) -> dict[str, Any] | None:
    """Reads what the parts in a folder answer; `None` where there are none.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        question: dict[str, Any] = json.loads((folder / _QUESTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder / _QUESTION}: cannot be read ({error}); remove {folder}") from error
    return question


def differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Says in what two questions differ."""
    named = [key for key in {**begun, **asked} if begun.get(key) != asked.get(key)]
    return ", ".join(f"{key}={_shown(begun.get(key))}, not {_shown(asked.get(key))}" for key in named)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def remove_folder(folder: Path) -> None:
    """Removes a folder of parts, which is gone at once whatever ends this process meanwhile."""
    folder.replace(folder.with_name(f"{folder.name}{_DONE}-{os.getpid()}"))
    sweep(folder)


def sweep(folder: Path) -> None:
    """Removes what is left of folders of parts in whose removal a process was ended."""
    for left in folder.parent.glob(f"{folder.name}{_DONE}-*"):
        shutil.rmtree(left, ignore_errors=True)


def remove_if_empty(folder: Path) -> None:
    """Removes a folder in which no part is done and no run at work."""
    with contextlib.suppress(OSError), _locked(folder / _LOCK, alone=True) as alone:
        if alone and not any([*folder.glob("part-*.npz"), *folder.glob("shard-*")]):
            remove_folder(folder)


@contextlib.contextmanager
def _locked(path: Path, *, alone: bool) -> Iterator[bool]:
    """Locks a file; gives whether that was so. Where the file system has no locks, it was."""
    import fcntl

    with path.open("a") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True


@contextlib.contextmanager
def _no_room(path: Path) -> Iterator[None]:
    """Says of what the system refuses which file it is, and what to do."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror or error}); make room, and run again: it goes on"
        ) from error


def work(job: Job, parts: PartsFolder, shard: tuple[int, int] = (1, 1)) -> Iterator[int]:
    """Does the parts that are missing, one after another, in this process.

    Args:
        job: the work.
        parts: its folder.
        shard: see `PartsFolder.missing`.

    Yields:
        The number of each part once it is written.
    """
    missing = parts.missing(shard)
    if not missing:
        return
    with job.open() as worker:
        for index in missing:
            parts.write(index, worker.part(index))
            yield index
