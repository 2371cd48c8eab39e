"""Windows of a dataset, read from its files: neighbours together for the pipeline, batches for `model.fit`."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import numbers
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from enformer_keras.datasets.dataset import Dataset, load_dataset
from enformer_keras.datasets.leaks import check_no_leak
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Window
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.training.augmentation import augment

_logger = logging.getLogger(__name__)

# Most windows of a run; with twice as many pyBigWig is no faster.
_RUN_WINDOWS = 8
# Most bins of a run, those of all tracks counted: 128 MB of float64, three windows of the paper's 5,313 tracks.
_RUN_BINS = 1 << 24


@dataclasses.dataclass(frozen=True)
class ReadWindow:
    """What the files hold of a window.

    Attributes:
        sequence: bases of the window and its flanks, ASCII [window_length + 2 * flank_length].
        target: float16 [target_length, tracks].
        missing: int64 [tracks], the target's bp without a value, counted as 0.
        clipped: int64 [tracks], the target's bins that clip_soft or clip changed.
    """

    sequence: bytes
    target: np.ndarray
    missing: np.ndarray
    clipped: np.ndarray


def runs_of(windows: Sequence[Window], dataset: Dataset) -> Iterator[list[Window]]:
    """Cuts windows into runs of neighbours, which are read together (`TrackReader.read_run`).

    Args:
        windows: in any order; neighbours are found where they follow each other in the order of the genome.
        dataset: whose windows they are.

    Yields:
        Windows of one split and contig whose targets touch or overlap: eight at most, fewer where the bins of
        all tracks would take much memory.
    """
    bins = dataset.description.target_length * len(dataset.tracks)
    most = max(1, min(_RUN_WINDOWS, _RUN_BINS // bins))
    run: list[Window] = []
    for window in windows:
        if run and (len(run) == most or not _are_neighbours(run[-1], window)):
            yield run
            run = []
        run.append(window)
    if run:
        yield run


def _are_neighbours(left: Window, right: Window) -> bool:
    touch = left.target.start <= right.target.start <= left.target.end
    return left.split == right.split and left.target.chrom == right.target.chrom and touch


class WindowReader:
    """Sequence and targets of windows; holds the dataset's files open.

    Args:
        dataset: a checked dataset.

    Raises:
        DatasetError: a file is gone or has changed.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._genome = dataset.open_genome()
        self._tracks = dataset.open_tracks()

    def keeps(self, window: Window) -> bool:
        """Says whether few enough of a window's bases are N (`max_n_fraction`)."""
        return self._are_kept(self._genome.sequence(window.interval))

    def _are_kept(self, bases: bytes) -> bool:
        return bases.count(b"N") <= self._dataset.description.max_n_fraction * len(bases)

    def read(self, window: Window, scales: Mapping[int, float]) -> ReadWindow | None:
        """Reads a window: `read_windows` of one."""
        return next(self.read_windows([window], scales))

    def read_windows(
        self, windows: Sequence[Window], scales: Mapping[int, float]
    ) -> Iterator[ReadWindow | None]:
        """Reads windows, neighbours together (`runs_of`).

        Args:
            windows: where.
            scales: track index -> factor, for the tracks whose scale is `mean` (`Dataset.mean_scales`).

        Yields:
            Sequence and targets of each; `None` where it is not kept.

        Raises:
            DatasetError: a value that float16 cannot hold.
        """
        flank = self._dataset.description.flank_length
        for run in runs_of(windows, self._dataset):
            sequences = [self._genome.sequence(window.interval.extend(flank)) for window in run]
            kept = [self._are_kept(bases[flank : len(bases) - flank]) for bases in sequences]
            targets = [window.target for window in itertools.compress(run, kept)]
            bins = iter(self._tracks.read_run(targets, scales) if targets else ())
            for bases, is_kept in zip(sequences, kept, strict=True):
                yield ReadWindow(bases, *next(bins)) if is_kept else None

    def close(self) -> None:
        """Closes all files."""
        self._genome.close()
        self._tracks.close()


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
        read = list(self._reader.read_windows([self.windows[window] for window in chosen], self._scales))
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
