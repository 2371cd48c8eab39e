"""Predictions of windows that differ in a few bases from one that has been predicted.

Stem and tower are local when a model is asked: what a bin is after the tower depends on the bases within 259 bp
of it. So of a window that is like another but for an allele, the tower is computed anew for the few bins that
see the allele, on a patch of the window; the other bins are the other window's. The transformer, in which each
bin sees all, runs as ever. The numbers are those of a full pass but for rounding.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from enformer_keras.formats.sequence import CODE_TABLE, encode_bases
from enformer_keras.model.enformer import BIN_SIZE, NUM_TOWER_BLOCKS
from enformer_keras.model.layers import CutIntoPieces1D, PutBins1D
from enformer_keras.prediction.above_tower import AboveTower, Tracks
from enformer_keras.prediction.compiled import Compiler
from enformer_keras.prediction.products import Products

if TYPE_CHECKING:
    from enformer_keras.prediction.windows import StrandView

# The last layer in which a bin sees its surroundings alone.
_LAST_LOCAL = f"tower_{NUM_TOWER_BLOCKS - 1}_pool"
_FIRST = "stem_conv"
# How far beyond itself a bin sees: half of the stem's 15 bp, and two positions a side in each block of the
# tower, whose positions are 2, 4, ..., 64 bp apart.
_STEM_REACH = 15 // 2
_TOWER_REACH = sum(2 * 2**block for block in range(1, NUM_TOWER_BLOCKS + 1))
REACH = _STEM_REACH + _TOWER_REACH
# Bins at a patch's end that see beyond it in the tower, where the window goes on and the patch does not. The 7
# bases that the stem sees beyond it come with the patch: else it would be three bins for the sake of 3 bp.
_MARGIN = -(-_TOWER_REACH // BIN_SIZE)
# Bins at a window's end that see beyond it.
_END = -(-REACH // BIN_SIZE)
# Bins of the smallest patch: all that see one base, and the margins.
_SMALLEST = 6 + 2 * _MARGIN
# Of windows that are kept for others that are like them. One of 196,608 bp has 9 MB, its 5,313 tracks 19.
_MOST_BYTES = 1 << 29
# And of small ones, whose bases take more than what is predicted, not more than so many.
_MOST_WINDOWS = 256
# Of stretches of the tower along contigs.
_MOST_BYTES_ALONG = 1 << 28
# Bins of a stretch: a quarter of the window, within these bounds. At either end it computes a margin more.
_STRETCH = 32, 128


def is_cut(model: keras.Model) -> bool:
    """Says whether a model cuts the window into pieces, whose tower is not one that can be reused."""
    return any(isinstance(layer, CutIntoPieces1D) for layer in getattr(model, "layers", ()))


def is_split(model: keras.Model, bin_size: int) -> bool:
    """Says whether a model has the tower that can be reused: not one that cuts the window into pieces."""
    names = {layer.name for layer in getattr(model, "layers", ())}
    return bin_size == BIN_SIZE and {_LAST_LOCAL, _FIRST} <= names and not is_cut(model)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a window stands that is the genome's own.

    Attributes:
        view: the strand.
        contig: the contig.
        start: 0-based, along the strand; may be negative.
    """

    view: StrandView
    contig: str
    start: int


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of a window, on the device.

    Attributes:
        tower: what comes out of the tower, [bins, channels].
        predicted: of the tracks that were asked for, [target bins, tracks], along the window's strand.
    """

    tower: Any
    predicted: Any


class TowerReuse:
    """Predicts windows, and others that are like them, of which only a part of the tower is computed.

    Everything compiled has one shape: batches are filled up, and no number depends on how full one was.

    Args:
        model: an `Enformer` or one of its `head_model`s, of which `is_split` is true.
        batch_size: windows predicted at a time.
        head: which of the model's outputs; `None` where it has one.
        products: how it makes products of float32.
    """

    def __init__(
        self, model: keras.Model, batch_size: int, head: str | None = None, products: Products = "own"
    ) -> None:
        tower = model.get_layer(_LAST_LOCAL).output
        self.compiler = Compiler(model, products)
        self.batch_size = batch_size
        self._stem = model.get_layer(_FIRST)
        self._above_stem = keras.Model(self._stem.output, tower)
        self._above = AboveTower(model, tower, model.output if head is None else model.output[head])
        self._put = PutBins1D()
        self.bins, self.channels = tower.shape[1:]
        self.num_tracks = self._above.num_tracks
        # Of insertions and deletions one side moves: half of the window.
        sizes = {_SMALLEST, 2 * _SMALLEST, self.bins // 4 + 2 * _MARGIN, self.bins // 2 + 2 * _MARGIN + 2}
        self.sizes = sorted(size for size in sizes if size < self.bins)
        self.smallest = min([*self.sizes, self.bins])
        self.stretch = min(max(self.bins // 4, _STRETCH[0]), _STRETCH[1])
        self._kept_tracks: Tracks = None
        self._kept: collections.OrderedDict[Any, Kept] = collections.OrderedDict()
        self._along: collections.OrderedDict[tuple[Path, bool, str, int, int], Any] = collections.OrderedDict()

    # What is called within compiled functions

    def local(self, codes: Any) -> Any:
        """Returns the tower's output of windows.

        Args:
            codes: uint8 [batch, bp] (`encode_bases`).

        Returns:
            [batch, bins, channels].
        """
        return self._above_stem.call(self._stem(_one_hot(codes), training=False), training=False)

    def inner(self, codes: Any) -> Any:
        """Returns the tower's output of stretches of windows, whose stem sees what stands beside them.

        Args:
            codes: uint8 [batch, 7 + bp + 7]: those of the stretch, and of what the stem sees on either side.

        Returns:
            [batch, bins, channels], of which `_MARGIN` bins at an end that is not the window's are of no use.
        """
        stem = self._stem(_one_hot(codes), training=False)[:, _STEM_REACH:-_STEM_REACH]
        return self._above_stem.call(stem, training=False)

    def patched(self, towers: Sequence[Any], codes: Any, places: Any, tracks: Tracks = None) -> Any:
        """Predicts windows whose tower is another's but for a patch.

        Args:
            towers: the others', [bins, channels] each.
            codes: of the patches, uint8 [batch, 7 + bp + 7].
            places: int32 [batch, 3], each patch's `start`, `first` and `last`.
            tracks: those that are asked for.

        Returns:
            float32 [batch, target bins, tracks].
        """
        return self._above(self._put.call([ops.stack(towers), self.inner(codes), places]), tracks)

    def _run_whole(self, tracks: Tracks) -> Callable[..., Any]:
        def whole(codes: Any) -> Any:
            tower = self.local(codes)
            predicted = self._above(tower, tracks)
            # Apart here: rows that are taken of it later wait for the device.
            return [(tower[at], predicted[at]) for at in range(codes.shape[0])]

        return self.compiler.compile(whole, ("whole", tracks))

    def run_patched(self, tracks: Tracks = None) -> Callable[..., Any]:
        """Returns `patched` for these tracks, compiled."""

        def patched(towers: Sequence[Any], codes: Any, places: Any) -> Any:
            return self.patched(towers, codes, places, tracks)

        return self.compiler.compile(patched, ("patched", tracks))

    @functools.cached_property
    def _run_local(self) -> Callable[..., Any]:
        """Of the patches of stretches, without their margins."""
        return self.compiler.compile(lambda codes: self.inner(codes)[0, _MARGIN:-_MARGIN])

    def _run_joined(self, tracks: Tracks) -> Callable[..., Any]:
        def joined(stretches: Sequence[Any], offset: Any, ends: Any) -> Any:
            inside = ops.take(ops.concatenate(stretches), offset + ops.arange(self.bins, dtype="int32"), axis=0)
            both = self.inner(ends)
            # At its ends a window sees nothing, where the contig goes on.
            tower = ops.concatenate([both[0, :_END], inside[_END:-_END], both[1, -_END:]])
            return tower, self._above(tower[None], tracks)[0]

        return self.compiler.compile(joined, ("joined", tracks))

    # What is asked

    def read_weights(self) -> None:
        """Takes the weights as they are now; what was kept of windows goes if they are others."""
        if self.compiler.read_weights():
            self.forget()

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
        self.read_weights()
        whole = [window for window, other in zip(windows, like, strict=True) if other is None]
        others = [other for other in like if other is not None]
        known = self.keep([*whole, *others], one_by_one=one_by_one)
        found: dict[int, Any] = {}
        queues: dict[int, list[tuple[int, Patch]]] = {}
        for number, (window, other) in enumerate(zip(windows, like, strict=True)):
            if other is None:
                found[number] = known[window].predicted
                continue
            patch = Patch.between(window, other, self.sizes, self.bins)
            if patch is None:
                found[number] = known[other].predicted
            else:
                queues.setdefault(patch.size, []).append((number, patch))
        for queue in queues.values():
            for first in range(0, len(queue), self.batch_size):
                batch = queue[first : first + self.batch_size]
                filled = [*batch, *[batch[-1]] * (self.batch_size - len(batch))]
                towers = [known[other].tower for number, _ in filled if (other := like[number]) is not None]
                predicted = self.run_patched()(towers, *arrays_of([patch for _, patch in filled]))
                host = keras.ops.convert_to_numpy(predicted)
                found.update(zip((number for number, _ in batch), host, strict=False))
        for number in range(len(windows)):
            yield keras.ops.convert_to_numpy(found.pop(number))

    def keep(
        self,
        windows: Sequence[str],
        places: Sequence[Place | None] | None = None,
        *,
        one_by_one: bool = False,
        tracks: Tracks = None,
    ) -> dict[str, Kept]:
        """Predicts windows wholly, or finds what was kept of them.

        Args:
            windows: bases of the window's length, upper case.
            places: of those whose tower is put together of stretches along the contig, which windows share
                whose starts lie on one grid of 128 bp; `None` for others.
            one_by_one: see `predict`.
            tracks: of which predictions are asked for. Of windows kept for others nothing is taken.

        Returns:
            Window -> what is kept.
        """
        if tracks != self._kept_tracks:
            self._kept.clear()
            self._kept_tracks = tracks
        known = {window: self._kept[window] for window in windows if window in self._kept}
        for window, place in zip(windows, places or [None] * len(windows), strict=True):
            if window not in known and place is not None and self.bins > 2 * _END:
                known[window] = self._join(window, place, tracks)
        missing = [window for window in dict.fromkeys(windows) if window not in known]
        together = 1 if one_by_one else self.batch_size
        for first in range(0, len(missing), together):
            batch = missing[first : first + together]
            filled = [*batch, *["N" * len(batch[0])] * (together - len(batch))]
            for window, both in zip(batch, self._run_whole(tracks)(encode_bases(filled)), strict=False):
                known[window] = Kept(*both)
        for window in dict.fromkeys(windows):
            self._kept[window] = known[window]
            self._kept.move_to_end(window)
        each = next((_bytes_of(kept.tower) + _bytes_of(kept.predicted) for kept in self._kept.values()), 0)
        while len(self._kept) * each > _MOST_BYTES or len(self._kept) > _MOST_WINDOWS:
            self._kept.popitem(last=False)
        return known

    def forget(self) -> None:
        """Lets go of the windows that are kept."""
        self._kept.clear()
        self._along.clear()

    def _join(self, window: str, place: Place, tracks: Tracks) -> Kept:
        """Puts the tower of a window together of stretches of its contig, whose ends are its own."""
        first_bin, phase = divmod(place.start, BIN_SIZE)
        first, offset = divmod(first_bin, self.stretch)
        # As many as the worst offset needs, so that all windows have one shape.
        count = -(-(self.bins - 1) // self.stretch) + 1
        stretches = [self._stretch(place, phase, first + at) for at in range(count)]
        ends = [_stretch_of(window, start, _END + _MARGIN) for start in (0, self.bins - _END - _MARGIN)]
        return Kept(*self._run_joined(tracks)(stretches, np.array(offset, dtype=np.int32), encode_bases(ends)))

    def _stretch(self, place: Place, phase: int, number: int) -> Any:
        """Returns a stretch of the tower, [bins, channels], computed or kept from before."""
        key = (place.view.genome.path, place.view.reverse, place.contig, phase, number)
        if key in self._along:
            self._along.move_to_end(key)
            return self._along[key]
        start = phase + (number * self.stretch - _MARGIN) * BIN_SIZE - _STEM_REACH
        end = start + (self.stretch + 2 * _MARGIN) * BIN_SIZE + 2 * _STEM_REACH
        made = self._run_local(encode_bases([place.view.sequence(place.contig, start, end)]))
        self._along[key] = made
        while len(self._along) * _bytes_of(made) > _MOST_BYTES_ALONG:
            self._along.popitem(last=False)
        return made


def _one_hot(codes: Any) -> Any:
    return ops.take(ops.convert_to_tensor(CODE_TABLE), ops.cast(codes, "int32"), axis=0)


def _stretch_of(window: str, start: int, size: int) -> str:
    """Returns bins of a window with what the stem sees on either side: nothing beyond the window, as N."""
    first, last = start * BIN_SIZE - _STEM_REACH, (start + size) * BIN_SIZE + _STEM_REACH
    before, behind = max(0, -first), max(0, last - len(window))
    return "N" * before + window[max(0, first) : last] + "N" * behind


def _bytes_of(array: Any) -> int:
    each = 2 if keras.backend.standardize_dtype(array.dtype).endswith("16") else 4
    return int(each * math.prod(array.shape))


def arrays_of(patches: Sequence[Patch]) -> tuple[np.ndarray, np.ndarray]:
    """Returns patches of one size as `TowerReuse.patched` takes them: their codes, and their places."""
    places = [[patch.start, patch.first, patch.last] for patch in patches]
    return encode_bases([patch.bases for patch in patches]), np.array(places, dtype=np.int32)


class Patch:
    """The part of a window whose tower is computed.

    Args:
        bases: of the patch, and 7 on either side, which its stem sees; N beyond the window.
        start: the bin of the window at which it starts.
        first: the first bin of the window that is taken from it.
        last: the last one.
    """

    def __init__(self, bases: str, start: int, first: int, last: int) -> None:
        self.bases, self.start, self.first, self.last = bases, start, first, last

    @property
    def size(self) -> int:
        """Its length in bins."""
        return (len(self.bases) - 2 * _STEM_REACH) // BIN_SIZE

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
        return cls(_stretch_of(window, start, size), start, first, last)

    @classmethod
    def nothing(cls, size: int) -> Patch:
        """Returns a patch of a size in bins, of which nothing is taken."""
        return cls("N" * (size * BIN_SIZE + 2 * _STEM_REACH), 0, 1, 0)
