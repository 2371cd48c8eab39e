"""Pushing a model: a new version appears whole, beside those that are served, and the oldest go.

A folder of versions as TensorFlow Serving watches it: a subfolder for each, named by an integer; the largest is
served. Everything else in it begins with a dot, which no reader takes for a version:

    1732324516/       a version
    .lock             held for moments, while folders come and go
    .push-<random>/   what one push works with; gone when it ends
        alive.lock    held as long as the pusher lives
        model/        the copy, before it gets its number
        <version>/    an old version on its way out

Locks are the operating system's (flock), which lets go of them when a process dies, however it dies.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_logger = logging.getLogger(__name__)

_LOCK = ".lock"
_WORKSPACE = ".push-"
_ALIVE = "alive.lock"


def push(model: Path, versions: Path, keep: int) -> Path:
    """Copies a model to a new version.

    Readers see the version appear whole, by a rename. Any number of pushers may work at a time, on one machine
    or on a file system that passes flock on. A push that fails or is killed leaves the versions as they were;
    what it leaves behind beside them, the next push removes, and counts in the log.

    Args:
        model: folder of the model.
        versions: folder of the versions, on a POSIX file system; made if it is missing.
        keep: newest versions that stay, the new one among them. A reader that picks the newest version has as
            long to read it as `keep` more pushes take.

    Returns:
        The new version's folder. Its name is the time in seconds since 1970, or the newest version's successor
        if that is later: versions only grow.

    Raises:
        ValueError: `keep` is less than 1.
        FileNotFoundError: there is no such model.
        OSError: the copy cannot be written.
    """
    if keep < 1:
        raise ValueError(f"keep={keep} would remove the model that is served; it must be at least 1")
    if not model.is_dir():
        raise FileNotFoundError(f"{model}: there is no such model to push")
    versions.mkdir(parents=True, exist_ok=True)
    with _workspace(versions) as workspace:
        copy = workspace / "model"
        shutil.copytree(model, copy)
        for path in (*copy.rglob("*"), copy):
            _sync(path)
        with _locked(versions / _LOCK):
            newest = max((int(version.name) for version in list_versions(versions)), default=0)
            pushed = versions / str(max(int(time.time()), newest + 1))
            copy.rename(pushed)
            _sync(versions)
            old = list_versions(versions)[:-keep]
            for version in old:
                version.rename(workspace / version.name)
    if old:
        _logger.info("%s keeps %d versions: removed %s", versions, keep, [version.name for version in old])
    return pushed


def list_versions(versions: Path) -> list[Path]:
    """Lists the versions in a folder, the oldest first."""
    folders = (path for path in versions.iterdir() if path.name.isdecimal() and path.is_dir())
    return sorted(folders, key=lambda path: int(path.name))


@contextlib.contextmanager
def _workspace(versions: Path) -> Iterator[Path]:
    """A folder for one push; those of pushers that died are removed on the way."""
    workspace = versions / f"{_WORKSPACE}{uuid.uuid4().hex}"
    # A workspace comes and goes under the lock of the versions: no pusher meets one that has no lock yet, or
    # no more, while its owner lives.
    with contextlib.ExitStack() as alive:
        with _locked(versions / _LOCK):
            _remove_leftovers(versions)
            workspace.mkdir()
            alive.enter_context(_locked(workspace / _ALIVE))
        try:
            yield workspace
        finally:
            with _locked(versions / _LOCK):
                shutil.rmtree(workspace)


def _remove_leftovers(versions: Path) -> None:
    removed = 0
    for workspace in versions.glob(f"{_WORKSPACE}*"):
        with contextlib.suppress(BlockingIOError), _locked(workspace / _ALIVE, wait=False):
            shutil.rmtree(workspace)
            removed += 1
    if removed:
        _logger.warning("%s: removed what %d pushes left that did not end", versions, removed)


@contextlib.contextmanager
def _locked(file: Path, wait: bool = True) -> Iterator[None]:
    """Holds a lock; raises BlockingIOError if another holds it and `wait` is false."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _sync(path: Path) -> None:
    """Has the file system write a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
