"""Beam's portable job service and its workers, each a process of its own on this machine."""

import contextlib
import os
import socket
import subprocess
import sys

from pipeline.configs import PROJECT

# Its workers are threads of one process: what they import, they import once.
POOL_OF_THREADS = """
import sys
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
_, server = BeamFnExternalWorkerPoolServicer.start(port=int(sys.argv[1]))
server.wait_for_termination()
"""


@contextlib.contextmanager
def _service(*command, folder=PROJECT):
    """Runs a Python command that ends with the port, in a folder."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    *command, flag = command
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, *command, f"{flag}{port}"], cwd=folder, env=environment)
    try:
        yield f"localhost:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def job_service():
    """Takes pipelines, as Flink's and Spark's job servers do; a context manager that gives its address."""
    return _service("-m", "apache_beam.runners.portability.local_job_service_main", "--port=")


def workers_in(folder):
    """Starts workers when a job asks for them, in a process whose working directory is the folder; the same."""
    return _service("-c", POOL_OF_THREADS, "", folder=folder)
