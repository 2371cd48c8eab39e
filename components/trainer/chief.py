"""The Trainer's part in a training on several hosts: it starts the chief's process and waits for it."""

import json
import os
import signal
import sys
from typing import Any

from components.trainer.fitting import Preempted
from components.trainer.joining import TERMINATED, run_watched

_PREEMPTED = {-signal.SIGTERM, TERMINATED}


def train_as_chief(fn_args: Any) -> None:
    """Runs `components.trainer.host` on this host, in a process of its own.

    TensorFlow joins hosts before it does anything else or not at all, and the Trainer's process has, as a rule,
    run other components before; nor should those that follow be part of a cluster whose other hosts leave.

    SIGTERM is passed on. When this process dies, the other one saves and ends, as if it had come.

    Args:
        fn_args: TFX's `FnArgs`.

    Raises:
        Preempted: SIGTERM came, here or on another host; the next run goes on.
        RuntimeError: the training failed; the process has said why.
    """
    # What is left out reads examples through TFX, which nobody here does, and is made of functions.
    arguments = {name: value for name, value in vars(fn_args).items() if name != "data_accessor"}
    status = run_watched(
        [sys.executable, "-m", "components.trainer.host"],
        {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},  # noqa: PTH109
        json.dumps(arguments) + "\n",
    )
    if status in _PREEMPTED:
        raise Preempted
    if status:
        raise RuntimeError(
            f"the training on several hosts ended with status {status}, for the reason above; run again to go "
            "on from the last checkpoint"
        )
