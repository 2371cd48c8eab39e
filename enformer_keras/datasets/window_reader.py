"""Sequence and targets of windows, read from a dataset's files, neighbours together."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from enformer_keras.datasets.dataset import Dataset
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.sequence import AMBIGUOUS

# Most windows of a run; with twice as many pyBigWig is no faster.
_RUN_WINDOWS = 8
# Most bins of a run, those of all tracks counted: 128 MB of float64, three windows of the paper's 5,313 tracks.
_RUN_BINS = 1 << 24
# Letters that name no single base.
_UNKNOWN = AMBIGUOUS.encode()


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

    Threads, forked processes and copies, pickled ones too, may read at the same time.

    Args:
        dataset: a checked dataset.

    Raises:
        DatasetError: a file is gone or has changed.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._genome = dataset.open_genome()
        self._tracks = dataset.open_tracks()

    def check(self, windows: Sequence[Window], scales: Mapping[int, float]) -> None:
        """Looks, before the work begins, for what would stop it in the middle or make it worthless.

        Of a sound dataset one window of each split is read or a few; `TrackReader.check_bins` says what of the
        tracks.

        Args:
            windows: that are about to be read.
            scales: see `TrackReader.check_bins`.

        Raises:
            DatasetError: a split of nothing but N, or a bin that float16 cannot hold.
        """
        description = self._dataset.description
        problems = []
        for split in dict.fromkeys(window.split for window in windows):
            own = [window.interval for window in windows if window.split == split]
            if not any(self._genome.sequence(interval).strip(_UNKNOWN) for interval in own):
                problems.append(
                    f"{self._dataset.path}: split {split}: its {len(own)} windows hold nothing but N in "
                    f"{description.fasta}; give a genome whose repeats are in lower case, not N (dna_sm of "
                    "Ensembl, not dna_rm), or fetch the file again"
                )
        if problems:
            raise DatasetError(problems)
        self._tracks.check_bins(windows, scales, self.keeps)

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
