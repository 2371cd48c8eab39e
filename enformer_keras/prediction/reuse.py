"""Predictions of windows that differ in a few bases from one that has been predicted.

Stem and tower are local when a model is asked: what a bin is after the tower depends on the bases within 259 bp
of it. So of a window that is like another but for an allele, the tower is computed anew for the few bins that
see the allele, on a patch of the window; the other bins are the other window's. The transformer, in which each
bin sees all, runs as ever. The numbers are those of a full pass but for rounding.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.model.enformer import BIN_SIZE, NUM_TOWER_BLOCKS
from enformer_keras.model.layers import PutBins1D

# The last layer in which a bin sees its surroundings alone.
_LAST_LOCAL = f"tower_{NUM_TOWER_BLOCKS - 1}_pool"
# How far beyond itself a bin sees: half of the stem's 15 bp, and two positions a side in each block of the
# tower, whose positions are 2, 4, ..., 64 bp apart.
REACH = 15 // 2 + sum(2 * 2**block for block in range(1, NUM_TOWER_BLOCKS + 1))
# Bins at a patch's end that see beyond it, where the window has bases and the patch has none.
_MARGIN = -(-REACH // BIN_SIZE)
# Bins of the smallest patch: all that see one base, and the margins.
_SMALLEST = 6 + 2 * _MARGIN
# Of windows that are kept for others that are like them. One of 196,608 bp has 9 MB, its 5,313 tracks 19.
_MOST_BYTES = 1 << 29


def is_split(model: keras.Model, bin_size: int) -> bool:
    """Says whether a model has the tower that can be reused."""
    names = {layer.name for layer in getattr(model, "layers", ())}
    return bin_size == BIN_SIZE and {_LAST_LOCAL, "stem_conv"} <= names


class TowerReuse:
    """Predicts windows, and others that are like them, of which only a part of the tower is computed.

    Args:
        model: an `Enformer` or one of its `head_model`s, of which `is_split` is true.
        batch_size: windows predicted at a time.
        head: which of the model's outputs; `None` where it has one.
    """

    def __init__(self, model: keras.Model, batch_size: int, head: str | None = None) -> None:
        tower = model.get_layer(_LAST_LOCAL).output
        output = model.output if head is None else model.output[head]
        self._local = keras.Model(model.input, tower)
        self._rest = keras.Model(tower, output)
        self._whole = keras.Model(model.input, [tower, output])
        self._patched: dict[int, keras.Model] = {}
        self._batch_size = batch_size
        self.bins, self.channels = tower.shape[1:]
        # Of insertions and deletions one side moves: half of the window.
        sizes = {_SMALLEST, 2 * _SMALLEST, self.bins // 4 + 2 * _MARGIN, self.bins // 2 + 2 * _MARGIN + 2}
        self._sizes = sorted(size for size in sizes if size < self.bins)
        self._kept: collections.OrderedDict[str, tuple[np.ndarray, np.ndarray]] = collections.OrderedDict()

    def predict(
        self, windows: Sequence[str], like: Sequence[str | None], *, one_by_one: bool = False
    ) -> Iterator[np.ndarray]:
        """Predicts windows.

        Args:
            windows: bases of the window's length, upper case.
            like: for each the window that it is like; `None`: predict it wholly.
            one_by_one: whether whole windows are predicted one at a time, in place of batches filled up: where
                many windows are like few.

        Yields:
            float32 [bins, tracks] for each, in their order.
        """
        whole = [window for window, other in zip(windows, like, strict=True) if other is None]
        others = [other for other in like if other is not None]
        known = self._towers([*whole, *others], 1 if one_by_one else self._batch_size)
        found: dict[int, np.ndarray] = {}
        queues: dict[int, list[tuple[int, Patch]]] = {}
        for number, (window, other) in enumerate(zip(windows, like, strict=True)):
            if other is None:
                found[number] = known[window][1]
                continue
            patch = Patch.between(window, other, self._sizes, self.bins)
            if patch is None:
                found[number] = known[other][1]
            else:
                queues.setdefault(patch.size, []).append((number, patch))
        for size, queue in queues.items():
            for first in range(0, len(queue), self._batch_size):
                batch = queue[first : first + self._batch_size]
                towers = [known[other][0] for number, _ in batch if (other := like[number]) is not None]
                predicted = self._patch(size, [patch for _, patch in batch], towers)
                found.update(zip((number for number, _ in batch), predicted, strict=False))
        for number in range(len(windows)):
            yield found.pop(number)

    def forget(self) -> None:
        """Lets go of the windows that are kept."""
        self._kept.clear()

    def _towers(self, windows: Sequence[str], together: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns the tower's output and the prediction of each window, computed or kept from before."""
        known = {window: self._kept[window] for window in windows if window in self._kept}
        missing = [window for window in dict.fromkeys(windows) if window not in known]
        for first in range(0, len(missing), together):
            batch = missing[first : first + together]
            filled = [*batch, *["N" * len(batch[0])] * (together - len(batch))]
            towers, predicted = self._whole.predict_on_batch(one_hot_encode(filled))
            for window, tower, tracks in zip(batch, towers, predicted, strict=False):
                # Copies: a view would keep the whole batch.
                known[window] = (np.array(tower), np.array(tracks, dtype=np.float32))
        for window in dict.fromkeys(windows):
            self._kept[window] = known[window]
            self._kept.move_to_end(window)
        each = sum(array.nbytes for array in next(iter(self._kept.values()), ()))
        while len(self._kept) * each > _MOST_BYTES:
            self._kept.popitem(last=False)
        return known

    def _patch(self, size: int, patches: Sequence[Patch], towers: Sequence[np.ndarray]) -> np.ndarray:
        """Predicts a batch of windows by patches of one size; filled up with its last one."""
        if size not in self._patched:
            self._patched[size] = self._make_patched(size)
        missing = self._batch_size - len(patches)
        patches, towers = [*patches, *[patches[-1]] * missing], [*towers, *[towers[-1]] * missing]
        predicted = self._patched[size].predict_on_batch(
            [
                np.stack(towers),
                one_hot_encode([patch.bases for patch in patches]),
                np.array([[patch.start, patch.first, patch.last] for patch in patches], dtype=np.int32),
            ]
        )
        return np.asarray(predicted, dtype=np.float32)

    def _make_patched(self, size: int) -> keras.Model:
        tower = keras.Input((self.bins, self.channels))
        bases = keras.Input((size * BIN_SIZE, 4))
        place = keras.Input((3,), dtype="int32")
        merged = PutBins1D()([tower, self._local.call(bases), place])
        return keras.Model([tower, bases, place], self._rest.call(merged))


