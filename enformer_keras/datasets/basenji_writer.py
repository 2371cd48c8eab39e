"""Writes Basenji folders, which basenji and this project read."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from enformer_keras.datasets.basenji import BasenjiFolder, BasenjiRecord
from enformer_keras.datasets.basenji_metadata import read_targets
from enformer_keras.datasets.basenji_records import CANONICAL, LETTERS
from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.track_table import Target
from enformer_keras.formats.validation import describe_validation_error

# Basenji writes 4 for N.
_INDEX_OF_LETTER = np.full(256, 4, dtype=np.uint8)
_INDEX_OF_LETTER[LETTERS] = np.arange(4)


def write_basenji(
    folder: str | Path,
    records: Iterable[BasenjiRecord],
    targets: Sequence[Target | Mapping[str, Any]],
    *,
    pool_width: int = 128,
    one_hot: bool = False,
    records_per_file: int = 256,
) -> None:
    """Writes a Basenji folder; it appears whole or, after an error, not at all.

    Args:
        folder: where; must not exist yet.
        records: what; `window.split` decides the file, and the order within a split is kept. Sequences may
            hold any letter of DNA; ambiguous ones are written as N. Targets are cast to float16.
        targets: for each column of the target a row of `targets.txt`; `index` counts from 0 where a mapping
            leaves it out.
        pool_width: bp of a bin.
        one_hot: whether sequences are written as one-hot rows, which every version of basenji reads; else as
            one index a bp (`seq_1hot`), a quarter of the size before compression.
        records_per_file: of each file but a split's last.

    Raises:
        DatasetError: the folder exists, targets that cannot be a table, no record, or one that does not fit.
        ValueError: pool_width or records_per_file is below 1.
    """
    folder = Path(folder)
    if folder.exists():
        raise DatasetError(f"{folder}: exists already; remove it or write to another folder")
    for argument, value in (("pool_width", pool_width), ("records_per_file", records_per_file)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    rows = [_as_target(target, number) for number, target in enumerate(targets)]
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    (partial / "tfrecords").mkdir(parents=True)
    # What is written must be what is read: of the table before any record is asked for, of all in the end.
    try:
        table = partial / "targets.txt"
        table.write_text(_target_table(rows), encoding="utf-8")
        try:
            read_targets(table, len(rows))
        except DatasetError as error:
            raise DatasetError(line.replace(str(partial), str(folder)) for line in error.problems) from None
        statistics, bed = _write_records(
            partial / "tfrecords", folder, records, len(rows), pool_width, one_hot, records_per_file
        )
        (partial / "statistics.json").write_text(json.dumps(statistics, indent=4) + "\n", encoding="utf-8")
        (partial / "sequences.bed").write_text("".join(bed), encoding="utf-8")
        BasenjiFolder(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise


def _as_target(target: Target | Mapping[str, Any], number: int) -> Target:
    if isinstance(target, Target):
        return target
    fields = {"index": number, **target}
    try:
        return Target.model_validate(fields)
    except pydantic.ValidationError as error:
        raise DatasetError(describe_validation_error(f"targets[{number}]", error, fields)) from error


def _target_table(targets: Sequence[Target]) -> str:
    """Basenji's columns; clip_soft and strand_pair only where a track has one."""
    optional = [
        name
        for name in ("clip_soft", "strand_pair")
        if any(getattr(target, name) is not None for target in targets)
    ]
    columns = ["genome", "identifier", "file", "clip", *optional, "scale", "sum_stat", "description"]
    lines = ["\t".join(["", *columns])]
    for target in targets:
        cells = [getattr(target, name) for name in ["index", *columns]]
        texts = ["" if cell is None else str(cell) for cell in cells]
        if any(re.search(r"[\t\r\n]", text) for text in texts):
            raise DatasetError(
                f"target {target.identifier!r}: has a tab or a line end in it; remove it: {texts}"
            )
        lines.append("\t".join(texts))
    return "\n".join(lines) + "\n"


