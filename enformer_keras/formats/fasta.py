"""Genome sequence from FASTA files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta_index import find_fault, find_index
from enformer_keras.formats.handle import Handle
from enformer_keras.formats.intervals import Interval, merge
from enformer_keras.formats.sequence import ALPHABET, AMBIGUOUS
from enformer_keras.formats.text_file import check_last_block, is_packed

with from_extra("genome"):
    import pysam
    from pysam.utils import SamtoolsError

# For bytes.translate: IUPAC codes of either case become upper case, all else 0.
_UPPER_OR_0 = bytes(code & 0xDF if chr(code & 0xDF) in ALPHABET + AMBIGUOUS else 0 for code in range(256))
# Stretch read at once where a whole contig is looked at.
_CHUNK_BP = 1 << 20
# Of each contig, read from its FASTA file before the work begins.
_END_BP = 128


class Genome:
    """A FASTA file, read by interval through its `.fai` index (see `fasta_index.find_index`).

    A file compressed by bgzip, whatever its name, has a `.gzi` index too.

    htslib reads it: unlike pyfaidx it takes the files that archives hand out (line ends of DOS, blank lines
    at the end).

    Threads, forked processes and copies, pickled ones too, may read at the same time (`Handle`).

    Args:
        path: FASTA file, plain or compressed by bgzip.

    Raises:
        DatasetError: the file is missing, is no FASTA, or has no index and none can be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        if not path.is_file():
            raise DatasetError(f"{path}: no such FASTA file; correct the path or download it")
        if not path.stat().st_size:
            raise DatasetError(f"{path}: is empty; fetch it again")
        packed = False
        try:
            packed = is_packed(path)
            check_last_block(path)
            index = find_index(path, packed)
            self._fasta: Handle[Any] = Handle(
                functools.partial(
                    pysam.FastaFile,
                    str(path),
                    filepath_index=str(index.fai),
                    filepath_index_compressed=None if index.gzi is None else str(index.gzi),
                )
            )
            with self._fasta.turn() as fasta:
                self.contig_lengths = dict(zip(fasta.references, fasta.lengths, strict=True))
        except DatasetError:
            raise
        except (OSError, ValueError, SamtoolsError) as error:
            fault = find_fault(path)
            if fault is not None:
                raise DatasetError(f"{path}: cannot be indexed as FASTA: {fault}") from error
            raise DatasetError(
                f"{path}: cannot be indexed and opened as FASTA ({str(error).strip()}); run `samtools "
                "faidx` on it, in a folder that you may write"
                + (" (compressed by bgzip, not by gzip)" if packed else "")
            ) from error
        if not self.contig_lengths:
            self.close()
            raise DatasetError(f"{path}: holds no sequence; give a FASTA file with `>` records")

    def sequence(self, interval: Interval) -> bytes:
        """Reads the bases of an interval, upper case; N where it reaches past the contig.

        Args:
            interval: what to read.

        Returns:
            ASCII, `interval.width` bytes, IUPAC codes of DNA.

        Raises:
            DatasetError: no such contig, a stretch that cannot be read, or a character that is no IUPAC code,
                with its position.
        """
        if interval.chrom not in self.contig_lengths:
            known = ", ".join(list(self.contig_lengths)[:8])
            raise DatasetError(
                f"{self.path}: {interval} lies on none of its contigs, {known}; use the FASTA file's names"
            )
        inside = interval.truncate(self.contig_lengths[interval.chrom])
        fetched = self._fetch(inside)
        bases = fetched.encode().translate(_UPPER_OR_0)
        wrong = bases.find(0)
        if wrong >= 0:
            raise DatasetError(
                f"{self.path}: {interval.chrom}: position {inside.start + wrong + 1} (1-based) is "
                f"{fetched[wrong]!r}, no IUPAC code of DNA; replace it by N"
            )
        left = max(0, min(-interval.start, interval.width))
        return b"N" * left + bases + b"N" * (interval.width - left - len(bases))

    def check_ends(self, contigs: Iterable[str]) -> None:
        """Reads the first and the last bp of contigs: most files that are cut or no DNA do not come so far.

        Args:
            contigs: which.

        Raises:
            DatasetError: a stretch cannot be read, or holds a character that is no IUPAC code.
        """
        for contig in contigs:
            length = self.contig_lengths[contig]
            self.sequence(Interval(contig, 0, min(_END_BP, length)))
            self.sequence(Interval(contig, max(0, length - _END_BP), length))

    def _fetch(self, interval: Interval) -> str:
        try:
            with self._fasta.turn() as fasta:
                bases: str = fasta.fetch(interval.chrom, interval.start, interval.end)
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{self.path}: {interval} cannot be read ({error}); fetch the file again"
            ) from error
        if len(bases) != interval.width:
            raise DatasetError(
                f"{self.path}: {interval} has only {len(bases)} bp in the file; it was cut or replaced since "
                "it was indexed: fetch it again, or remove its .fai"
            )
        return bases

    def runs_of_n(self, contig: str, min_length: int) -> np.ndarray:
        """Finds runs of N (or n), chunk by chunk.

        Args:
            contig: where.
            min_length: of the shortest run wanted, in bp.

        Returns:
            int64 [2, runs], starts and ends.
        """
        runs = [np.zeros((2, 0), dtype=np.int64)]
        for start in range(0, self.contig_lengths[contig], _CHUNK_BP):
            chunk = Interval(contig, start, min(start + _CHUNK_BP, self.contig_lengths[contig]))
            is_n = (np.frombuffer(self._fetch(chunk).encode(), dtype=np.uint8) | 0x20) == ord("n")
            borders = np.flatnonzero(np.diff(is_n, prepend=False, append=False))
            runs.append(borders.reshape(-1, 2).T + start)
        starts, ends = merge(*np.concatenate(runs, axis=1))  # of runs that cross a chunk's end
        return np.stack([starts, ends])[:, ends - starts >= min_length]

    def sha256(self, contigs: Iterable[str] | None = None) -> str:
        """Digests what the sequence is, whatever the order of contigs, line width, case or compression.

        It is that of a FASTA file with the contigs sorted by name, no descriptions, upper-case bases and one
        line for each contig. The whole file is read.

        Args:
            contigs: those that count, and are read; `None`: all.

        Returns:
            SHA-256 in hex.

        Raises:
            DatasetError: a stretch cannot be read.
        """
        total = hashlib.sha256()
        chosen = self.contig_lengths if contigs is None else set(contigs)
        for contig, length in sorted((contig, self.contig_lengths[contig]) for contig in chosen):
            total.update(f">{contig}\n".encode())
            for start in range(0, length, _CHUNK_BP):
                total.update(
                    self._fetch(Interval(contig, start, min(start + _CHUNK_BP, length))).upper().encode()
                )
            total.update(b"\n")
        return total.hexdigest()

    def close(self) -> None:
        """Closes the file."""
        self._fasta.close()
