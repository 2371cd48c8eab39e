"""Parts of long work (`parts`), computed by Beam's workers: threads, processes or machines.

Each `Path` in a job, however deep, is a file or folder that workers read. Where they do not see these, they are
handed over.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners import create_runner
from apache_beam.runners.runner import PipelineState

from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction.handover import (
    arrived,
    copy,
    fetch,
    hand_over,
    is_uri,
    moved,
    place_of,
    remove,
    write_text,
)
from enformer_keras.prediction.parts import Job, PartsFolder, Worker

_log = logging.getLogger(__name__)
# In this process: Beam's default would fetch a runner binary first. Of a flag given twice the last one holds.
_FLAGS = ("--runner=FnApiRunner",)
_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 1.0
_FETCH_SECONDS = 10.0
_LOG_SECONDS = 10.0
# How long work that was broken off may take to end, before this process goes on without it.
_END_SECONDS = 5.0


class Parts(beam.PTransform):  # type: ignore[misc]  # Beam comes without types
    """Computes parts of a job: from their numbers to `(number, {name: array})`.

    The job is opened once a process, at its first part, and threads of one process take turns. Workers must see
    the job's files; nothing is written. Put a `beam.Reshuffle()` before it, or one worker computes all.

    Args:
        job: the work; it must be possible to pickle it.

    Example::

        with beam.Pipeline() as pipeline:
            _ = (
                pipeline
                | beam.Create(range(job.num_parts))
                | beam.Reshuffle()
                | Parts(job)
                | beam.MapTuple(lambda number, arrays: ...)
            )
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = moved(job, Path.absolute)
        self._key = uuid.uuid4().hex

    def expand(self, numbers: Any) -> Any:
        """Lays it out, for Beam."""
        return numbers | beam.ParDo(_ComputePart(self._job, self._key))


def check_flags(flags: Sequence[str]) -> PipelineOptions:
    """Reads Beam's flags, and looks whether the job service that they name is there.

    Args:
        flags: added to those for one process.

    Raises:
        DatasetError: they cannot be read or used, or nothing answers where the job service should be.
    """
    said = f"Beam's flags {' '.join(flags)}"
    try:
        options = PipelineOptions([*_FLAGS, *flags])
        runner = create_runner(options.get_all_options()["runner"])
    except (SystemExit, ValueError, ImportError, AttributeError) as error:
        raise DatasetError(f"{said}: cannot be ({error}); correct them") from error
    problems = PipelineOptionsValidator(options, runner).validate()
    if problems:
        raise DatasetError(f"{said}: {' '.join(problem.strip() for problem in problems)}")
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint and endpoint != "embed" and "//" not in endpoint:
        _wait_for(endpoint, said)
    return options


def _wait_for(endpoint: str, said: str) -> None:
    """Waits a while for a job service; Beam itself would wait for minutes, and say nothing."""
    host, _, port = endpoint.rpartition(":")
    until = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
            return
        except (OSError, ValueError, OverflowError) as error:
            if isinstance(error, ConnectionRefusedError) and time.monotonic() < until:  # it may be starting
                time.sleep(0.2)
                continue
            raise DatasetError(
                f"{said}: no job service answers at {endpoint} ({error}); start it, or correct the address"
            ) from error


