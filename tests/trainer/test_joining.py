"""The process that joins hosts, and SIGTERM to the one that watches it; and who may leave before the end."""

import os
import signal
import sys
import threading
import time

import pytest
import tensorflow as tf

from components.trainer.joining import TERMINATED, run_watched
from components.trainer.run_fn import leave_together

# As TensorFlow joins hosts: deaf. Then it may join, and says the word it was given when SIGTERM comes.
JOINING = """
import os, pathlib, signal, sys, time
word = int(sys.stdin.readline())
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[2] == "joins":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(word))
    os.close(int(os.environ["ENFORMER_JOINING"]))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


@pytest.mark.parametrize(("joins", "status"), [("waits", TERMINATED), ("joins", 7)])
def test_sigterm_ends_who_waits_and_is_passed_on_to_who_has_joined(tmp_path, joins, status):
    ready = tmp_path / "ready"

    def terminate():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=terminate, daemon=True).start()
    command = [sys.executable, "-c", JOINING, str(ready), joins]
    assert run_watched(command, os.environ, "7\n") == status
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_exported_is_whole_without_the_others(caplog):
    def alone():
        raise tf.errors.UnavailableError(None, None, "b:2 stopped sending heartbeats")

    leave_together(alone, chief=True)
    assert "the model is exported; a host left before it was: b:2" in caplog.text
    with pytest.raises(tf.errors.UnavailableError):
        leave_together(alone, chief=False)
