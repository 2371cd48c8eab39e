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
    port = _free_port()
    process = subprocess.Popen([program, "--serve_http=false", f"--job_port={port}"])
    try:
        for _ in range(100):
            # Else the test would say that nobody answers, and not that the program has refused a flag.
            assert process.poll() is None, f"{program} ended with status {process.returncode}"
            try:
                socket.create_connection(("localhost", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"{program} does not answer at port {port}")
        yield f"localhost:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
