"""The model's layers under the name that they had before there were rooms."""

from enformer_keras.model.layers import *  # noqa: F403
from enformer_keras.model.layers import __all__ as __all__
