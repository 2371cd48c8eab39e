"""Predictions that are kept, because what was asked for may soon be asked for again."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

# Bases, and whether they are of the other strand.
Asked = tuple[str, bool]
# At 896 bins and 5,313 tracks a prediction has 19 MB.
_MOST_BYTES = 1 << 29


class RecentPredictions:
    """Keeps what was predicted, the last used the longest.

    Args:
        most_bytes: of all predictions together.
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
        self._bytes += bins.nbytes
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
