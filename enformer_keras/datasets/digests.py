"""Digests of files that are not read again as long as the file system says that they did not change."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from enformer_keras.formats.errors import DatasetError

# Clocks of file systems tick as slowly as this: a file that changed so lately may change unseen.
_RECENT_NS = 2 * 10**9
_STATE = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")


class FileDigests:
    """SHA-256 of files, remembered by path, size, inode and the times of the last change.

    Args:
        cache: JSON file that remembers; `None`: every file is read.

    Raises:
        DatasetError: the cache cannot be read.
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._known: dict[str, dict[str, int | str]] = {}
        if cache is not None and cache.exists():
            try:
                self._known = json.loads(cache.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise DatasetError(
                    f"{cache}: cannot be read ({error}); remove it, it is then written anew"
                ) from error

    def digest(self, path: Path) -> bytes:
        """Returns a file's digest, 32 bytes; one that had to be found by reading is remembered at once."""
        now, status = time.time_ns(), path.stat()
        state = {name: getattr(status, name) for name in _STATE}
        known = self._known.get(str(path), {})
        sha256 = known.get("sha256")
        if isinstance(sha256, str) and state.items() <= known.items():
            return bytes.fromhex(sha256)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
        if self._cache is not None and now - max(status.st_mtime_ns, status.st_ctime_ns) > _RECENT_NS:
            self._known[str(path)] = state | {"sha256": found.hexdigest()}
            partial = self._cache.with_name(f"{self._cache.name}.{os.getpid()}.partial")
            partial.write_text(json.dumps(self._known, indent=0) + "\n", encoding="utf-8")
            partial.replace(self._cache)
        return found.digest()
