"""The process in which TensorFlow joins hosts, and the one that watches it; without TensorFlow.

While TensorFlow joins hosts it takes SIGTERM for itself, does nothing about it, and lets no Python run. So
whoever is asked to end is another process.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

_logger = logging.getLogger(__name__)

# Number of the file that the watched process closes when it has joined.
_PIPE = "ENFORMER_JOINING"
TERMINATED = 128 + signal.SIGTERM  # exit status, as a shell has it


def run_watched(command: Sequence[str], environment: Mapping[str, str], words: str = "") -> int:
    """Runs a process that joins hosts, to its end.

    SIGTERM ends the process at once as long as it has not joined, when there is nothing to save; afterwards it
    is passed on. Its standard input stays open as long as this process lives.

    Args:
        command: what to run.
        environment: of the process.
        words: what its standard input begins with.

    Returns:
        Its exit status, `TERMINATED` if it was ended before it had joined.
    """
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            env={**environment, _PIPE: str(writer)},
            pass_fds=[writer],
            stdin=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    ended = []

    def end() -> None:
        if select.select([reader], [], [], 0)[0]:
            process.terminate()
        else:
            ended.append(process.pid)
            process.kill()

    assert process.stdin is not None  # a pipe
    with process, _at_sigterm(end):
        with contextlib.suppress(BrokenPipeError):  # it has died: its status tells
            process.stdin.write(words)
            process.stdin.flush()
        status = process.wait()
    os.close(reader)
    return TERMINATED if ended else status


def is_watched() -> bool:
    """Says whether this process is one that `run_watched` runs."""
    return _PIPE in os.environ


def say_joined() -> None:
    """Tells the process that watches this one that SIGTERM is heard from now on."""
    os.close(int(os.environ[_PIPE]))


@contextlib.contextmanager
def _at_sigterm(act: Callable[[], None]) -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGTERM, lambda number, frame: act())
    except ValueError:
        _logger.warning("not in the main thread: SIGTERM is not passed on to the training")
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
