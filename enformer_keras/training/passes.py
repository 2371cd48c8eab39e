"""Passes over the windows, counted by what Keras asks for and says."""

from __future__ import annotations

import ctypes
import multiprocessing.context
import multiprocessing.sharedctypes
from typing import Any

import numpy as np


class Passes:
    """Which pass over a split's windows a batch belongs to: the number that makes its order and its draws.

    An epoch of Keras is a pass, unless `steps_per_epoch` is given: Keras then goes on in the next epoch where
    it was, and so must the pass. `on_epoch_end` does not say which of the two it ends; the batches that were
    asked for do, those that worker processes were asked for too.

    Keras's own worker threads and processes begin at the first batch in every epoch (keras/src/trainers/
    data_adapters/py_dataset_adapter.py, `OrderedEnqueuer`).

    Args:
        num_batches: of a pass.
        repeat: whether one pass follows the other without end.
    """

    def __init__(self, num_batches: int, repeat: bool) -> None:
        self._num_batches = num_batches
        self._repeat = repeat
        self._first = 0
        self._within_epoch = False
        self._shown = False
        # For each batch of a pass, the last pass in which it was asked for: 1 for the first one, 0 for none.
        self._asked = multiprocessing.sharedctypes.RawArray(ctypes.c_int64, num_batches)

    def find(self, index: int) -> tuple[int, int]:
        """Returns the pass of a batch and its place there.

        Args:
            index: of the batch in the pass, or in all of them if they repeat.
        """
        further, place = divmod(index, self._num_batches)
        self._asked[place] = max(self._asked[place], further + 1)
        return self._first + further, place

    def begin_epoch(self) -> None:
        """Notes that an epoch of Keras begins."""
        self._within_epoch = self._shown = True

    def end_epoch(self, begins_anew: bool) -> bool:
        """Takes the next pass, unless this one goes on in Keras's next epoch.

        Keras ends an epoch that it did not begin before every `fit` and `evaluate`: then the first batch comes
        next, as it does where the caller ends one.

        Args:
            begins_anew: whether the first batch comes next in any case, as with Keras's workers.

        Returns:
            Whether an epoch of Keras ends here in the middle of a pass.
        """
        asked = np.frombuffer(memoryview(self._asked), dtype=np.int64)
        complete, within, shown = bool(asked.all()), self._within_epoch, self._shown
        self._within_epoch = False
        if self._repeat:
            if shown and not within:  # a later `fit` does not begin with the windows of the one before
                self._first += int(asked.max())
                self._shown = False
                asked[:] = 0
            return False
        if complete or begins_anew or not within:
            self._first += 1
            asked[:] = 0
        return within and not complete

    def __getstate__(self) -> dict[str, Any]:
        """What a copy begins with; what worker processes say goes to those alone that Python itself starts."""
        state = dict(self.__dict__)
        if multiprocessing.context.get_spawning_popen() is None:
            state["_asked"] = list(self._asked)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes what `__getstate__` gave."""
        self.__dict__.update(state)
        if isinstance(state["_asked"], list):
            self._asked = multiprocessing.sharedctypes.RawArray(ctypes.c_int64, state["_asked"])
