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
from enformer_keras.training.augmentation import augment

_logger = logging.getLogger(__name__)


class WindowBatches(keras.utils.PyDataset):
    """Batches of one split for `model.fit`, `evaluate` and `predict`, on every backend.

    Nothing is kept in memory or on disk: each batch is read from the FASTA and track files when its turn comes.
    The order and the augmentation of an epoch are functions of its number and the seed.

    Args:
        dataset: a checked dataset, or the path of its description.
        split: name of a split.
        batch_size: windows of a batch; the last one may be smaller.
        shuffle: whether each epoch has an order of its own.
        max_shift: augmentation: largest shift to either side in bp, up to the dataset's `flank_length`.
        reverse_complement: augmentation: whether half of the windows show the other strand.
        repeat: whether epochs follow each other without end, for `model.fit(..., steps_per_epoch=...)`, which
            stops at the end of a dataset that does not repeat.
        seed: of order and augmentation.
        **kwargs: arguments of ``keras.utils.PyDataset``.

    Attributes:
        dataset: the dataset.
        windows: the split's windows in the order of the genome, without those that hold too many N.

    Items: one-hot ``[batch, window_length, 4]`` and targets ``[batch, target_length, tracks]``, float32.

    Raises:
        DatasetError: the dataset cannot be used, its splits leak, or no window of the split is left.
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
        self._epoch = 0

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None if they repeat without end (Keras's convention)."""
        return None if self.repeat else self._batches_per_epoch

    @property
    def _batches_per_epoch(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def on_epoch_end(self) -> None:
        """Take the next epoch's order and draws."""
        self._epoch += 1

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the batches of an epoch, or of all epochs to come."""
        indices = itertools.count() if self.repeat else range(self._batches_per_epoch)
        return (self[index] for index in indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads batch `index` of the epoch, or of all epochs if they repeat; an IndexError past the end."""
        epoch = self._epoch
        if self.repeat:
            epoch, index = divmod(index, self._batches_per_epoch)
        elif not 0 <= index < self._batches_per_epoch:
            raise IndexError(f"batch {index} is not among the {self._batches_per_epoch} of split {self.split}")
        order = np.arange(len(self.windows))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        # None is not kept: those were left out of `windows`.
        windows = self._reader.read_windows([self.windows[window] for window in chosen], self._scales)
        read = [window for window in windows if window is not None]
        draws = np.random.default_rng([self.seed, epoch, index])
        shift = draws.integers(-self.max_shift, self.max_shift, size=len(read), endpoint=True)
        other_strand = (draws.random(len(read)) < 0.5) & self.reverse_complement
        sequence, target = augment(
            one_hot_encode([window.sequence for window in read]),
            np.stack([window.target for window in read]).astype("float32"),
            shift=shift,
            reverse_complement=other_strand,
            strand_pairs=[track.strand_pair for track in self.dataset.tracks],
            window_length=self.dataset.description.window_length,
        )
        return keras.ops.convert_to_numpy(sequence), keras.ops.convert_to_numpy(target)
