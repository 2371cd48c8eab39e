"""Basenji's TFRecord folders, which the authors trained on: read, and checked against the genome.

A folder holds `statistics.json`, `targets.txt`, `sequences.bed` and `tfrecords/<split>-<number>.tfr`. The
records of a split, over its files in numeric order, are the rows of that split in `sequences.bed`, in order.

Source: the data that Enformer's authors released, and the writer in https://github.com/calico/basenji (bin/
basenji_data_write.py), whose format this is. Records need TensorFlow, which is imported where it is used.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.datasets.basenji_metadata import (
    find_record_files,
    read_statistics,
    read_targets,
    read_windows,
)
from enformer_keras.datasets.basenji_records import (
    CANONICAL,
    count_records,
    decode_sequence,
    decode_target,
    read_records,
)
from enformer_keras.datasets.windows import Window
from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.sequence import ONE_HOT_TABLE
from enformer_keras.formats.track_table import Target, strand_pairs

if TYPE_CHECKING:
    import tensorflow as tf

_logger = logging.getLogger(__name__)

# With a name that is importable from here too.
__all__ = [
    "BasenjiFolder",
    "BasenjiReader",
    "BasenjiRecord",
    "basenji_dataset",
    "count_records",
    "describe_disagreement",
]


@dataclasses.dataclass(frozen=True)
class BasenjiRecord:
    """One record of a Basenji folder.

    Attributes:
        window: interval of the sequence, interval of the target, and split.
        sequence: ASCII [window.interval.width] of A, C, G, T and N.
        target: float16 [target_length, num_targets].
        padded: bp of the sequence beyond the contig's ends, which are N.
        disagreement: first position in the contig (from 0) where the stored sequence is not the FASTA's; None
            where they agree or no FASTA was given.
        difference: the stored letter and the FASTA's at that position.
    """

    window: Window
    sequence: bytes
    target: np.ndarray
    padded: int = 0
    disagreement: int | None = None
    difference: str = ""


class BasenjiFolder:
    """A Basenji folder whose statistics, targets, rows and file names agree with each other.

    Records are read one at a time and checked as they come. Sequences may have another length than the stored
    ones, about the same centre: longer ones come from a FASTA file. Where a FASTA file is given, every stored
    sequence must equal it over the whole stored window. N and other ambiguous letters are all N.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
        statistics: content of `statistics.json`.
        targets: rows of `targets.txt`, in the order of the target's columns.
        windows: split -> stored windows, in the order of its records.

    Raises:
        DatasetError: everything found wrong with the folder without reading its records.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DatasetError(
                f"{self.path}: no such folder; give the one that holds statistics.json and tfrecords/"
            )
        self.statistics = read_statistics(self.path / "statistics.json")
        problems: list[str] = []
        self.targets: tuple[Target, ...] = ()
        self.windows: dict[str, tuple[Window, ...]] = {}
        self._files: dict[str, tuple[Path, ...]] = {}
        try:
            self.targets = read_targets(self.path / "targets.txt", self.statistics.num_targets)
        except DatasetError as error:
            problems += error.problems
        try:
            self.windows = read_windows(self.path / "sequences.bed", self.statistics)
        except DatasetError as error:
            problems += error.problems
        try:
            self._files = find_record_files(self.path / "tfrecords")
        except DatasetError as error:
            problems += error.problems
        if self.windows and self._files:
            problems += self._disagreeing_splits()
        if problems:
            raise DatasetError(problems)

    def _disagreeing_splits(self) -> Iterator[str]:
        for split in self._files:
            if split not in self.windows:
                yield (
                    f"{self.path / 'sequences.bed'}: has no row of split {split}, but {self._files[split][0]} "
                    "exists; take both from the same data"
                )
        for split, windows in self.windows.items():
            said = self.statistics.records_of(split)
            if said is None:
                yield (
                    f"{self.path / 'statistics.json'}: {split}_seqs is missing; add it, sequences.bed has "
                    f"{len(windows)} rows of {split}"
                )
            elif said != len(windows):
                yield (
                    f"{self.path / 'statistics.json'}: {split}_seqs is {said}, but sequences.bed has "
                    f"{len(windows)} rows of {split}; take both from the same data"
                )
            if split not in self._files:
                # A part of the data may be all that somebody fetched: an error only where it is asked for.
                _logger.warning("%s: split %s has no file in tfrecords/", self.path, split)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order of `sequences.bed`."""
        return tuple(self.windows)

    @property
    def strand_pairs(self) -> list[int]:
        """For each column of the target its partner on the other strand, itself if it has none."""
        return strand_pairs(self.targets)

    def files(self, split: str) -> tuple[Path, ...]:
        """Returns the files of a split in the order of its records.

        Raises:
            DatasetError: there is no such split, or none of its files is there.
        """
        if split not in self.windows:
            raise DatasetError(
                f"{self.path}: split {split!r} is not among those of sequences.bed: {', '.join(self.splits)}"
            )
        if split not in self._files:
            raise DatasetError(f"{self.path / 'tfrecords'}: {split}-0.tfr is missing; fetch the split's files")
        return self._files[split]

    def reader(
        self, split: str, fasta: str | Path | None = None, sequence_length: int | None = None
    ) -> BasenjiReader:
        """Opens a split, see `BasenjiReader`."""
        return BasenjiReader(self, split, fasta, sequence_length)

    def records(
        self, split: str, fasta: str | Path | None = None, sequence_length: int | None = None
    ) -> Generator[BasenjiRecord, None, None]:
        """Reads a split from its first record to its last.

        Args:
            split: name of a split.
            fasta: genome of the data's assembly; every stored sequence is compared with it.
            sequence_length: bp of each sequence, about the stored one's centre; None for the stored length.

        Returns:
            Iterator of the records, in the order of the rows of `sequences.bed`.

        Raises:
            DatasetError: at once, see `BasenjiReader`; while reading, a record that cannot be used, a number of
                records that is not that of the rows, or a sequence that disagrees with the FASTA (the message
                counts those of its file).
        """
        return self._read(self.reader(split, fasta, sequence_length), split, fasta)

    def _read(
        self, reader: BasenjiReader, split: str, fasta: str | Path | None
    ) -> Generator[BasenjiRecord, None, None]:
        try:
            padded: list[int] = []
            first = 0
            for file in self.files(split):
                number = 0
                records = reader.read_file(file, first)
                for number, record in enumerate(records, start=1):
                    if record.disagreement is not None:
                        # Whether it is one window or all tells a variant from another assembly.
                        count = 1 + sum(other.disagreement is not None for other in records)
                        raise DatasetError(
                            f"{file}: record {number - 1}: {describe_disagreement(record)}; {count} windows "
                            f"of this file disagree with {fasta}: give the FASTA of the data's assembly"
                        )
                    padded += [record.padded] if record.padded else []
                    yield record
                first += number
            reader.check_count(first)
            _logger.info(
                "%s: split %s: %d windows of %d bp, %d of them reach beyond their contig, %d bp filled with N",
                self.path,
                split,
                first,
                reader.sequence_length,
                len(padded),
                sum(padded),
            )
        finally:
            reader.close()


def describe_disagreement(record: BasenjiRecord) -> str:
    """Says where a record's stored sequence first differs from the FASTA's."""
    return (
        f"{record.window.split} window {record.window.interval}: first at {record.window.interval.chrom}:"
        f"{record.disagreement} (from 0) {record.difference}"
    )


class BasenjiReader:
    """Reads the files of one split; holds the FASTA file open.

    Args:
        folder: the folder.
        split: name of a split.
        fasta: genome of the data's assembly; needed for sequences longer than the stored ones.
        sequence_length: bp of each sequence, about the stored one's centre; None for the stored length.

    Raises:
        DatasetError: no such split or files, a length that cannot be had, a FASTA that is not the data's.
    """

    def __init__(
        self, folder: BasenjiFolder, split: str, fasta: str | Path | None, sequence_length: int | None
    ) -> None:
        stored = folder.statistics.seq_length
        self.sequence_length = stored if sequence_length is None else sequence_length
        if self.sequence_length < 1 or (self.sequence_length - stored) % 2:
            raise DatasetError(
                f"{folder.path}: sequence_length {self.sequence_length} cannot share the centre of the stored "
                f"{stored} bp; give a positive length that differs by an even number"
            )
        if self.sequence_length > stored and fasta is None:
            raise DatasetError(
                f"{folder.path}: sequence_length {self.sequence_length} is longer than the stored {stored} bp; "
                "give the FASTA file of the data's assembly (fasta)"
            )
        folder.files(split)  # refuses an unknown split
        self._folder = folder
        self._split = split
        self._windows = folder.windows[split]
        self._genome: Genome | None = None
        if fasta is not None:
            self._genome = Genome(Path(fasta))
            try:
                self._check_contigs(self._genome)
            except DatasetError:
                self._genome.close()
                raise

    def _check_contigs(self, genome: Genome) -> None:
        bed = self._folder.path / "sequences.bed"
        contigs = dict.fromkeys(window.interval.chrom for window in self._windows)
        missing = [contig for contig in contigs if contig not in genome.contig_lengths]
        if missing:
            raise DatasetError(
                f"{bed}: {', '.join(missing[:8])} ({len(missing)} contigs of split {self._split}) are not in "
                f"{genome.path}, which has {', '.join(list(genome.contig_lengths)[:8])}; give the FASTA of the "
                "data's assembly, with its contig names"
            )
        beyond = [
            window.target
            for window in self._windows
            if window.target.end > genome.contig_lengths[window.target.chrom]
        ]
        if beyond:
            contig = beyond[0].chrom
            raise DatasetError(
                f"{bed}: targets of {len(beyond)} rows of split {self._split} end beyond their contig in "
                f"{genome.path}, first {beyond[0]}, where {contig} has {genome.contig_lengths[contig]} bp; "
                "give the FASTA of the data's assembly"
            )

    def read_file(self, file: Path, first: int) -> Iterator[BasenjiRecord]:
        """Reads one file.

        Args:
            file: one of the split's files.
            first: records of the split in the files before it.

        Yields:
            Its records; those that disagree with the FASTA say so and are not refused here.

        Raises:
            DatasetError: a record that cannot be read, does not fit `statistics.json`, has no row in
                `sequences.bed`, or holds a target that is not finite or below 0.
        """
        ignored, statistics = 0, self._folder.statistics
        for number, (sequence, target, umap_bytes) in enumerate(read_records(file)):
            where = f"{file}: record {number}"
            if first + number >= len(self._windows):
                self._refuse_count(f"at least {first + number + 1}")
            letters = decode_sequence(sequence, statistics, where)
            ignored += umap_bytes > 0
            bins = decode_target(target, statistics, self._folder.targets, where)
            yield self._make_record(self._windows[first + number], letters, bins)
        if ignored:
            _logger.info("%s: %d records hold a umap, which is not read", file, ignored)

    def check_count(self, count: int) -> None:
        """Raises DatasetError unless the split's files hold as many records as it has rows."""
        if count != len(self._windows):
            self._refuse_count(str(count))

    def close(self) -> None:
        """Closes the FASTA file."""
        if self._genome is not None:
            self._genome.close()

    def _refuse_count(self, count: str) -> None:
        raise DatasetError(
            f"{self._folder.path / 'tfrecords'}: the files of split {self._split} hold {count} records, "
            f"sequences.bed has {len(self._windows)} rows; fetch the files again, or the folder they belong to"
        )

    def _make_record(self, window: Window, letters: np.ndarray, target: np.ndarray) -> BasenjiRecord:
        stored = window.interval
        interval = stored.resize(self.sequence_length)
        left = stored.start - interval.start  # bp more than stored on each side; less where negative
        read = dataclasses.replace(window, interval=interval)
        if self._genome is None:
            return BasenjiRecord(read, letters[-left : letters.size + left].tobytes(), target)
        widest = interval if left > 0 else stored
        bases = CANONICAL[np.frombuffer(self._genome.sequence(widest), dtype=np.uint8)]
        inner = bases[max(left, 0) : bases.size - max(left, 0)]
        wrong = np.flatnonzero(inner != letters)
        at, difference = None, ""
        if wrong.size:
            at = stored.start + int(wrong[0])
            difference = f"{chr(letters[wrong[0]])} is stored, the FASTA has {chr(inner[wrong[0]])}"
        cut = max(-left, 0)
        return BasenjiRecord(
            window=read,
            sequence=bases[cut : bases.size - cut].tobytes(),
            target=target,
            padded=interval.width - interval.truncate(self._genome.contig_lengths[interval.chrom]).width,
            disagreement=at,
            difference=difference,
        )


