"""The process that each host of a training on several hosts runs: `python -m components.trainer.host`.

On the chief TFX's Trainer starts it; on every other host whoever manages the cluster does, from the root of
this repository and with TF_CONFIG set. There it waits for the chief, which tells it what to train, trains its
share of every batch, writes nothing, and ends when the chief has exported the model: with status 0, with 143
after SIGTERM on any host, with 1 if the training failed.
"""

import argparse
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Any

import tensorflow as tf

import enformer_keras
from components.fingerprint import code_fingerprint
from components.trainer.cluster import Cluster, ClusterError, answer_call, call_together
from components.trainer.run_fn import train
from components.trainer.strategy import find_hosts, local_devices, make_strategy

_CHIEF_WAITS_S = 1800
_OTHERS_WAIT_S = 7 * 24 * 3600  # the chief's pipeline builds the examples first
_JOIN_S = 300


def main() -> None:
    """Trains, as one of several hosts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wait", type=float, help="seconds to wait for the other hosts")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("components").setLevel(logging.INFO)
    try:
        cluster = find_hosts("multi_worker")
        arguments = _meet(cluster, options.wait)
    except (ClusterError, RuntimeError, ValueError) as error:
        sys.exit(f"this host cannot train: {error}")
    # TensorFlow waits for hosts for an hour, in which nothing but this (no signal, no thread) ends it.
    faulthandler.dump_traceback_later(_JOIN_S, exit=True)
    strategy = make_strategy("multi_worker")
    faulthandler.cancel_dump_traceback_later()
    # TensorFlow takes SIGTERM for itself when it joins hosts, and does nothing about it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        train(types.SimpleNamespace(**arguments), strategy)
    except (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.AbortedError) as error:
        sys.exit(f"a host of the training ended, or cannot be reached any more: {error.message}")


def _meet(cluster: Cluster, wait_s: float | None) -> dict[str, Any]:
    parts = Path(__file__).parents[1]
    library = Path(enformer_keras.__file__).parent
    setup = {
        "devices": local_devices(),
        "code": code_fingerprint(parts / "trainer", parts / "transform", parts / "examples", library),
    }
    if not cluster.is_chief:
        return answer_call(cluster, setup, _OTHERS_WAIT_S if wait_s is None else wait_s)
    line = "" if sys.stdin.isatty() else sys.stdin.readline()
    if not line:
        raise ClusterError("it is the chief, which TFX's Trainer starts: run the pipeline on it")
    arguments = json.loads(line)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    call_together(cluster, arguments, setup, _CHIEF_WAITS_S if wait_s is None else wait_s)
    return arguments


def _end_with_parent() -> None:
    """Ends this process as SIGTERM does when the one that started it ends; until then stdin is open."""
    # Not sys.stdin.read, whose lock a thread may not hold when the interpreter ends.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
