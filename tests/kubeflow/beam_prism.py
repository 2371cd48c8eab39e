"""Beam's Prism, its runner in Go, where it is on this machine."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest


def _free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def prism():
    """Takes pipelines as Flink's and Spark's job servers do; a context manager that gives its address.

    Its program is named by PRISM; without it, the test is skipped.
    """
    program = shutil.which(os.environ.get("PRISM", ""))
    if program is None:
        pytest.skip("PRISM is not set to the program of Beam's Prism runner")
    ports = {name: _free_port() for name in ("job_port", "web_port", "worker_pool_port")}
    flags = [f"--{name}={port}" for name, port in ports.items()]
    process = subprocess.Popen([program, "--serve_http=false", *flags])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("localhost", ports["job_port"])):
                break
            time.sleep(0.1)
        yield f"localhost:{ports['job_port']}"
    finally:
        process.terminate()
        process.wait()