class Patch:
    """The part of a window whose tower is computed.

    Args:
        bases: of the patch.
        start: the bin of the window at which it starts.
        first: the first bin of the window that is taken from it.
        last: the last one.
    """

    def __init__(self, bases: str, start: int, first: int, last: int) -> None:
        self.bases, self.start, self.first, self.last = bases, start, first, last

    @property
    def size(self) -> int:
        """Its length in bins."""
        return len(self.bases) // BIN_SIZE

    @classmethod
    def between(cls, window: str, other: str, sizes: Sequence[int], bins: int) -> Patch | None:
        """Returns what has to be computed of a window that is like another; `None` where they are equal.

        Args:
            window: bases.
            other: of the same length.
            sizes: bins that a patch may have, from the smallest, all of them less than the window's.
            bins: of the window.
        """
        letters, others = (np.frombuffer(text.encode(), dtype=np.uint8) for text in (window, other))
        differing = np.flatnonzero(letters != others)
        if not len(differing):
            return None
        first = max(0, (int(differing[0]) - REACH) // BIN_SIZE)
        last = min(bins - 1, (int(differing[-1]) + REACH) // BIN_SIZE)
        for size in (*sizes, bins):
            # At the window's ends a patch needs no margin: beyond both there is nothing.
            start = max(0, min(first - _MARGIN, bins - size))
            end = start + size
            if end == bins or last + _MARGIN < end:
                break
        return cls(window[start * BIN_SIZE : end * BIN_SIZE], start, first, last)
