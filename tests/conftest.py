"""What `make test` runs of all the tests, and in which order."""

from pathlib import Path

import keras
import pytest

TESTS = Path(__file__).parent
# Folders of the library, which runs on every backend: `make test` runs their tests on JAX, whose compilations
# are kept between runs, and on TensorFlow the golden ones alone; the others on it are in `make test-all`.
LIBRARY = {"model", "training", "prediction", "checkpoints"}
GOLDEN = "test_golden.py"
# The files that take longest, so that no process is left alone with one at the end.
FIRST = [
    "trainer/test_hosts.py",
    "kubeflow/proof.py",
    "trainer/proof.py",
    "handover/test_elsewhere.py",
    "pipeline/test_chain.py",
    "trainer/test_resume.py",
    "model/test_fine_tuning.py",
    "model/test_rematerialization.py",
    "model/test_golden.py",
    "model/test_enformer.py",
    "trainer/test_serving.py",
    "infra_check/test_infra_check.py",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    on_tensorflow = keras.backend.backend() == "tensorflow"
    places = {name: place for place, name in enumerate(FIRST)}
    for item in items:
        path = item.path.relative_to(TESTS)
        if on_tensorflow and path.parts[0] in LIBRARY and path.name != GOLDEN:
            item.add_marker(pytest.mark.full)
    items.sort(key=lambda item: places.get(item.path.relative_to(TESTS).as_posix(), len(places)))
