"""The `.fai` index of a FASTA file: found or written, and checked; and what makes it impossible to write one.

htslib does not check: it reads wherever the index points to, and passes over a contig that comes twice.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import re
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.text_file import find_foreign_layout, open_binary

with from_extra("genome"):
    import pysam

# Longer than any header line.
_GAP_LIMIT = 1 << 16
_CURE = "fetch the FASTA file again, or remove its indices, which are then written anew"


class _Blocks:
    """Bytes of a bgzip file by their place in the decompressed text, through its `.gzi` index."""

    def __init__(self, file: BinaryIO, index: Path) -> None:
        content = index.read_bytes()
        (count,) = struct.unpack_from("<Q", content)
        pairs = np.frombuffer(content, dtype="<u8", offset=8).reshape(count, 2)
        self._at = [0, *pairs[:, 0].tolist()]  # where each block starts, compressed and decompressed
        self._before = [0, *pairs[:, 1].tolist()]
        self._file = file
        self._cached = -1
        self._text = b""

    def read(self, start: int, size: int) -> bytes:
        """Returns up to `size` bytes; fewer at the end of the text."""
        found = b""
        while len(found) < size:
            number = bisect.bisect_right(self._before, start + len(found)) - 1
            part = self._block(number)[start + len(found) - self._before[number] :]
            if not part:
                break
            found += part
        return found[:size]

    def _block(self, number: int) -> bytes:
        if number != self._cached:
            self._file.seek(self._at[number])
            # A block holds at most 64 kB, compressed or not; it begins with a gzip header (RFC 1952).
            self._text = zlib.decompressobj(wbits=31).decompress(self._file.read(1 << 16))
            self._cached = number
        return self._text


@dataclasses.dataclass(frozen=True)
class FastaIndex:
    """Where the index of a FASTA file lies.

    Attributes:
        fai: contigs.
        gzi: blocks, of a file compressed by bgzip; `None` of any other.
    """

    fai: Path
    gzi: Path | None

    @classmethod
    def beside(cls, path: Path, packed: bool) -> FastaIndex:
        """Returns where the index of a file lies by custom."""
        return cls(path.with_name(f"{path.name}.fai"), path.with_name(f"{path.name}.gzi") if packed else None)

    @property
    def files(self) -> list[Path]:
        """The files; the last one is written last."""
        return [self.fai] if self.gzi is None else [self.gzi, self.fai]


def find_index(path: Path, packed: bool) -> FastaIndex:
    """Finds the index of a FASTA file, beside it or, of a link, beside its target; else writes it beside it.

    An index that is older than the file may be another file's and is written anew. Where that is not allowed it
    is used if it fits: archives and copies do not always keep times.

    Args:
        path: FASTA file.
        packed: whether bgzip compressed it.

    Returns:
        The index, checked.

    Raises:
        DatasetError: the index is newer than the file, and is not its; or there is none that fits, and none can
            be written.
        pysam.SamtoolsError: the file cannot be indexed.
    """
    older: list[FastaIndex] = []
    for place in dict.fromkeys((path, path.resolve())):
        index = FastaIndex.beside(place, packed)
        if not all(file.is_file() for file in index.files):
            continue
        if min(file.stat().st_mtime for file in index.files) < path.stat().st_mtime:
            older.append(index)
            continue
        check_index(path, index)
        return index
    index = FastaIndex.beside(path, packed)
    try:
        write_index(path, index)
    except OSError as error:
        for other in older:
            with contextlib.suppress(DatasetError):
                check_index(path, other)
                return other
        raise DatasetError(
            f"{path}: has no index {'that fits' if older else 'yet'}, and none can be written beside it "
            f"({error.strerror}); run `samtools faidx` on it, in a folder that you may write (one with a "
            "link to it will do)"
        ) from error
    check_index(path, index)
    return index


def write_index(path: Path, index: FastaIndex) -> None:
    """Writes an index under other names and renames it, so that no other process reads a part.

    Args:
        path: FASTA file.
        index: what to write.

    Raises:
        OSError: the folder may not be written.
        pysam.SamtoolsError: the file cannot be indexed.
    """
    # Processes of other hosts may write it, too.
    partial = {file: file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.partial") for file in index.files}
    try:
        for file in partial.values():
            file.touch()  # samtools does not say why it cannot
        names = [name for file in index.files for name in (f"--{file.suffix[1:]}-idx", str(partial[file]))]
        pysam.faidx(*names, str(path))
        for file, written in partial.items():
            written.replace(file)
    finally:
        for written in partial.values():
            written.unlink(missing_ok=True)


def check_index(path: Path, index: FastaIndex) -> None:
    """Compares the FASTA file with its index: between two contigs lies the header of the second, no more.

    A few hundred bytes are read for each contig, among them the ends of its first and its last whole line. A
    file that was cut, replaced or wrapped in other lines, and a contig that comes twice, are found by that;
    other bases in lines of the same lengths are not.

    Args:
        path: FASTA file.
        index: its index.

    Raises:
        DatasetError: the index cannot be read, or is not that of the file.
    """
    rows = sorted(_read_rows(index.fai), key=lambda row: row[2])
    with path.open("rb") as file:
        try:
            blocks = None if index.gzi is None else _Blocks(file, index.gzi)

            def read(start: int, size: int) -> bytes:
                if blocks is not None:
                    return blocks.read(start, size)
                file.seek(start)
                return file.read(size)

            before = 0
            for contig, length, offset, line_bases, line_width in rows:
                gap = read(before, min(max(offset - before, 0), _GAP_LIMIT))
                header = re.fullmatch(rb"\s*>[ \t]*([^\s>]\S*)[^\r\n]*\r?\n\s*", gap)
                if header is None or header[1].decode(errors="replace") != contig:
                    _refuse(path, gap, contig, rows, index.fai)
                lines = max(0, length - 1) // max(line_bases, 1)  # whole ones before the last
                before = offset + lines * line_width + length - lines * line_bases
                if length and not read(before - 1, 1).strip():
                    raise DatasetError(
                        f"{path}: contig {contig} ends before the {length} bp that {index.fai.name} says; "
                        f"{_CURE}"
                    )
                blanks = line_width - line_bases
                for line in sorted({1, lines}) if lines else ():
                    end = read(offset + line * line_width - blanks - 1, max(0, blanks) + 2)
                    if not re.fullmatch(rb"\S\s+\S", end):
                        raise DatasetError(
                            f"{path}: contig {contig} does not lie in lines of {line_bases} bp, as "
                            f"{index.fai.name} says; {_CURE}"
                        )
            rest = read(before, _GAP_LIMIT)
        except DatasetError:
            raise
        except (OSError, ValueError, struct.error, zlib.error) as error:
            raise DatasetError(f"{path}: does not fit its index ({error}); {_CURE}") from error
    if rest.strip():
        _refuse(path, rest, None, rows, index.fai)


def _refuse(
    path: Path, gap: bytes, contig: str | None, rows: list[tuple[str, int, int, int, int]], fai: Path
) -> None:
    """Raises what is wrong where another thing than the contig's header lies."""
    header = re.match(rb"\s*>[ \t]*(\S+)", gap)
    name = header[1].decode(errors="replace") if header else None
    if name is not None and name != contig and name in {row[0] for row in rows}:
        raise DatasetError(f"{path}: contig {name} comes twice; remove one, or give it another name")
    fault = find_fault(path)
    if fault is not None:
        raise DatasetError(f"{path}: cannot be indexed as FASTA: {fault}")
    where = "the last contig is longer" if contig is None else f"contig {contig} is not where it says"
    raise DatasetError(f"{path}: is not what {fai.name} was made of: {where}; {_CURE}")