def _write_records(
    folder: Path,
    final: Path,
    records: Iterable[BasenjiRecord],
    num_targets: int,
    pool_width: int,
    one_hot: bool,
    records_per_file: int,
) -> tuple[dict[str, Any], list[str]]:
    """Writes the TFRecord files; returns statistics and the lines of `sequences.bed`.

    Errors name the final folder.
    """
    with from_extra("tensorflow"):
        import tensorflow as tf

    writers: dict[str, tf.io.TFRecordWriter] = {}
    counts: dict[str, int] = {}
    bed: dict[Interval, str] = {}
    seq_length = target_length = 0
    try:
        for number, record in enumerate(records):
            interval, split = record.window.interval, record.window.split
            where = f"{final}: record {number} ({split} {interval})"
            if not seq_length:
                seq_length, target_length = len(record.sequence), len(record.target)
                rest = seq_length - target_length * pool_width
                if rest < 0 or rest % 2:
                    raise DatasetError(
                        f"{where}: {target_length} bins of {pool_width} bp do not lie centred in {seq_length} "
                        "bp; correct pool_width or the target"
                    )
            letters, target = _checked(record, where, seq_length, (target_length, num_targets))
            if not re.fullmatch(r"[^\s/]+", split):
                raise DatasetError(f"{where}: split {split!r} cannot be part of a file's name; rename it")
            count = counts.setdefault(split, 0)
            if count % records_per_file == 0:
                if split in writers:
                    writers[split].close()
                path = folder / f"{split}-{count // records_per_file}.tfr"
                writers[split] = tf.io.TFRecordWriter(str(path), "ZLIB")
            stored = (
                (letters[:, np.newaxis] == LETTERS).astype(np.uint8) if one_hot else _INDEX_OF_LETTER[letters]
            )
            features = {"sequence": stored.tobytes(), "target": target.tobytes()}
            example = tf.train.Example(
                features=tf.train.Features(
                    feature={
                        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                        for key, value in features.items()
                    }
                )
            )
            writers[split].write(example.SerializeToString(deterministic=True))
            counts[split] += 1
            # As basenji has it: with a crop, the row spans the targets.
            row = interval.resize(target_length * pool_width)
            if row in bed:
                raise DatasetError(f"{where}: has the place of an earlier record; leave one out")
            bed[row] = f"{row.chrom}\t{row.start}\t{row.end}\t{split}\n"
    finally:
        for writer in writers.values():
            writer.close()
    if not bed:
        raise DatasetError(f"{final}: no record to write; give at least one")
    statistics = {
        "num_targets": num_targets,
        **{f"{split}_seqs": count for split, count in counts.items()},
        "seq_length": seq_length,
        "pool_width": pool_width,
        "crop_bp": (seq_length - target_length * pool_width) // 2,
        "target_length": target_length,
    }
    # Readers that do not know the field take the sequence for one-hot.
    return (statistics if one_hot else {**statistics, "seq_1hot": True}), list(bed.values())


def _checked(
    record: BasenjiRecord, where: str, seq_length: int, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a record's canonical letters, uint8 [seq_length], and its float16 target, or refuses it."""
    if not len(record.sequence) == record.window.interval.width == seq_length:
        raise DatasetError(
            f"{where}: sequence has {len(record.sequence)} letters, the first record's {seq_length}; all must "
            "have the width of the window"
        )
    letters = CANONICAL[np.frombuffer(record.sequence, dtype=np.uint8)]
    wrong = np.flatnonzero(letters == 0)
    if wrong.size:
        letter = record.sequence[wrong[0] : wrong[0] + 1]
        raise DatasetError(
            f"{where}: sequence: {letter!r} at position {wrong[0]} is no letter of DNA; replace it by N"
        )
    if record.target.shape != shape:
        raise DatasetError(
            f"{where}: target has shape {list(record.target.shape)}, by the first record and targets it must "
            f"be {list(shape)}; correct the target or the table"
        )
    if record.window.target != record.window.interval.resize(record.window.target.width):
        raise DatasetError(f"{where}: target {record.window.target} is not in the window's centre; move it")
    if record.window.target.start < 0:
        raise DatasetError(f"{where}: target {record.window.target} starts before its contig; move it")
    with np.errstate(over="ignore"):  # judged in the next lines
        target = record.target.astype("<f2")
    wrong = np.flatnonzero(~np.isfinite(target))
    if wrong.size:
        row, column = divmod(int(wrong[0]), shape[1])
        raise DatasetError(
            f"{where}: target: bin {row} of track {column} is {record.target[row, column]}, not finite in "
            "float16, which ends at 65504; clip or scale it"
        )
    return letters, target
