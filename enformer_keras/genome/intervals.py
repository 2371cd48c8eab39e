"""Where `Interval` and `Window` stood before there were rooms; what imports them from here goes on to work."""

from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval

__all__ = ["Interval", "Window"]
