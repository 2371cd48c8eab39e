"""What TensorFlow says of itself is kept from standard error, and nothing else."""

import os
import subprocess
import sys
import time

import pytest

from components.startup import _CHAT, _NO_DRIVER, without_lines

SAID = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795836301.153937   14885 port.cc:153] oneDNN custom operations are on.
W0000 00:00:1795836301.153937   14885 port.cc:153] a warning
E0000 00:00:1795836375.716438   14885 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)
Traceback (most recent call last):
"""


@pytest.mark.parametrize(("pattern", "left"), [(_CHAT, [2, 3, 4]), (_CHAT + _NO_DRIVER, [2, 4])])
def test_chat_goes_and_errors_stay(capfd, pattern, left):
    def fail():
        with without_lines(pattern):
            os.write(2, SAID.encode())  # as C++ does
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    print("after it", file=sys.stderr)
    os.write(2, b"I0000 is chat no more\n")
    lines = [SAID.splitlines()[number] for number in left]
    assert capfd.readouterr().err.splitlines() == [*lines, "after it", "I0000 is chat no more"]


def test_nobody_waits_for_a_process_that_was_started_meanwhile(monkeypatch):
    """It has the standard error that is filtered, and so the pipe has no end before it ends."""
    monkeypatch.setattr("components.startup._LAST_LINES_S", 0.2)
    begun = time.monotonic()
    with without_lines(_CHAT):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    took = time.monotonic() - begun
    still_there = process.poll() is None
    process.communicate(b"\n", timeout=60)
    assert still_there
    assert took < 30
