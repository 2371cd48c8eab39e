"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def whole_files(folder: Path, names: Sequence[str], *, shared: bool = False) -> Iterator[dict[str, Path]]:
    """Gives paths beside those of a folder's files; once all are written, each takes its place.

    An error leaves neither: files of these names that were there before stay as they are.

    Args:
        folder: of the files; made if it is missing.
        names: of the files.
        shared: whether other processes may write the same files meanwhile: then each has paths of its own.

    Yields:
        Name -> where to write it. A name that is not written to is left out.

    Raises:
        OSError: the folder cannot be made, or a file not be renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = f"{uuid.uuid4().hex[:12]}-" if shared else ""
    # The endings stay last: some writers go by them.
    partial = {name: folder / f".partial-{own}{name}" for name in names}
    try:
        yield partial
        for name, path in partial.items():
            if path.exists():
                path.replace(folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
