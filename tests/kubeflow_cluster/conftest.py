import threading

import pytest

from tests.kubeflow_cluster.kubernetes_server import KubernetesServer
from tests.kubeflow_schedule.conftest import server  # noqa: F401


@pytest.fixture
def kubernetes_server(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    with KubernetesServer(folder) as cluster:
        thread = threading.Thread(target=cluster.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield cluster
        cluster.shutdown()
        thread.join()
