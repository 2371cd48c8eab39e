"""The processes of `accelerator_worker.py`, as `benchmarks/accelerator.py` asks them."""

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerator_rows import Row
from operations import Sizes

HERE = Path(__file__).resolve().parent


class TimeIsUpError(Exception):
    """The minutes are over."""


class StoppedError(Exception):
    """A process ended, or does not have what it needs."""


class Worker:
    """A process of `accelerator_worker.py`.

    Args:
        side: `ours` or `peer`.
        python: what runs it.
        sizes: of the model.
        memory: bytes of the device that it may take; `None`: all.
    """

    def __init__(self, side: str, python: str, sizes: Sizes, memory: int | None) -> None:
        environment = {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
        # XLA would take most of the memory at once, and the peer is there too.
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
        # What was compiled once is there for `--resume`, and for a process that takes another's place.
        cache = Path(tempfile.gettempdir()) / f"accelerator-cache-{os.getuid()}"
        environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
        environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        if "JAX_PLATFORMS" in environment:
            environment["JAX_PLATFORMS"] = with_processor(environment["JAX_PLATFORMS"])
        command = [python, str(HERE / "accelerator_worker.py"), side]
        command += [json.dumps(dataclasses.asdict(sizes)), json.dumps(memory)]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() ends it)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._first: Row | None = None

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put("")

    def _answer(self, deadline: float) -> Row:
        try:
            line = self._lines.get(timeout=seconds_until(deadline))
        except queue.Empty:
            self._process.kill()  # it may be within a compilation that nothing else ends
            raise TimeIsUpError from None
        if not line:
            self._log.seek(0)
            said = [line for line in self._log.read().splitlines() if line.strip()]
            raise StoppedError(
                f"its process ended ({self._process.wait()}): {said[-1][:300] if said else 'without a word'}"
            )
        answer: Row = json.loads(line)
        return answer

    def ready(self, deadline: float) -> dict[str, str]:
        """Waits until it has imported what it needs, and returns versions.

        Raises:
            StoppedError: there is no such side here.
        """
        if self._first is None:
            self._first = self._answer(deadline)
        if "ready" not in self._first:
            raise StoppedError(f"not installed here: {self._first['absent']}")
        versions: dict[str, str] = self._first["ready"]
        return versions

    def ask(self, deadline: float, **request: Any) -> Iterator[Row]:
        """Gives the answers to a request.

        Raises:
            TimeIsUpError: the deadline is over; the process too.
            StoppedError: the process ended.
        """
        self.ready(deadline)
        with contextlib.suppress(OSError):  # if it has ended, what it said last is told below
            print(json.dumps(request), file=self._process.stdin, flush=True)
        while "done" not in (answer := self._answer(deadline)):
            yield answer

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._log.close()


def with_processor(platforms: str) -> str:
    """Returns JAX's list of platforms with the processor, which draws the weights, at its end."""
    return platforms if not platforms or "cpu" in platforms.split(",") else f"{platforms},cpu"


def seconds_until(deadline: float) -> float | None:
    """Returns how long it is until then; `None`: there is no end."""
    return None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
