"""Asks a worker pool of Apache Beam for a worker, before a job is sent that would wait for one in vain.

    python kubeflow/workers.py localhost:50000

A pool starts workers with the `python` that it finds on its PATH. Where that is another environment's, the
worker ends at once, only the pool's own log says why ("No module named 'apache_beam'"), and the job ends after
a minute with "didn't get control connection".
"""

import argparse
import contextlib
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from apache_beam.options.pipeline_options import PortableOptions  # noqa: E402
from apache_beam.portability.api import (  # noqa: E402
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    endpoints_pb2,
)

# Seconds that a worker may take to come: it imports Beam.
LIMIT_S = 60
LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


class WorkersError(Exception):
    """A worker pool gives no worker; the message says what it may lack."""


def pool_of(flags: list[str]) -> str | None:
    """Finds the worker pool that this process can ask, too.

    Args:
        flags: Beam's, one by one.

    Returns:
        Its address. None if workers come from elsewhere, or from a pool beside Beam's own servers: `localhost`
        then is another machine.
    """
    options = PortableOptions(flags)
    if options.environment_type != "EXTERNAL" or not options.environment_config:
        return None
    host, _, _ = options.environment_config.rpartition(":")
    return None if host in LOCAL else options.environment_config


def check_pool(address: str, limit_s: float = LIMIT_S) -> None:
    """Lets a pool start a worker, waits until it reports here, and lets it end.

    Args:
        address: the pool's, as host:port; its workers must reach this machine.
        limit_s: how long to wait.

    Raises:
        WorkersError: none has come, or the pool could not end it.
    """
    import grpc

    worker = f"check-{uuid.uuid4().hex}"
    with _control(address) as (here, came), grpc.insecure_channel(address) as channel:
        pool = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        request = beam_fn_api_pb2.StartWorkerRequest(
            worker_id=worker, control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=here)
        )
        try:
            error = pool.StartWorker(request, timeout=limit_s).error
        except grpc.RpcError as failed:
            raise WorkersError(f"no worker pool of Beam answers at {address}: {failed.details()}") from failed
        if error:
            raise WorkersError(f"the worker pool at {address} starts no worker:\n{error}")
        has_come = came.wait(limit_s)
        try:
            pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id=worker), timeout=limit_s)
        except grpc.RpcError as failed:
            raise WorkersError(
                f"the worker pool at {address} could not end the worker that it started: {failed.details()}"
            ) from failed
    if not has_come:
        raise WorkersError(
            f"the worker pool at {address} was asked for a worker, and none has reported at {here} in "
            f"{limit_s:g} seconds: the pool starts the `python` of its PATH, which must be that of the image, "
            "with apache_beam; its own log says what became of it"
        )


@contextlib.contextmanager
def _control(pool: str) -> Iterator[tuple[str, threading.Event]]:
    """A place where a worker reports, as Beam's job server has: address, and whether one has come."""
    import grpc

    came, over = threading.Event(), threading.Event()

    class Control(beam_fn_api_pb2_grpc.BeamFnControlServicer):
        def Control(self, answers: Any, context: Any) -> Iterator[Any]:  # noqa: N802 (Beam's name)
            came.set()
            over.wait()
            yield from ()

    server = grpc.server(futures.ThreadPoolExecutor(4))
    beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(Control(), server)
    port = server.add_insecure_port("[::]:0")
    server.start()
    try:
        yield f"{_own_host(pool)}:{port}", came
    finally:
        over.set()
        server.stop(5).wait()  # the worker ends by itself


def _own_host(pool: str) -> str:
    """The name under which the pool's machine knows this one."""
    host, _, port = pool.rpartition(":")
    if host in LOCAL:
        return "localhost"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))  # sends nothing
        except OSError as error:
            raise WorkersError(f"no worker pool of Beam can be found at {pool}: {error}") from error
        return probe.getsockname()[0]


def main() -> None:
    """Asks, and says whether a worker came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", help="its address, as host:port")
    pool = parser.parse_args().pool
    try:
        check_pool(pool)
    except WorkersError as error:
        sys.exit(str(error))
    print(f"{pool}: a worker came")


if __name__ == "__main__":
    main()
