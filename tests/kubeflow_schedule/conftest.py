import importlib
import threading
from pathlib import Path

import pytest

from tests.kubeflow_schedule.server import KubeflowServer

SCRIPTS = Path(__file__).parents[2] / "kubeflow"


@pytest.fixture(scope="session")
def schedule():
    """The command as a module: its folder is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("schedule")


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