def work_on_beam(
    job: Job,
    parts: PartsFolder,
    flags: Sequence[str] = (),
    beam_files: str | None = None,
    shard: tuple[int, int] = (1, 1),
) -> Iterator[int]:
    """Does the parts that are missing on Beam, as `parts.work` does them here; the log says how many are done.

    A part whose work is tried again, or done twice at a time, is there whole all the same. When this is ended
    before the last part, workers stop at their next one, and what is done stays.

    Args:
        job: the work; it must be possible to pickle it.
        parts: its folder.
        flags: Beam's; without a runner among them, this process does the work.
        beam_files: folder or URI (gs://...) that workers read and write under the same name, where they see
            neither the parts' folder nor the job's files: these are copied there first, what workers write is
            fetched as it comes, and at the end nothing of it stays. `None`: they see both.
        shard: see `PartsFolder.missing`.

    Yields:
        The number of each part once it is in the folder.

    Raises:
        DatasetError: a worker failed at a part, which is named; or workers do not see the folder.
        OSError: Beam itself failed, or a file cannot be copied.
    """
    missing = parts.missing(shard)
    if not missing:
        return
    options = check_flags(flags)
    key = uuid.uuid4().hex
    folder = str(parts.folder.absolute())
    root = None if beam_files is None else place_of(beam_files, key)
    target = folder if root is None else f"{root}/parts"
    for path in parts.folder.glob(f"{_FAILED}*"):  # of an earlier run
        path.unlink()
    running: _Running | None = None
    try:
        write_text(f"{target}/{_ASKED}{key}", "Beam's workers look for this file before each part.\n")
        if root is None:
            # Workers that are threads of this process find the job itself, and what it has open.
            _opened_in_process(key, lambda: _Opened(job))
            do = _DoPart(moved(job, Path.absolute), key, target)
        else:
            do = _DoPart(hand_over(job, root), key, target, root)
        pipeline = beam.Pipeline(options=options)
        _ = pipeline | "Parts" >> beam.Create(missing) | beam.Reshuffle() | "DoPart" >> beam.ParDo(do)
        running = _Running(pipeline)
        running.start()
        waiting = {parts.path(index).name: index for index in missing}
        told = time.monotonic()
        while waiting or running.is_alive():
            running.join(_LOOK_SECONDS if root is None else _FETCH_SECONDS)
            ended = not running.is_alive()  # looked at before the folder, so that nothing is left there
            if root is not None:
                fetch(target, parts.folder, waiting)
            for name in sorted(waiting.keys() & {path.name for path in parts.folder.iterdir()}):
                yield waiting.pop(name)
            if time.monotonic() - told > _LOG_SECONDS or ended:
                told = time.monotonic()
                _log.info("%d of %d parts are done", len(missing) - len(waiting), len(missing))
            if ended:
                break
        _check_end(running, target, waiting.values(), beam_files)
    finally:
        # Without this file, workers that are still at it stop.
        with contextlib.suppress(Exception):
            FileSystems.delete([f"{target}/{_ASKED}{key}"])
        if running is not None:
            running.end()
            if root is not None:
                fetch(target, parts.folder, {parts.path(index).name for index in parts.missing(shard)})
        if root is not None:
            remove(root)
        _close(key)


# === Workers ===

# Names of files in the folder of the parts: that a run is on, and what a worker failed at.
_ASKED = "asked-"
_FAILED = "failed-"


class _Opened:
    """A job's worker in this process, which threads take turns to ask.

    Args:
        job: the work.
        root: place of its files, to which its paths are relative; `None`: they are where its paths say.
    """

    def __init__(self, job: Job, root: str | None = None) -> None:
        self._job, self._root = job, root
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._worker: Worker | None = None

    def part(self, index: int) -> Mapping[str, np.ndarray]:
        """Computes a part, for which the job is opened if it is the first."""
        with self._lock:
            if self._worker is None:
                with contextlib.ExitStack() as stack:
                    job = self._job
                    if self._root is not None:
                        folder = stack.enter_context(arrived(self._root))
                        job = moved(job, lambda path: folder / path)
                    self._worker = stack.enter_context(job.open())
                    self._stack = stack.pop_all()
            return self._worker.part(index)

    def close(self, wait_s: float = -1) -> None:
        """Closes it, once the part that it is at is done; leaves it if that takes longer than `wait_s` s."""
        if self._lock.acquire(timeout=wait_s):
            try:
                self._worker = None
                self._stack.close()
            finally:
                self._lock.release()


_opened: dict[str, _Opened] = {}
_opened_lock = threading.Lock()


def _opened_in_process(key: str, make: Callable[[], _Opened]) -> _Opened:
    """Returns what is open for a run; what was open for another is closed: one model is in memory."""
    with _opened_lock:
        if key not in _opened:
            for other in [*_opened]:
                _opened.pop(other).close()
            _opened[key] = make()
        return _opened[key]