def _read_rows(index: Path) -> Iterator[tuple[str, int, int, int, int]]:
    # htslib knows no line ends of old Macs, and no byte-order mark.
    text = index.read_bytes().decode(errors="replace")
    if not text.strip():
        raise DatasetError(f"{index}: is empty; remove it, it is then written anew")
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        cells = line.removesuffix("\r").split("\t")
        if len(cells) != 5 or not all(cell.isdecimal() for cell in cells[1:]):
            raise DatasetError(f"{index}: line {number}: {line[:80]!r} is no line of an index; remove the file")
        length, offset, line_bases, line_width = map(int, cells[1:])
        yield cells[0], length, offset, line_bases, line_width


def find_fault(path: Path) -> str | None:
    """Reads a FASTA file that cannot be indexed, up to the line that makes it so.

    Args:
        path: the file.

    Returns:
        What is wrong and the cure; None where nothing was found.
    """
    contig, width, short, number = "", 0, 0, 0
    try:
        layout = find_foreign_layout(path)
        if layout is not None:
            return layout
        with open_binary(path) as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if text.startswith(b">"):
                    if contig and not width:
                        return f"line {number}: contig {contig} before it has no sequence; remove it"
                    contig, width, short = (
                        text[1:].split()[0].decode(errors="replace") if text[1:] else "",
                        0,
                        0,
                    )
                    if not contig:
                        return f"line {number}: a header without a name; name the contig after `>`"
                elif text and not contig:
                    begin = text[:20].decode(errors="replace")
                    return f"line {number}: {begin!r} stands before any `>` header; give a FASTA file"
                elif text and short:
                    return (
                        f"line {short}: of contig {contig} is not as long as the lines around it; write the "
                        "contig in lines of one length (`samtools faidx` and `seqkit seq -w 60` say how)"
                    )
                else:
                    width = width or len(text)
                    short = 0 if len(text) == width else number
    except (OSError, EOFError, zlib.error) as error:
        return f"line {number + 1}: cannot be read ({error}); fetch the file again"
    if not number:
        return "is empty; fetch it again"
    if not contig:
        return "holds no sequence; give a FASTA file with `>` records"
    return None if width else f"line {number}: contig {contig} has no sequence; remove it"
