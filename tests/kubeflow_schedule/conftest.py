import threading

import pytest

from tests.kubeflow_schedule.server import KubeflowServer


@pytest.fixture
def server():
    """A server with nothing on it; the test fails if a request broke the API's description."""
    with KubeflowServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()
    assert server.violations == []
