"""Files of rows that are written as they come: what each row is, and a value for each of its tracks."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from enformer_keras.formats.hdf5_file import Hdf5Output, new_hdf5
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.asking import PredictedTrack

if TYPE_CHECKING:
    import h5py

ROW_FORMATS = ("h5", "tsv")
# Rows of a chunk of HDF5: of numbers for each track, and of one thing.
_CHUNK_ROWS = 64
_CHUNK_CELLS = 4096

# Called with the next rows: what they are, [rows] each, and their values, float32 [rows, tracks] each.
Append = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], None]


def cell(value: str | float) -> str:
    """Writes a cell of a table: nothing for NaN, else as many digits as tell float32 apart."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return str(value)


def said_of(about: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Returns what a file says of how it was made; what is neither text nor number as JSON."""
    return {
        key: value if isinstance(value, str | int | float) else json.dumps(value)
        for key, value in about.items()
    }


@contextlib.contextmanager
def write_rows(
    folder: Path,
    stem: str,
    formats: Sequence[str],
    columns: Mapping[str, type],
    tracks: Sequence[PredictedTrack],
    formulas: Mapping[str, str],
    about: Mapping[str, Any],
    *,
    fixed: Mapping[str, Sequence[str]] | None = None,
    wide: Mapping[str, tuple[tuple[int, ...], type]] | None = None,
    only_in_table: Sequence[str] = (),
) -> Iterator[Append]:
    """Writes rows to HDF5 and to a table, beside their places; at the end they are renamed.

    HDF5 has a dataset [rows] for each column, `target_ids` and `target_labels` [tracks], and for each kind of
    value a float32 dataset [rows, tracks] with its `formula` as an attribute; the file's attributes say how it
    was made. The table has a line for each row, after lines that begin with `##` and say the same.

    Args:
        folder: where to; made if it is missing.
        stem: of the files' names.
        formats: of `ROW_FORMATS`.
        columns: name -> type of what each row is.
        tracks: of the values.
        formulas: name of each kind of value -> its formula.
        about: how the file was made: text, numbers, or what JSON holds.
        fixed: name -> texts that HDF5 holds as well.
        wide: name -> shape and type of the rows of further datasets of HDF5; they are given with the columns,
            and need not be as many.
        only_in_table: columns that HDF5 does not hold.

    Yields:
        What is called with the next rows.

    Raises:
        OSError: a file cannot be written.
    """
    with (
        whole_files(folder, [f"{stem}.{kind}" for kind in formats]) as partial,
        contextlib.ExitStack() as opened,
    ):
        appends: list[Append] = []
        for kind in dict.fromkeys(formats):
            path = partial[f"{stem}.{kind}"]
            if kind == "h5":
                hdf5, output = opened.enter_context(new_hdf5(path))
                held = {name: kind for name, kind in columns.items() if name not in only_in_table}
                appends.append(
                    _begin_hdf5(hdf5, output, held, tracks, formulas, about, fixed or {}, wide or {})
                )
            else:
                text = opened.enter_context(path.open("w", encoding="utf-8"))
                appends.append(_begin_table(text, columns, tracks, formulas, about))

        def append(cells: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
            for each in appends:
                each(cells, values)

        yield append


def _begin_hdf5(
    file: h5py.File,
    output: Hdf5Output,
    columns: Mapping[str, type],
    tracks: Sequence[PredictedTrack],
    formulas: Mapping[str, str],
    about: Mapping[str, Any],
    fixed: Mapping[str, Sequence[str]],
    wide: Mapping[str, tuple[tuple[int, ...], type]],
) -> Append:
    import h5py

    text = h5py.string_dtype("utf-8")
    for name, kind in columns.items():
        dtype = text if kind is str else kind
        file.create_dataset(name, (0,), maxshape=(None,), chunks=(_CHUNK_CELLS,), dtype=dtype)
    for name, texts in fixed.items():
        file.create_dataset(name, data=list(texts), dtype=text)
    for name, (rest, kind) in wide.items():
        file.create_dataset(
            name, (0, *rest), maxshape=(None, *rest), chunks=(1, *rest), dtype=kind, compression="gzip"
        )
    file.create_dataset("target_ids", data=[track.identifier for track in tracks], dtype=text)
    file.create_dataset("target_labels", data=[track.description for track in tracks], dtype=text)
    for name, formula in formulas.items():
        shape, chunks = (0, len(tracks)), (_CHUNK_ROWS, len(tracks))
        file.create_dataset(name, shape, maxshape=(None, len(tracks)), chunks=chunks, dtype=np.float32)
        file[name].attrs["formula"] = formula
    file.attrs.update(said_of(about))

    def append(cells: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
        for name, rows in {**cells, **values}.items():
            if name not in file:
                continue
            start = len(file[name])
            file[name].resize(start + len(rows), axis=0)
            file[name][start:] = rows
        output.check()

    return append


def _begin_table(
    file: TextIO,
    columns: Mapping[str, type],
    tracks: Sequence[PredictedTrack],
    formulas: Mapping[str, str],
    about: Mapping[str, Any],
) -> Append:
    for key, value in {**said_of(about), **formulas}.items():
        file.write(f"##{key}={value}\n")
    header = [f"{name}:{track.identifier}" for name in formulas for track in tracks]
    file.write("\t".join([*columns, *header]) + "\n")

    def append(cells: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
        numbers = np.concatenate([values[name] for name in formulas], axis=1).tolist()
        for *said, row in zip(*(cells[name] for name in columns), numbers, strict=True):
            file.write("\t".join(map(cell, [*said, *row])) + "\n")

    return append
