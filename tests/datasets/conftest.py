import pytest

from tests.datasets.tiny_genome import build_tiny_genome


@pytest.fixture
def tiny(tmp_path):
    return build_tiny_genome(tmp_path)
