"""What Beam's workers read, copied to where they see it, and what they write, fetched.

Each `Path` in a job, however deep, is a file or folder that is read.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction.parts import Job

_COPIED_BYTES = 1 << 24


def is_uri(path: str) -> bool:
    """Says whether it is none of the paths of this machine."""
    return "://" in path


def place_of(place: str, key: str) -> str:
    """Returns where in a place the files of a run are.

    Args:
        place: folder or URI.
        key: of the run.

    Raises:
        DatasetError: Beam would read the place as a pattern of names.
    """
    if re.search(r"[*?\[\]]", place):
        raise DatasetError(
            f"{place}: would be read as a pattern; give Beam's files a place without *, ?, [ and ]"
        )
    place = place if is_uri(place) else str(Path(place).absolute())
    return f"{place.rstrip('/')}/{key}"


class _Pickler(pickle.Pickler):
    """Pickles what holds paths, wherever they are in it, so that they can be replaced."""

    def persistent_id(self, value: Any) -> str | None:
        """Takes paths out, for `pickle`."""
        return str(value) if isinstance(value, Path) else None


class _Unpickler(pickle.Unpickler):
    """Puts other paths in."""

    def __init__(self, file: io.BytesIO, move: Callable[[Path], Path]) -> None:
        super().__init__(file)
        self._move = move

    def persistent_load(self, path: str) -> Path:
        """Puts a path in, for `pickle`."""
        return self._move(Path(path))


def moved(job: Job, move: Callable[[Path], Path]) -> Job:
    """Returns a copy of a job, each of whose paths is another one."""
    file = io.BytesIO()
    _Pickler(file).dump(job)
    file.seek(0)
    found: Job = _Unpickler(file, move).load()
    return found


def hand_over(job: Job, root: str) -> Job:
    """Copies what a job reads.

    Args:
        job: its fields, and what they hold, name what it reads as `Path`.
        root: folder or URI to copy to.

    Returns:
        A copy of the job, whose paths are relative to the root.

    Raises:
        DatasetError: it names no path, or a path is none of a file or folder.
    """
    new: dict[Path, Path] = {}

    def copied(path: Path) -> Path:
        if path not in new:
            new[path] = Path("inputs", str(len(new)), path.name)
            for file in _files_of(path):
                copy(
                    str(file),
                    f"{root}/{new[path].parent.as_posix()}/{file.relative_to(path.parent).as_posix()}",
                )
        return new[path]

    found = moved(job, copied)
    if not new:
        raise DatasetError(f"{type(job).__name__}: names no file to be handed over; keep its paths as Path")
    return found


def _files_of(path: Path) -> list[Path]:
    """Finds the files of a folder; or a file and what lies beside it by its name, such as indices.

    Weights may have their sizes beside them, in `config.json`.

    Raises:
        DatasetError: there is none.
    """
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    else:
        beside = [file for file in path.parent.glob("*") if file.name.startswith(f"{path.name}.")]
        files = [file for file in (path, *beside, path.with_name("config.json")) if file.is_file()]
    if not files:
        raise DatasetError(f"{path}: no such file or folder, to be handed over to Beam's workers")
    return sorted(files)


@contextlib.contextmanager
def arrived(root: str) -> Iterator[Path]:
    """Gives a folder that holds what was handed over, as long as it is needed."""
    if not is_uri(root):
        yield Path(root)
        return
    with tempfile.TemporaryDirectory(prefix="enformer-") as folder:
        for file in _listed(f"{root}/inputs/**"):
            copy(file, f"{folder}/{file.removeprefix(root).lstrip('/')}")
        yield Path(folder)


def _listed(pattern: str) -> list[str]:
    (found,) = FileSystems.match([pattern])
    return sorted(metadata.path for metadata in found.metadata_list)


def fetch(source: str, folder: Path, names: Iterable[str]) -> None:
    """Brings parts home that are done."""
    names = set(names)
    for path in _listed(f"{source}/*") if names else ():
        name = path.rpartition("/")[2]
        if name in names:
            partial = folder / f".partial-{uuid.uuid4().hex}"
            try:
                copy(path, str(partial))
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)
            FileSystems.delete([path])


def copy(source: str, target: str) -> None:
    """Copies a file, from or to a URI as well; what is compressed stays so."""
    as_it_is = CompressionTypes.UNCOMPRESSED
    with (
        FileSystems.open(source, compression_type=as_it_is) as file,
        FileSystems.create(target, compression_type=as_it_is) as other,
    ):
        shutil.copyfileobj(file, other, _COPIED_BYTES)


def write_text(path: str, text: str) -> None:
    """Writes a file."""
    with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(text.encode())


def remove(root: str) -> None:
    """Removes a folder with what is in it."""
    if not is_uri(root):
        shutil.rmtree(root, ignore_errors=True)
        return
    with contextlib.suppress(Exception):  # what stays does no harm
        FileSystems.delete(_listed(f"{root}/**"))