def _close(key: str) -> None:
    with _opened_lock:
        opened = _opened.pop(key, None)
    if opened is not None:
        opened.close(_END_SECONDS)


class _ComputePart(beam.DoFn):  # type: ignore[misc]
    """From the number of a part to it and its arrays."""

    def __init__(self, job: Job, key: str, root: str | None = None) -> None:
        self._job, self._key, self._root = job, key, root

    def compute(self, index: int) -> Mapping[str, np.ndarray]:
        """Computes a part by what is open in this process."""
        return _opened_in_process(self._key, lambda: _Opened(self._job, self._root)).part(index)

    def process(self, index: int) -> Iterator[Any]:
        """Computes a part, for Beam."""
        yield index, self.compute(index)


class _DoPart(_ComputePart):
    """Writes a part into the folder of the parts; what comes out is its number."""

    def __init__(self, job: Job, key: str, target: str, root: str | None = None) -> None:
        super().__init__(job, key, root)
        self._target = target

    def process(self, index: int) -> Iterator[Any]:
        """Computes and writes a part, for Beam."""
        if not FileSystems.exists(f"{self._target}/{_ASKED}{self._key}"):
            raise DatasetError(
                f"{self._target}: a worker of Beam's does not see it, or the run has ended; give a place that "
                "workers see under the same name (--beam-files)"
            )
        try:
            self._write(index, self.compute(index))
        except Exception as error:
            kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
            with contextlib.suppress(Exception):
                write_text(f"{self._target}/{_FAILED}{index}", f"{kind}{error}")
            raise
        yield index

    def _write(self, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        # Two workers may be at the same part: each writes in a folder of its own.
        own = f".partial-{uuid.uuid4().hex}"
        is_local = not is_uri(self._target)
        with tempfile.TemporaryDirectory(prefix=own, dir=self._target if is_local else None) as folder:
            made = PartsFolder(Path(folder), self._job.question, self._job.num_parts)
            made.write(index, arrays)
            path = made.path(index)
            if is_local:
                path.replace(Path(self._target, path.name))
            else:
                copy(str(path), f"{self._target}/{own}")
                FileSystems.rename([f"{self._target}/{own}"], [f"{self._target}/{path.name}"])


# === The run ===


class _Running(threading.Thread):
    """A pipeline that runs while the folder is looked at.

    Attributes:
        error: what ended it.
    """

    def __init__(self, pipeline: Any) -> None:
        super().__init__(name="beam", daemon=True)
        self._pipeline = pipeline
        self._result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Runs it to its end."""
        try:
            self._result = self._pipeline.run()
            state = self._result.wait_until_finish() or self._result.state
            if state != PipelineState.DONE:
                raise OSError(f"the job ended as {state}")
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        """Ends it, where it is still running and can be."""
        if self.is_alive() and self._result is not None:
            with contextlib.suppress(Exception):
                self._result.cancel()
        self.join(_END_SECONDS)


def _check_end(running: _Running, target: str, waiting: Iterable[int], beam_files: str | None) -> None:
    """Raises what a worker, or else Beam, failed at."""
    waiting = list(waiting)
    if running.error is None and not waiting:
        return
    for index in waiting:
        path = f"{target}/{_FAILED}{index}"
        if FileSystems.exists(path):
            with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                raise DatasetError(f"part {index}: {file.read().decode()}") from running.error
    if running.error is not None:
        raise OSError(f"Beam: {_cause_of(running.error)}") from running.error
    place = target if beam_files is None else beam_files
    raise DatasetError(
        f"{place}: {len(waiting)} parts are not there though Beam's workers are done; give a place that they "
        "see under the same name (--beam-files)"
    )


def _cause_of(error: BaseException) -> str:
    """Finds in what Beam says, which may be pages, the line that says what went wrong."""
    details = re.findall(r'^\s*details = "(.*)"$', str(error), re.MULTILINE)  # of gRPC
    lines = [line.strip() for line in str(error).splitlines() if re.search(r"\w", line)]
    said = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    line = (said or details or lines or [type(error).__name__])[-1]
    return re.sub(r" \[while running .*|^enformer_keras\.formats\.errors\.DatasetError: ", "", line)
