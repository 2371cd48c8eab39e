"""Whether a worker pool is asked before a job is sent; the pools are Beam's own."""

import os
import socket

import pytest
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from kubeflow import workers

EXTERNAL = ["--environment_type=EXTERNAL"]


@pytest.fixture
def pool():
    """Starts a pool in this process."""
    servers = []

    def start(use_process):
        address, server = BeamFnExternalWorkerPoolServicer.start(use_process=use_process)
        servers.append(server)
        return address

    yield start
    for server in servers:
        server.stop(None)


def test_a_pool_whose_workers_come(pool):
    workers.check_pool(pool(use_process=False))


def test_a_pool_that_was_started_from_another_environment(pool, tmp_path, monkeypatch):
    """As worker_pool_main is where PATH has another python first; it says nothing to who asked."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"No module named 'apache_beam'\" >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(workers.WorkersError, match="in 1 seconds: the pool starts the `python` of its PATH"):
        workers.check_pool(pool(use_process=True), limit_s=1)


def test_a_pool_that_cannot_start_anything(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(workers.WorkersError, match=r"(?s)starts no worker:.*'python'"):
        workers.check_pool(pool(use_process=True), limit_s=5)


def test_a_pool_that_cannot_end_its_worker(pool, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such process")

    monkeypatch.setattr(BeamFnExternalWorkerPoolServicer, "StopWorker", broken)
    with pytest.raises(
        workers.WorkersError, match=r"could not end the worker that it started: .*no such process"
    ):
        workers.check_pool(pool(use_process=False), limit_s=30)


def test_no_pool():
    with socket.socket() as closed:
        closed.bind(("localhost", 0))
        address = f"localhost:{closed.getsockname()[1]}"
        with pytest.raises(workers.WorkersError, match=f"no worker pool of Beam answers at {address}"):
            workers.check_pool(address, limit_s=2)
    with pytest.raises(workers.WorkersError, match=r"can be found at nowhere\.invalid:1"):
        workers.check_pool("nowhere.invalid:1")


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([*EXTERNAL, "--environment_config=beam-workers:50000"], "beam-workers:50000"),
        ([*EXTERNAL, "--environment_config=localhost:50000"], None),  # beside Flink's TaskManager
        (["--environment_type=LOOPBACK"], None),
        ([], None),
    ],
)
def test_the_pool_that_a_task_can_ask(flags, found):
    assert workers.pool_of(["--runner=PortableRunner", "--job_endpoint=jobs:8099", *flags]) == found
