"""Predictions that are kept, because what was asked for may soon be asked for again."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

# Bases, and whether they are of the other strand.
Asked = tuple[str, bool]
# At 896 bins and 5,313 tracks a prediction has 19 MB. Of few bins and tracks the bases are most of it.
_MOST_BYTES = 1 << 29
# Of the objects around bases and numbers.
_OBJECTS_BYTES = 512


class RecentPredictions:
    """Keeps what was predicted, the last used the longest.

    Args:
        most_bytes: of all predictions together, with the bases that they are of.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[Asked, np.ndarray] = OrderedDict()

    def get(self, asked: Asked) -> np.ndarray | None:
        """Returns a prediction, float32 [bins, tracks]; `None` where it is not kept."""
        if asked not in self._kept:
            return None
        self._kept.move_to_end(asked)
        return self._kept[asked]

    def put(self, asked: Asked, bins: np.ndarray) -> None:
        """Keeps a prediction; those that were not used for the longest time make room."""
        if asked in self._kept:
            self._kept.move_to_end(asked)
            return
        self._kept[asked] = bins
        self._bytes += _bytes_of(asked, bins)
        while self._bytes > self._most_bytes:
            self._bytes -= _bytes_of(*self._kept.popitem(last=False))


def _bytes_of(asked: Asked, bins: np.ndarray) -> int:
    return len(asked[0]) + bins.nbytes + _OBJECTS_BYTES
