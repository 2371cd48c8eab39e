"""Opening of text files that may be compressed by gzip or bgzip."""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from enformer_keras.formats.errors import DatasetError

# The empty block that ends every bgzip file (SAM specification, section 4.1.2).
_LAST_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def is_packed(path: Path) -> bool:
    """Says whether a file's name promises gzip or bgzip."""
    return path.suffix.lower() in (".gz", ".bgz")


def check_last_block(path: Path) -> None:
    """Checks that a file that bgzip compressed ends as it must: cut between blocks, it is valid gzip.

    Args:
        path: a file; one of another format is passed over.

    Raises:
        DatasetError: the last block is missing.
    """
    with path.open("rb") as file:
        begin = file.read(18)
        if begin[:4] != _LAST_BLOCK[:4] or begin[12:14] != b"BC":
            return
        file.seek(max(file.seek(0, io.SEEK_END) - len(_LAST_BLOCK), 0))
        if file.read() != _LAST_BLOCK:
            raise DatasetError(
                f"{path}: is cut: the empty block that ends a bgzip file is missing; fetch or compress it again"
            )


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """Opens a file, decompressed where its name ends in `.gz` or `.bgz`."""
    with gzip.open(path, "rb") if is_packed(path) else path.open("rb") as file:
        yield file


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Opens a UTF-8 text file, decompressed where its name ends in `.gz` or `.bgz`.

    Raises:
        DatasetError: the file was compressed by bgzip and is cut.
    """
    if is_packed(path):
        check_last_block(path)
    with open_binary(path) as file, io.TextIOWrapper(file, encoding="utf-8") as text:
        yield text


def read_text(path: Path) -> str:
    """Reads a small UTF-8 text file; a byte-order mark, as spreadsheets write it, is left out.

    Raises:
        DatasetError: the file is missing or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; correct the path, or fetch or write the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a readable UTF-8 text file") from error
