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

from components.startup import start_tensorflow
from components.trainer.cluster import Cluster, ClusterError, answer_call, call_together, read_cluster
from components.trainer.joining import is_watched, run_watched, say_joined

_CHIEF_WAITS_S = 1800
_OTHERS_WAIT_S = 7 * 24 * 3600  # the chief's pipeline builds the examples first
_JOIN_S = 300


def main() -> None:
    """Trains, as one of several hosts: in a process of its own, where SIGTERM is not to be lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wait", type=float, help="seconds to wait for the other hosts")
    options = parser.parse_args()
    if is_watched():  # by the process below, or on the chief by the Trainer
        _train(options.wait)
        return
    try:
        cluster = read_cluster()
    except ValueError as error:
        sys.exit(f"this host cannot train: {error}")
    if cluster is not None and cluster.is_chief:
        sys.exit("this host cannot train: it is the chief, which TFX's Trainer starts: run the pipeline on it")
    status = run_watched([sys.executable, "-m", "components.trainer.host", *sys.argv[1:]], os.environ)
    sys.exit(status if status >= 0 else 128 - status)


def _train(wait_s: float | None) -> None:
    start_tensorflow()
    import tensorflow as tf

    from components.trainer.run_fn import train
    from components.trainer.strategy import find_hosts, make_strategy

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("components").setLevel(logging.INFO)
    try:
        cluster = find_hosts("multi_worker")
        arguments = _meet(cluster, wait_s)
    except (ClusterError, RuntimeError, ValueError) as error:
        sys.exit(f"this host cannot train: {error}")
    # TensorFlow waits for hosts for an hour, in which nothing but this (no signal, no thread) ends it.
    faulthandler.dump_traceback_later(_JOIN_S, exit=True)
    strategy = make_strategy("multi_worker")
    faulthandler.cancel_dump_traceback_later()
    # TensorFlow takes SIGTERM for itself when it joins hosts, and does nothing about it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    say_joined()
    try:
        train(types.SimpleNamespace(**arguments), strategy)
    except (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.AbortedError) as error:
        sys.exit(f"a host of the training ended, or cannot be reached any more: {error.message}")


def _meet(cluster: Cluster, wait_s: float | None) -> dict[str, Any]:
    import enformer_keras
    from components.fingerprint import code_fingerprint
    from components.trainer.strategy import local_devices

    parts = Path(__file__).parents[1]
    library = Path(enformer_keras.__file__).parent
    setup = {
        "devices": local_devices(),
        "code": code_fingerprint(parts / "trainer", parts / "transform", parts / "examples", library),
    }
    if not cluster.is_chief:
        # Whoever watches this process and is killed is a host that is lost: so is this one.
        threading.Thread(target=_end_with_parent, args=(signal.SIGKILL,), daemon=True).start()
        return answer_call(cluster, setup, _OTHERS_WAIT_S if wait_s is None else wait_s)
    arguments = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=(signal.SIGTERM,), daemon=True).start()
    call_together(cluster, arguments, setup, _CHIEF_WAITS_S if wait_s is None else wait_s)
    return arguments


def _end_with_parent(how: signal.Signals) -> None:
    """Ends this process by a signal when the one that started it ends; until then stdin is open."""
    # Not sys.stdin.read, whose lock a thread may not hold when the interpreter ends.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), how)


if __name__ == "__main__":
    main()
