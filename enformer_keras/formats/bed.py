"""BED and its kin (narrowPeak, broadPeak, bedGraph), plain or gzip, checked line by line."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from enformer_keras.formats.contig_names import ContigNames, advise, likely_aliases
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, first_names
from enformer_keras.formats.text_file import UNREADABLE, open_text

_logger = logging.getLogger(__name__)

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
_NO_INTERVAL = re.compile(r"#|\s*$|(track|browser)(\s|$)")


@dataclasses.dataclass(frozen=True)
class BedLines:
    """The intervals of one contig, 0-based half-open, in the order of the file: mostly by start.

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
    used: Iterable[str] | None = None,
    in_any_order: bool = False,
) -> dict[str, BedLines]:
    """Reads a BED file: tab separated, 0-based half-open, sorted by start within each contig.

    Empty lines and those whose first word is `track` or `browser`, or begins with `#`, are passed over. So are
    contigs that are not asked for and intervals whose start is their end, which have no bp: BED has them for
    insertions (BEDv1, section 1.5). The lines of both are counted in the log. The order of the contigs does not
    matter.

    Args:
        path: the file, plain or gzip.
        contig_lengths: contig that is wanted -> bp; `None`: all are, and no line is held against a length.
        aliases: contig -> other names it has in the file.
        columns: which further columns to keep, from 1 (4 is BED's name).
        fields: how many a line must have; `None`: three and as many as `columns` need.
        used: those of `contig_lengths` that matter; `None`: all. If no line lies on one of them, the file is
            refused where it has names that stand for no contig, as these may be theirs, else warned of.
        in_any_order: whether the lines of a contig need not be sorted.

    Returns:
        Contig -> its lines; a contig without lines is left out.

    Raises:
        DatasetError: the first lines that are wrong, by number; or no line lies on a contig that matters.
    """
    names = ContigNames(contig_lengths, aliases)
    empty = 0
    least = max([3, *columns]) if fields is None else fields
    found: dict[str, tuple[list[int], list[int], list[list[str]], list[int]]] = {}
    problems: list[str] = []
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if _NO_INTERVAL.match(line):
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
                if not (cells[1].isdecimal() and cells[2].isdecimal() and int(cells[1]) <= int(cells[2])):
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
                if start == end:
                    empty += 1
                    continue
                starts, ends, kept, lines = found.setdefault(contig, ([], [], [[] for _ in columns], []))
                if starts and start < starts[-1] and not in_any_order:
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
    except UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a BED text file, plain or gzip") from error
    if problems:
        raise DatasetError(problems)
    if contig_lengths is None:
        if not found:
            raise DatasetError(f"{path}: holds no interval; give another file")
    else:
        _check_contigs(path, list(contig_lengths if used is None else used), found, names, empty)
    if empty:
        _logger.info("%s: %d lines passed over whose start is their end: they have no bp", path, empty)
    return {
        contig: BedLines(
            np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), tuple(kept), np.array(lines)
        )
        for contig, (starts, ends, kept, lines) in found.items()
    }


def _check_contigs(
    path: Path, used: Sequence[str], found: Iterable[str], names: ContigNames, empty: int
) -> None:
    """Refuses a file without a line on a used contig, or warns of it; logs how many lines lie on no contig."""
    bare = [contig for contig in used if contig not in found]
    if len(bare) < len(used):
        names.log_others(path, bare)
        return
    there = [*names.others, *found]
    named = f"it names {first_names(there)}" if there else "it is empty"
    if empty and not there:
        named = f"the start of each of its {empty} intervals is its end"
    problem = f"{path}: no line lies on a used contig ({first_names(used)}); {named}"
    if names.others or not found:
        cure = advise(likely_aliases(bare, names.others))
        raise DatasetError(f"{problem}: name them in {cure} or give another file")
    _logger.warning("%s: leave the file out, or give another one", problem)
