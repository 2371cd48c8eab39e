"""BED and its kin (narrowPeak, broadPeak, bedGraph), plain or gzip, checked line by line."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from enformer_keras.formats.contig_names import ContigNames
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError
from enformer_keras.formats.text_file import open_text

# Kind -> name of a column with numbers -> where it stands, from 1 (UCSC's descriptions of the formats).
_PEAK_COLUMNS = {"score": 5, "signalValue": 7, "pValue": 8, "qValue": 9}
VALUE_COLUMNS = {
    "BED": {"score": 5},
    "narrowPeak": _PEAK_COLUMNS,
    "broadPeak": _PEAK_COLUMNS,
    "bedGraph": {"dataValue": 4},
}
# Kind -> fields of a line; BED has three to twelve.
FIELDS = {"BED": None, "narrowPeak": 10, "broadPeak": 9, "bedGraph": 4}
STRAND_COLUMN = 6


@dataclasses.dataclass(frozen=True)
class BedLines:
    """The intervals of one contig, 0-based half-open, in the order of the file: by start.

    Attributes:
        starts: int64 [n].
        ends: int64 [n].
        cells: of each column asked for, [n] texts.
        lines: int64 [n], line numbers from 1.
    """

    starts: np.ndarray
    ends: np.ndarray
    cells: tuple[list[str], ...]
    lines: np.ndarray


def read_bed(
    path: Path,
    contig_lengths: Mapping[str, int] | None,
    aliases: Mapping[str, Sequence[str]],
    *,
    columns: Sequence[int] = (),
    fields: int | None = None,
) -> dict[str, BedLines]:
    """Reads a BED file: tab separated, 0-based half-open, sorted by start within each contig.

    Empty lines and lines that begin with `#`, `track` or `browser` are passed over, and so are contigs that
    are not asked for, whose lines are counted in the log. The order of the contigs does not matter.

    Args:
        path: the file; one that ends in `.gz` or `.bgz` is decompressed.
        contig_lengths: contig that is wanted -> bp; `None`: all are, and no line is held against a length.
        aliases: contig -> other names it has in the file.
        columns: which further columns to keep, from 1 (4 is BED's name).
        fields: how many a line must have; `None`: three and as many as `columns` need.

    Returns:
        Contig -> its lines; a contig without lines is left out.

    Raises:
        DatasetError: the first lines that are wrong, by number; or no line lies on a wanted contig.
    """
    names = ContigNames(contig_lengths, aliases)
    least = max([3, *columns]) if fields is None else fields
    found: dict[str, tuple[list[int], list[int], list[list[str]], list[int]]] = {}
    problems: list[str] = []
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if line.startswith(("#", "track ", "browser ")) or not line.strip():
                    continue
                if len(problems) == MOST_PROBLEMS:
                    break
                where = f"{path}: line {number}"
                cells = line.rstrip("\r\n").split("\t")
                if len(cells) < least or (fields is not None and len(cells) != fields):
                    wanted = f"{least}" if fields is not None else f"at least {least}"
                    problems.append(
                        f"{where}: has {len(cells)} fields instead of {wanted}; separate them by tabs"
                    )
                    continue
                contig = names.find(cells[0])
                if contig is None:
                    continue
                if not (cells[1].isdecimal() and cells[2].isdecimal() and int(cells[1]) < int(cells[2])):
                    problems.append(
                        f"{where}: start {cells[1]!r} and end {cells[2]!r} are no 0-based half-open interval; "
                        "correct them"
                    )
                    continue
                start, end = int(cells[1]), int(cells[2])
                if contig_lengths is not None and end > contig_lengths[contig]:
                    problems.append(
                        f"{where}: {cells[0]}:{start}-{end} ends past the contig's end at "
                        f"{contig_lengths[contig]} bp; use files of the same assembly"
                    )
                    continue
                starts, ends, kept, lines = found.setdefault(contig, ([], [], [[] for _ in columns], []))
                if starts and start < starts[-1]:
                    problems.append(
                        f"{where}: start {start} comes after {starts[-1]} of line {lines[-1]}; sort the file "
                        "(`sort -k1,1 -k2,2n`)"
                    )
                    break  # every further line would say so
                starts.append(start)
                ends.append(end)
                lines.append(number)
                for column, texts in zip(columns, kept, strict=True):
                    texts.append(cells[column - 1])
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a BED text file, plain or gzip") from error
    if not found and not problems:
        if contig_lengths is None:
            raise DatasetError(f"{path}: holds no interval; give another file")
        named = f"it names {', '.join(list(names.others)[:8])}" if names.others else "it is empty"
        raise DatasetError(
            f"{path}: no line lies on a used contig ({', '.join(list(contig_lengths)[:8])}); {named}: name "
            "them in contig_aliases or give another file"
        )
    if problems:
        raise DatasetError(problems)
    names.log_others(path)
    return {
        contig: BedLines(
            np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), tuple(kept), np.array(lines)
        )
        for contig, (starts, ends, kept, lines) in found.items()
    }
