"""HDF5 files on a disk that may be full: an error in Python, where HDF5 itself tells it often, and crashes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


class Hdf5Output(io.RawIOBase):
    """What `h5py.File` writes to in place of a path.

    HDF5 cannot close a file to which it cannot write. So it is not told, and `check` tells.

    Args:
        path: the file, which is made anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._refused: OSError | None = None

    def check(self) -> None:
        """Looks whether all was written so far.

        Raises:
            OSError: it was not.
        """
        if self._refused is not None:
            raise OSError(self._refused.errno, self._refused.strerror, str(self._path)) from self._refused

    def write(self, content: Any) -> int:
        """Writes, or remembers that it could not be."""
        rest = memoryview(content).cast("B")
        count = len(rest)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._refused = self._refused or error
        return count

    def truncate(self, size: int | None = None) -> int:
        """Sets the file's length."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._refused = self._refused or error
        return size or 0

    def readinto(self, buffer: Any) -> int:
        """Reads."""
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Returns the place."""
        return self._file.tell()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Hdf5Output]]:
    """Opens an HDF5 file to be written, and closes it at the end.

    Args:
        path: the file, which is made anew.

    Yields:
        The file, and what it is written to, whose `check` tells during long work what the end would.

    Raises:
        OSError: not all of it could be written.
    """
    import h5py

    with contextlib.closing(Hdf5Output(path)) as output:
        with h5py.File(output, "w") as file:
            yield file, output
        output.check()
