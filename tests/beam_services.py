"""Beam's portable job service and its workers, each a process of its own on this machine."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from pipeline.configs import PROJECT


@contextlib.contextmanager
def _service(module, flag):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # The pool starts its workers by the name of python.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", module, f"{flag}={port}"]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"PATH": path})
    try:
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def job_service():
    """Takes pipelines, as Flink's and Spark's job servers do; a context manager that gives its address."""
    return _service("apache_beam.runners.portability.local_job_service_main", "--port")


def worker_pool():
    """Starts workers when a job asks for them; a context manager that gives its address."""
    return _service("apache_beam.runners.worker.worker_pool_main", "--service_port")
