"""TensorFlow's start without its chat, whose errors still show."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# What TensorFlow 2.21 says while it is loaded, before it heeds any setting: severity I, and a note on that.
_CHAT = r"^(WARNING: All log messages before absl::InitializeLog|I[0-9]{4} )"
# One more where there is no GPU, as an error; where there is one, it is one.
_NO_DRIVER = r"|^E[0-9]{4} .*failed call to cuInit"
# For the last lines to pass before this process says something else.
_LAST_LINES_S = 2.0


def start_tensorflow() -> None:
    """Imports TensorFlow, where that has not been done yet, without what it says of itself then."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # heeded later on
    has_gpu = Path("/dev/dxg").exists() or any(Path("/dev").glob("nvidia*"))
    with without_lines(_CHAT if has_gpu else _CHAT + _NO_DRIVER):
        import tensorflow as tf

        # It looks for a driver once. With one, that is not to happen before a process forks.
        if not has_gpu:
            tf.config.list_physical_devices("GPU")


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Keeps lines from standard error, whichever language writes them; the others pass as they come.

    Another process reads them, so that the last words of one that dies are not lost.

    Args:
        pattern: extended regular expression (`grep -E`).
    """
    sys.stderr.flush()
    before = os.dup(2)
    rest = subprocess.Popen(
        ["grep", "--line-buffered", "--text", "--invert-match", "--extended-regexp", pattern],
        stdin=subprocess.PIPE,
        stdout=before,
    )
    assert rest.stdin is not None  # a pipe
    os.dup2(rest.stdin.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        rest.stdin.close()
        # What was started meanwhile may live on and has the pipe: its lines pass, but nobody waits for its end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            rest.wait(_LAST_LINES_S)
