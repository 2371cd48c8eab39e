from tests.genome.conftest import tiny

__all__ = ["tiny"]
