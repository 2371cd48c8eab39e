import keras
import pytest


@pytest.fixture(autouse=True)
def _same_weights():
    """Fresh layers have the same weights in every run: how far rounding goes depends on them."""
    keras.utils.set_random_seed(0)
