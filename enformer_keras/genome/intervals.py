"""Where `Interval` and `Window` stood before there were rooms; what imports them from here goes on to work."""

from enformer_keras.formats.intervals import Interval, Window

__all__ = ["Interval", "Window"]
