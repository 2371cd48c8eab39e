"""Signal along the genome from bigWig files."""

from __future__ import annotations

import functools
import resource
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.contig_names import advise, likely_aliases
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, first_names
from enformer_keras.formats.handle import Handle
from enformer_keras.formats.intervals import Interval

with from_extra("genome"):
    import pyBigWig

_BIGWIG_MAGIC = bytes.fromhex("26fc8f88")  # of a little-endian file
# Share of the bp in use from which on a file is taken for one of other names, not for one with little data.
_MOST_ABSENT = 0.5


class BigWig:
    """Signal of a bigWig file (Kent et al. 2010), under the FASTA file's contig names.

    Most tools leave out contigs without data, such as the many short ones of a draft genome: these have no
    value. A file that lacks most bp, or has a contig's likely name with its length, is of other names.

    Threads, forked processes and copies, pickled ones too, may read at the same time (`Handle`).

    Args:
        path: the file.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig -> other names it has in the file.

    Raises:
        DatasetError: the file cannot be opened, or its contigs are others; of a long list the first ones.
    """

    def __init__(
        self, path: Path, contig_lengths: Mapping[str, int], aliases: Mapping[str, Sequence[str]]
    ) -> None:
        self._path = path
        self._file: Handle[Any] = Handle(functools.partial(_open, path))
        with self._file.turn() as file:
            chroms = file.chroms()
        self._names: dict[str, str] = {}
        absent = []
        problems = []
        for contig, length in contig_lengths.items():
            known = [name for name in dict.fromkeys((contig, *aliases.get(contig, ()))) if name in chroms]
            if not known:
                absent.append(contig)
                continue
            name = known[0]
            if len(known) > 1:
                problems.append(
                    f"{path}: contig {contig} is there as {' and as '.join(known)}; keep one in "
                    "contig_aliases, or in the file"
                )
            elif chroms[name] != length:
                problems.append(
                    f"{path}: contig {contig} ({name}) has {chroms[name]} bp, the FASTA file's has "
                    f"{length}; use files of the same assembly"
                )
            else:
                self._names[contig] = name
        problems = problems[:MOST_PROBLEMS]
        named = set(self._names.values())
        likely = {
            contig: name
            for contig, name in likely_aliases(absent, (name for name in chroms if name not in named)).items()
            if chroms[name] == contig_lengths[contig]
        }
        share = sum(contig_lengths[contig] for contig in absent) / max(1, sum(contig_lengths.values()))
        if likely or share > _MOST_ABSENT:
            problems.append(
                f"{path}: contig {next(iter(likely or absent))} is missing, one of {len(absent)} of the "
                f"{len(contig_lengths)} in use, {share:.0%} of their bp; the file has {first_names(chroms)}: "
                f"name what stands for them in {advise(likely)}, or use fewer contigs (splits.contigs, "
                "splits.folds.contigs or splits.bed, in place of blocks)"
            )
        if problems:
            self.close()
            raise DatasetError(problems)

    def values(self, interval: Interval) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns float32 [bp], 0 where the file has no value, and bool [bp], where; None: nowhere.

        Raises:
            DatasetError: the stretch cannot be read, or holds an infinite value.
        """
        if interval.chrom not in self._names:
            return np.zeros(interval.width, dtype=np.float32), np.ones(interval.width, dtype=bool)
        try:
            with self._file.turn() as file:
                values = file.values(self._names[interval.chrom], interval.start, interval.end, numpy=True)
        except RuntimeError as error:
            raise self._unreadable(str(interval)) from error
        if not len(values):  # pyBigWig's answer where the whole file has none
            return np.zeros(interval.width, dtype=np.float32), np.ones(interval.width, dtype=bool)
        finite = np.isfinite(values)
        if finite.all():
            return values, None
        absent = np.isnan(values)
        if np.count_nonzero(absent) + np.count_nonzero(finite) < len(values):
            infinite = np.flatnonzero(np.isinf(values))
            raise DatasetError(
                f"{self._path}: {interval.chrom}:{interval.start + infinite[0]} (from 0) is "
                f"{values[infinite[0]]}, one of {infinite.size} such bp of {interval}; write the file without "
                "infinite values"
            )
        values[absent] = 0
        return values, absent

    def has_values(self, contig: str) -> bool:
        """Says whether a contig has any value, of a large file by its zoom levels.

        Raises:
            DatasetError: the file is cut or damaged.
        """
        if contig not in self._names:
            return False
        try:
            with self._file.turn() as file:
                return bool(file.stats(self._names[contig], type="coverage")[0])
        except RuntimeError as error:
            raise self._unreadable(contig) from error

    def extremes(self, interval: Interval) -> tuple[float, float]:
        """Returns the smallest and the largest value of a stretch, by zoom levels where they are fine enough.

        Values close beside the stretch may count too. Both are 0 where there is no value, infinite where NaN in
        the file hides them.

        Raises:
            DatasetError: the file is cut or damaged.
        """
        if interval.chrom not in self._names:
            return 0.0, 0.0
        place = self._names[interval.chrom], interval.start, interval.end
        try:
            with self._file.turn() as file:
                found = [file.stats(*place, type=kind)[0] for kind in ("min", "max")]
        except RuntimeError as error:
            raise self._unreadable(str(interval)) from error
        if None in found:
            return (0.0, 0.0) if np.isfinite(self.bounds()).all() else (-np.inf, np.inf)
        return found[0], found[1]

    def bounds(self) -> tuple[float, float]:
        """Returns what no value is below or above, by the file's own summary; infinite without one or by NaN.

        Contigs count that are not in use.
        """
        summary = self._summary()
        if summary is None or not np.isfinite(summary).all():
            return -np.inf, np.inf
        return summary[0], summary[1]

    def totals(self) -> tuple[float, float] | None:
        """Returns the sum of all values and that of their squares, by the file's summary; None without it."""
        summary = self._summary()
        return None if summary is None else (summary[2], summary[3])

    def _summary(self) -> tuple[float, ...] | None:
        """Returns the smallest and the largest value, the sum and the sum of squares that the header leads to.

        pyBigWig's `header` rounds them, and ends the process where one is infinite.
        """
        with self._path.open("rb") as file:
            header = file.read(64)
            order = "<" if header[:4] == _BIGWIG_MAGIC else ">"
            (offset,) = struct.unpack_from(f"{order}Q", header, 44)
            inside = 0 < offset < self._path.stat().st_size
            file.seek(offset if inside else 0)
            summary = file.read(40) if inside else b""
        return struct.unpack_from(f"{order}4d", summary, 8) if len(summary) == 40 else None

    def _unreadable(self, where: str) -> DatasetError:
        return DatasetError(f"{self._path}: {where} cannot be read; the file is cut or damaged: fetch it again")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _open(path: Path) -> Any:
    """Opens a bigWig file with pyBigWig.

    Raises:
        DatasetError: it cannot be opened, or is a bigBed file.
    """
    try:
        file = pyBigWig.open(str(path))
    except RuntimeError as error:
        try:
            path.open("rb").close()
        except OSError as reason:  # pyBigWig does not tell it: too many open files, no permission
            raise DatasetError(f"{path}: cannot be opened: {reason.strerror}") from error
        raise DatasetError(f"{path}: cannot be opened as bigWig; give a whole bigWig file") from error
    if not file.isBigWig():
        file.close()
        raise DatasetError(f"{path}: is no bigWig file but a bigBed file; give a bigWig file")
    return file


def allow_open_files(count: int) -> None:
    """Raises this process's limit of open files where `count` bigWigs more would exceed it.

    A forked child opens its own beside those of its parent, so there is room for twice as many if the system
    allows that.

    Raises:
        DatasetError: the system allows fewer.
    """
    # What is open now, other readers' files among them, and what Beam and Python will open yet.
    needed = sum(1 for _ in Path("/dev/fd").iterdir()) + count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed + count
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        if hard < needed:
            raise DatasetError(
                f"{count} bigWig files need {needed} open files, this system allows {hard}; raise it "
                "(`ulimit -Hn`)"
            )
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
