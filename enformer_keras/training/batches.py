"""Batches of a dataset's windows for `model.fit`."""

from __future__ import annotations

import itertools
import logging
import numbers
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from enformer_keras.datasets.dataset import Dataset, load_dataset
from enformer_keras.datasets.leaks import check_no_leak
from enformer_keras.datasets.window_reader import WindowReader
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.training.augmentation import augment_arrays
from enformer_keras.training.passes import Passes

_logger = logging.getLogger(__name__)


class WindowBatches(keras.utils.PyDataset):
    """Batches of one split for `model.fit`, `evaluate` and `predict`, on every backend.

    Nothing is kept in memory or on disk: each batch is read from the FASTA and track files when its turn comes.
    The order and the augmentation of a pass over the windows are functions of its number and the seed. An epoch
    of Keras is a pass, or with `model.fit(..., steps_per_epoch=...)` a part of one; the next epoch goes on.
    `fit` shuffles the batches of a pass among themselves, by a seed of its own, unless given `shuffle=False`.

    Copies, pickled ones too, give the same batches. Keras's `workers` may be more than one: threads, which take
    turns at the files, or with `use_multiprocessing` processes, which do not. With either, Keras begins at the
    first batch in every epoch, so that `steps_per_epoch` needs `repeat`.

    Args:
        dataset: a checked dataset, or the path of its description.
        split: name of a split.
        batch_size: windows of a batch; the last one may be smaller.
        shuffle: whether each pass has an order of its own.
        max_shift: augmentation: largest shift to either side in bp, up to the dataset's `flank_length`.
        reverse_complement: augmentation: whether half of the windows show the other strand.
        repeat: whether passes follow each other without end, for `model.fit(..., steps_per_epoch=...)`, which
            stops at the end of a dataset that does not repeat.
        seed: of order and augmentation.
        **kwargs: arguments of ``keras.utils.PyDataset``.

    Attributes:
        dataset: the dataset.
        windows: the split's windows in the order of the genome, without those that hold too many N.

    Items: one-hot ``[batch, window_length, 4]`` and targets ``[batch, target_length, tracks]``, float32.

    Raises:
        DatasetError: the dataset cannot be used, its splits leak, no window of the split is left, all hold
            nothing but N, or float16 cannot hold a bin.
        ValueError: there is no such split, or an argument is out of its range.
    """

    def __init__(
        self,
        dataset: Dataset | str | Path,
        split: str,
        batch_size: int,
        *,
        shuffle: bool = False,
        max_shift: int = 0,
        reverse_complement: bool = False,
        repeat: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
        description = self.dataset.description
        if split not in description.splits.names:
            raise ValueError(f"split={split!r} is not among {list(description.splits.names)}")
        for argument, value, least in (
            ("batch_size", batch_size, 1),
            ("max_shift", max_shift, 0),
            ("seed", seed, 0),
        ):
            if not isinstance(value, numbers.Integral) or value < least:
                raise ValueError(f"{argument} must be a whole number of at least {least}, got {value!r}")
        if max_shift > description.flank_length:
            raise ValueError(
                f"max_shift={max_shift} must be at most the dataset's flank_length {description.flank_length}"
            )
        planned = self.dataset.plan().windows
        check_no_leak(planned, description.flank_length)
        self._reader = WindowReader(self.dataset)
        self._scales = self.dataset.mean_scales()
        own = [window for window in planned if window.split == split]
        self._reader.check(own, self._scales)
        self.windows = [window for window in own if self._reader.keeps(window)]
        _logger.info(
            "split %s: %d windows, %d dropped for N", split, len(self.windows), len(own) - len(self.windows)
        )
        if not self.windows:
            raise DatasetError(
                f"{self.dataset.path}: split {split}: all {len(own)} windows have a larger share of N than "
                f"{description.max_n_fraction:g}; raise max_n_fraction or give the split more of the genome"
            )
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.max_shift = max_shift
        self.reverse_complement = reverse_complement
        self.repeat = repeat
        self.seed = seed
        self._passes = Passes(self._batches_per_pass, repeat)
        self._was_cut = False

    @property
    def num_batches(self) -> int | None:
        """Batches of a pass; None if they repeat without end (Keras's convention)."""
        return None if self.repeat else self._batches_per_pass

    @property
    def _batches_per_pass(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    @property
    def _has_workers(self) -> bool:
        """Whether Keras reads by worker threads or processes."""
        return bool(self.workers > 1 or (self.workers > 0 and self.use_multiprocessing))

    def on_epoch_begin(self) -> None:
        """Begin an epoch of Keras."""
        self._passes.begin_epoch()

    def on_epoch_end(self) -> None:
        """Take the next pass's order and draws, unless Keras goes on with this one in its next epoch."""
        is_cut = self._passes.end_epoch(self._has_workers) and self._has_workers
        if is_cut and self._was_cut:  # once Keras does so itself, for a look at the shapes
            _logger.warning(
                "split %s: with workers=%d Keras leaves passes over %d windows half-way and begins anew: some "
                "windows come more often than others; give repeat=True with steps_per_epoch (%d make a pass)",
                self.split,
                self.workers,
                len(self.windows),
                self._batches_per_pass,
            )
        self._was_cut = is_cut

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the batches of a pass, or of all passes to come."""
        indices = itertools.count() if self.repeat else range(self._batches_per_pass)
        return (self[index] for index in indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads batch `index` of the pass, or of all passes if they repeat; an IndexError past the end.

        It calls nothing of Keras's backend, which does not survive a fork.
        """
        if index < 0 or not (self.repeat or index < self._batches_per_pass):
            raise IndexError(f"batch {index} is not among the {self._batches_per_pass} of split {self.split}")
        number, index = self._passes.find(index)
        order = np.arange(len(self.windows))
        if self.shuffle:
            order = np.random.default_rng([self.seed, number]).permutation(order)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        # None is not kept: those were left out of `windows`.
        windows = self._reader.read_windows([self.windows[window] for window in chosen], self._scales)
        read = [window for window in windows if window is not None]
        draws = np.random.default_rng([self.seed, number, index])
        shift = draws.integers(-self.max_shift, self.max_shift, size=len(read), endpoint=True)
        other_strand = (draws.random(len(read)) < 0.5) & self.reverse_complement
        return augment_arrays(
            one_hot_encode([window.sequence for window in read]),
            np.stack([window.target for window in read]).astype("float32"),
            shift=shift,
            reverse_complement=other_strand,
            strand_pairs=[track.strand_pair for track in self.dataset.tracks],
            window_length=self.dataset.description.window_length,
        )
