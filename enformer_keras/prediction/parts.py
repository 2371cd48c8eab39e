"""Long work in parts, each a file: a run that is killed goes on, and several machines share one.

A part depends on nothing but its question and its number, so that it has the same bytes whoever computes it, in
whatever order.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.whole_files import whole_files

_QUESTION = "question.json"


class Worker(Protocol):
    """What answers parts of a job: a model and files that are open."""

    def part(self, index: int) -> Mapping[str, np.ndarray]:
        """Computes a part: name -> array, none of objects."""


class Job(Protocol):
    """Work that can be done in parts: a small thing of paths and options, which can be pickled.

    Attributes:
        question: everything that decides a number, as JSON holds it: name -> value.
        num_parts: how many parts there are.
    """

    question: Mapping[str, Any]
    num_parts: int

    def open(self) -> contextlib.AbstractContextManager[Worker]:
        """Opens model and files, which takes long; once a process."""


class PartsFolder:
    """The parts of one job that are done.

    Args:
        folder: of the parts alone; made if it is missing.
        question: of the job (`Job.question`).
        num_parts: how many there will be.

    Raises:
        DatasetError: the folder has parts of another question; what differs is named.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, question: Mapping[str, Any], num_parts: int) -> None:
        self.folder, self.num_parts = folder, num_parts
        asked = json.loads(json.dumps({**question, "parts": num_parts}))
        path = folder / _QUESTION
        if path.exists():
            begun = json.loads(path.read_text(encoding="utf-8"))
            differing = [key for key in {**begun, **asked} if begun.get(key) != asked.get(key)]
            if differing:
                key = differing[0]
                raise DatasetError(
                    f"{folder}: was begun with {key}={begun.get(key)!r}, not {asked.get(key)!r}: give what it was "
                    "begun with, or another --output, or --overwrite to begin anew"
                )
        else:
            with whole_files(folder, [_QUESTION]) as partial:
                partial[_QUESTION].write_text(json.dumps(asked, indent=1), encoding="utf-8")

    def path(self, index: int) -> Path:
        """Where a part is once it is done."""
        return self.folder / f"part-{index:06}.npz"

    def missing(self, shard: tuple[int, int] = (1, 1)) -> list[int]:
        """Returns the parts that are still to be done.

        Args:
            shard: which of how many machines asks, from 1: its parts are every so many.
        """
        which, count = shard
        return [at for at in range(which - 1, self.num_parts, count) if not self.path(at).exists()]

    def write(self, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a part; it is there whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        path = self.path(index)
        with whole_files(self.folder, [path.name]) as partial:
            with partial[path.name].open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)

    def read(self, index: int) -> dict[str, np.ndarray]:
        """Reads a part, with its checksums.

        Raises:
            DatasetError: it is missing or damaged.
        """
        path = self.path(index)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); remove it, and run again") from error

    def remove(self) -> None:
        """Removes all parts: their work is done."""
        shutil.rmtree(self.folder)


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
