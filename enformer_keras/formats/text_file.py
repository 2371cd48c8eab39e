"""Opening of text files: plain, gzip or bgzip, with line ends of any system and a byte-order mark or none."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from enformer_keras.formats.errors import DatasetError

# What reading a text file raises that is cut, damaged, or none.
UNREADABLE = (OSError, EOFError, UnicodeDecodeError, zlib.error)
_GZIP_MAGIC = bytes.fromhex("1f8b")  # RFC 1952
# Looked at where a file may have another layout.
_BEGIN_BYTES = 1 << 16
# The empty block that ends every bgzip file (SAM specification, section 4.1.2).
_LAST_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def is_packed(path: Path) -> bool:
    """Says whether gzip or bgzip compressed a file: by how it begins, as names at times say otherwise."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def suffix_of(path: Path) -> str:
    """Returns the last suffix of a name, lower case, without that of gzip or bgzip."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in (".gz", ".bgz") else name.suffix


def is_in_blocks(path: Path) -> bool:
    """Says whether bgzip compressed a file: in blocks, of which htslib reads single ones."""
    with path.open("rb") as file:
        begin = file.read(18)
    return begin[:4] == _LAST_BLOCK[:4] and begin[12:14] == b"BC"


def check_last_block(path: Path) -> None:
    """Checks that a file that bgzip compressed ends as it must: cut between blocks, it is valid gzip.

    Args:
        path: a file; one of another format is passed over.

    Raises:
        DatasetError: the last block is missing.
    """
    if not is_in_blocks(path):
        return
    with path.open("rb") as file:
        file.seek(max(file.seek(0, io.SEEK_END) - len(_LAST_BLOCK), 0))
        if file.read() != _LAST_BLOCK:
            raise DatasetError(
                f"{path}: is cut: the empty block that ends a bgzip file is missing; fetch or compress it again"
            )


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """Opens a file, decompressed where gzip or bgzip compressed it."""
    with gzip.open(path, "rb") if is_packed(path) else path.open("rb") as file:
        yield file


def find_foreign_layout(path: Path) -> str | None:
    """Looks at the first lines of a file for what htslib, unlike `open_text`, does not read.

    Args:
        path: the file, plain or compressed.

    Returns:
        The first line that is so, what it has, and the cure; None where nothing was found.
    """
    with open_binary(path) as file:
        begin = file.read(_BEGIN_BYTES)
    if begin.startswith(codecs.BOM_UTF8):
        return "line 1: begins with a byte-order mark; remove it (`sed '1s/^\\xef\\xbb\\xbf//'`)"
    lines, alone, _ = begin.replace(b"\r\n", b"\n").partition(b"\r")
    if alone:
        number = lines.count(b"\n") + 1
        return f"line {number}: ends in CR alone, as on old Macs; write the file with LF (`tr '\\r' '\\n'`)"
    return None


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Opens a UTF-8 text file, decompressed where gzip or bgzip compressed it.

    Lines may end as those of Unix, DOS or old Macs do. A byte-order mark, as spreadsheets and some editors
    write it, is left out.

    Raises:
        DatasetError: the file was compressed by bgzip and is cut.
    """
    check_last_block(path)
    with open_binary(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        yield text


def read_text(path: Path) -> str:
    """Reads a small UTF-8 text file (see `open_text`).

    Raises:
        DatasetError: the file is missing or cannot be read.
    """
    try:
        with open_text(path) as file:
            return file.read()
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; correct the path, or fetch or write the file") from None
    except UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a readable UTF-8 text file") from error
