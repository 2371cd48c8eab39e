"""Signal along the genome from bigWig files."""

from __future__ import annotations

import resource
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyBigWig

from enformer_keras.formats.contig_names import advise, likely_aliases
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError, first_names
from enformer_keras.formats.intervals import Interval

_BIGWIG_MAGIC = bytes.fromhex("26fc8f88")  # of a little-endian file
# Share of the bp in use from which on a file is taken for one of other names, not for one with little data.
_MOST_ABSENT = 0.5


class BigWig:
    """Signal of a bigWig file (Kent et al. 2010), under the FASTA file's contig names.

    Most tools leave out contigs without data, such as the many short ones of a draft genome: these have no
    value. A file that lacks most bp, or has a contig's likely name with its length, is of other names.

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
        try:
            self._file = pyBigWig.open(str(path))
        except RuntimeError as error:
            raise DatasetError(f"{path}: cannot be opened as bigWig; give a whole bigWig file") from error
        if not self._file.isBigWig():
            self.close()
            raise DatasetError(f"{path}: is no bigWig file but a bigBed file; give a bigWig file")
        chroms = self._file.chroms()
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
            values = self._file.values(self._names[interval.chrom], interval.start, interval.end, numpy=True)
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
            return bool(self._file.stats(self._names[contig], type="coverage")[0])
        except RuntimeError as error:
            raise self._unreadable(contig) from error

    def totals(self) -> tuple[float, float] | None:
        """Returns the sum of all values and that of their squares, by the file's own summary; None without one.

        pyBigWig's `header` rounds them, and ends the process where one is infinite.
        """
        with self._path.open("rb") as file:
            header = file.read(64)
            order = "<" if header[:4] == _BIGWIG_MAGIC else ">"
            (offset,) = struct.unpack_from(f"{order}Q", header, 44)
            inside = 0 < offset < self._path.stat().st_size
            file.seek(offset if inside else 0)
            summary = file.read(40) if inside else b""
        return struct.unpack_from(f"{order}dd", summary, 24) if len(summary) == 40 else None

    def _unreadable(self, where: str) -> DatasetError:
        return DatasetError(f"{self._path}: {where} cannot be read; the file is cut or damaged: fetch it again")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def allow_open_files(count: int) -> None:
    """Raises this process's limit of open files where `count` bigWigs would exceed it.

    Raises:
        DatasetError: the system allows fewer.
    """
    needed = count + 256  # what Beam, Python and the FASTA file hold
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise DatasetError(
            f"{count} bigWig files need {needed} open files, this system allows {hard}; raise it (`ulimit -Hn`)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
