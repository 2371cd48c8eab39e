"""Open files of C libraries, which threads, forked processes and copies may share."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """What an open file can do, whichever library opened it."""

    def close(self) -> None:
        """Closes it."""


File = TypeVar("File", bound=Closable)


class Handle(Generic[File]):
    """A file that a C library holds open: threads take turns, and every process opens it for itself.

    An open file of htslib or libBigWig has one place at which it reads. Two threads at once, or a forked child
    beside its parent, read at each other's places: other values, without a word. Turns cost nothing where the
    library reads under the interpreter's lock (libBigWig), and a handle for each thread would multiply the
    open files of thousands of tracks.

    A copy, a pickled one too, opens the file at its first use.

    Args:
        open_file: opens the file; picklable. What it raises, the first use in a process raises.
    """

    def __init__(self, open_file: Callable[[], File]) -> None:
        self._open_file = open_file
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._file: File | None = None
        self._turn = threading.Lock()
        _handles.add(self)

    @contextlib.contextmanager
    def turn(self) -> Iterator[File]:
        """Lends the open file to one thread at a time.

        Yields:
            The file, opened if need be.

        Raises:
            ValueError: it was closed.
        """
        with self._turn:
            if self._closed:
                raise ValueError("the file was closed")
            if self._file is None:
                self._file = self._open_file()
            yield self._file

    def close(self) -> None:
        """Closes the file in this process, for good."""
        with self._turn:
            self._closed = True
            if self._file is not None:
                self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        """What copies have in common: how to open the file."""
        return {"_open_file": self._open_file, "_closed": self._closed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes what `__getstate__` gave."""
        self.__dict__.update(state)
        self._begin()


_handles: weakref.WeakSet[Handle[Any]] = weakref.WeakSet()
# What a forked child got from its parent, kept as it is: to close a file may move the place that both have.
_inherited: list[Any] = []


def _begin_in_child() -> None:
    """Lets a forked child open files of its own; a lock that another thread held will not be released here."""
    for handle in list(_handles):
        _inherited.append(handle._file)
        handle._begin()


os.register_at_fork(after_in_child=_begin_in_child)
