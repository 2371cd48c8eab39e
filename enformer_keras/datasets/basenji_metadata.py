"""What a Basenji folder says of its records: `statistics.json`, `targets.txt`, `sequences.bed`, file names."""

from __future__ import annotations

import itertools
import json
import logging
import re
from pathlib import Path

import pydantic

from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.text_file import read_text
from enformer_keras.formats.track_table import Target, read_target_table
from enformer_keras.formats.validation import describe_validation_error

_logger = logging.getLogger(__name__)

_RECORD_FILE = re.compile(r"(?P<split>.+)-(?P<number>\d+)\.tfr")


class Statistics(pydantic.BaseModel):
    """`statistics.json`; its other fields are not read.

    Attributes:
        num_targets: tracks of a record.
        seq_length: bp of a stored sequence.
        pool_width: bp of a bin.
        crop_bp: bp at each end of the sequence that have no target.
        target_length: bins of a record.
        seq_1hot: whether sequences are stored as one index a bp (basenji's own name for it), else one-hot.
        seq_depth: columns of the one-hot encoding; only 4 is DNA alone.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="allow")

    num_targets: pydantic.PositiveInt
    seq_length: pydantic.PositiveInt
    pool_width: pydantic.PositiveInt
    crop_bp: pydantic.NonNegativeInt
    target_length: pydantic.PositiveInt
    seq_1hot: bool = False
    seq_depth: int = 4

    @property
    def target_width(self) -> int:
        """Length of the target in bp."""
        return self.target_length * self.pool_width

    def records_of(self, split: str) -> int | None:
        """Returns the records that a split is said to have, None where nothing is said."""
        count = (self.model_extra or {}).get(f"{split}_seqs")
        if isinstance(count, float) and count.is_integer():
            return int(count)
        return count if isinstance(count, int) and not isinstance(count, bool) else None

    @pydantic.model_validator(mode="after")
    def _check(self) -> Statistics:
        problems = []
        if self.target_width + 2 * self.crop_bp != self.seq_length:
            problems.append(
                f"target_length {self.target_length} x pool_width {self.pool_width} + 2 x crop_bp "
                f"{self.crop_bp} is {self.target_width + 2 * self.crop_bp}, seq_length is {self.seq_length}; "
                "correct the one that is wrong"
            )
        if self.seq_depth != 4:
            problems.append(
                f"seq_depth is {self.seq_depth}, but only A, C, G and T are read; write the data without "
                "other columns"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read_statistics(path: Path) -> Statistics:
    """Reads `statistics.json`.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        DatasetError: every field that is wrong.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: is not JSON ({error}); fetch it again") from error
    try:
        return Statistics.model_validate(content)
    except pydantic.ValidationError as error:
        raise DatasetError(describe_validation_error(str(path), error, content)) from error


def read_targets(path: Path, num_targets: int) -> tuple[Target, ...]:
    """Reads `targets.txt` of a folder.

    Args:
        path: the file.
        num_targets: rows that it must have.

    Returns:
        The rows in their order, that of the target's columns.

    Raises:
        DatasetError: every row that is wrong, by line number.
    """
    targets = read_target_table(path)
    if len(targets) != num_targets:
        raise DatasetError(
            f"{path}: has {len(targets)} tracks, statistics.json says num_targets {num_targets}; take both "
            "from the same data"
        )
    return targets


def read_windows(path: Path, statistics: Statistics) -> dict[str, tuple[Window, ...]]:
    """Reads `sequences.bed`, whose rows span the sequences or, with a crop, the targets; the centre is one.

    Args:
        path: the file.
        statistics: of the same folder.

    Returns:
        Split -> stored windows in the order of the rows.

    Raises:
        DatasetError: the first rows that are wrong, by line number.
    """
    windows: dict[str, list[Window]] = {}
    line_of: dict[Interval, int] = {}
    problems: list[str] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}: line {number}"
        fields = line.split("\t")
        if len(fields) < 4 or not (fields[1].isdecimal() and fields[2].isdecimal() and fields[0] and fields[3]):
            problems.append(f"{where}: {line[:80]!r} is not contig, start, end and split by tabs; correct it")
        elif int(fields[2]) - int(fields[1]) not in (statistics.seq_length, statistics.target_width):
            problems.append(
                f"{where}: spans {int(fields[2]) - int(fields[1])} bp, by statistics.json targets span "
                f"{statistics.target_width} and sequences {statistics.seq_length}; take both from the same data"
            )
        else:
            row = Interval(fields[0], int(fields[1]), int(fields[2]))
            if line_of.setdefault(row, number) != number:
                problems.append(f"{where}: {row} is also on line {line_of[row]}; fetch or write the file again")
            window = Window(row.resize(statistics.seq_length), row.resize(statistics.target_width), fields[3])
            windows.setdefault(window.split, []).append(window)
        if len(problems) == MOST_PROBLEMS:
            break
    if not windows and not problems:
        problems.append(f"{path}: is empty; it has one row for each record")
    if problems:
        raise DatasetError(problems)
    return {split: tuple(rows) for split, rows in windows.items()}


def find_record_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Finds the record files of each split.

    Args:
        folder: `tfrecords/`.

    Returns:
        Split -> files in the order of their numbers, from 0 on.

    Raises:
        DatasetError: a file is missing between others, or has no such name.
    """
    numbered: dict[str, dict[int, Path]] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.tfr")):
        match = _RECORD_FILE.fullmatch(path.name)
        if match is None:
            problems.append(f"{path}: is not named <split>-<number>.tfr; rename or remove it")
            continue
        if path.is_file() and not path.stat().st_size:
            problems.append(f"{path}: is empty; fetch it again")
        files = numbered.setdefault(match["split"], {})
        if files.setdefault(int(match["number"]), path) != path:
            problems.append(f"{path}: has the number of {files[int(match['number'])].name}; remove one")
    for split, files in numbered.items():
        missing = max(files) + 1 - len(files)
        if missing:
            first = itertools.islice((number for number in itertools.count() if number not in files), 8)
            names = ", ".join(f"{split}-{number}.tfr" for number in first if number < max(files))
            problems.append(f"{folder}: {names} ({missing} files of split {split}) missing; fetch them")
    if not numbered and not problems:
        problems.append(f"{folder}: holds no .tfr file; fetch <split>-<number>.tfr into it")
    if problems:
        raise DatasetError(problems)
    return {split: tuple(files[number] for number in sorted(files)) for split, files in numbered.items()}