def basenji_dataset(
    folder: str | Path,
    split: str,
    fasta: str | Path | None = None,
    sequence_length: int | None = None,
) -> tf.data.Dataset:
    """Reads a split of a Basenji folder as a `tf.data.Dataset`, in the order of `sequences.bed`.

    The folder, the FASTA file and the first record are checked when this is called; the others as they are
    read, where a `DatasetError` arrives as `tf.errors.InvalidArgumentError` with the same words.

    Args:
        folder: holds `statistics.json`, `targets.txt`, `sequences.bed` and `tfrecords/`.
        split: name of a split, such as `train` or `fold0`.
        fasta: genome of the data's assembly; every stored sequence is compared with it. Needed for sequences
            longer than the stored ones.
        sequence_length: L, bp of each sequence, about the stored one's centre; None for the stored length.
            Enformer reads 196,608 bp where the authors' data stores 131,072. Beyond a contig's ends are N.

    Returns:
        Dataset of `{"sequence": [L, 4], "target": [target_length, num_targets]}`, float32, not batched.

    Raises:
        DatasetError: the data cannot be used; the message names file, record and cure.
    """
    with from_extra("tensorflow"):
        import tensorflow as tf

    opened = BasenjiFolder(folder)
    length = opened.statistics.seq_length if sequence_length is None else sequence_length
    first = opened.records(split, fasta, sequence_length)
    next(first, None)
    first.close()

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for record in opened.records(split, fasta, sequence_length):
            yield np.frombuffer(record.sequence, dtype=np.uint8), record.target

    # Bytes and float16 leave Python; TensorFlow's threads make them four and two times as large.
    table = tf.constant(ONE_HOT_TABLE)

    def decode(letters: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "sequence": tf.gather(table, tf.cast(letters, tf.int32)),
            "target": tf.cast(target, tf.float32),
        }

    shape = (opened.statistics.target_length, opened.statistics.num_targets)
    signature = (tf.TensorSpec([length], tf.uint8), tf.TensorSpec(shape, tf.float16))
    dataset = tf.data.Dataset.from_generator(read, output_signature=signature)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(opened.windows[split])))
    return dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(
        tf.data.AUTOTUNE
    )
