from tests.datasets.conftest import tiny

__all__ = ["tiny"]
