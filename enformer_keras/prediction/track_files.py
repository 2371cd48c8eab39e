"""Files of predicted tracks, written as the predictions come: bigWig, bedGraph, HDF5 or npz.

All appear whole, by a rename, or not at all.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.hdf5_file import Hdf5Output
from enformer_keras.formats.safe_names import safe_names
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.predictor import PredictedTrack
from enformer_keras.prediction.row_files import said_of
from enformer_keras.prediction.tiling import Tile
from enformer_keras.prediction.windows import Frame

# Beside files that hold numbers alone.
DESCRIPTION = "predict.json"
# Tracks of a chunk of HDF5: one track can be read without all others.
CHUNK_TRACKS = 64
# libBigWig names contigs in the order given, in leaves of so many: of several leaves, readers that trust in
# sorted names find nothing.
_MOST_CONTIGS = 0x7FFF


class TrackFiles(abc.ABC):
    """Files of one format that are being written."""

    @abc.abstractmethod
    def append(self, tile: Tile, bins: np.ndarray) -> None:
        """Writes the next tile.

        Args:
            tile: where the bins lie.
            bins: of the whole tile, float32 [bins, tracks].
        """

    def finish(self) -> None:  # noqa: B027 (most formats need nothing)
        """Writes what comes after the last tile."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the files, finished or not."""


class BigWigs(TrackFiles):
    """A bigWig for each track: bins that were not asked for are gaps; zoom levels are there.

    Args:
        paths: of each track.
        contig_lengths: contig -> bp, in the genome's order, as are the tiles.
        bin_size: bp.

    Raises:
        DatasetError: a file cannot be written, or the genome has more contigs than a bigWig can name.
        OSError: a file cannot be written.
    """

    def __init__(self, paths: Sequence[Path], contig_lengths: Mapping[str, int], bin_size: int) -> None:
        self._bin_size = bin_size
        self._covered = 0
        self._files = [(path, open_bigwig(path, contig_lengths)) for path in paths]

    def append(self, tile: Tile, bins: np.ndarray) -> None:
        """Writes the bins of each run; the last one where the contig's end cuts it as an entry of its own.

        Args:
            tile: where the bins lie; after those that were written before.
            bins: float32 [bins, tracks].

        Raises:
            DatasetError: a file cannot be written.
        """
        size = self._bin_size
        for place, run in tile.stretches(size):
            values = bins[run]
            whole, rest = divmod(place.width, size)
            self._covered += place.width
            for track, (path, file) in enumerate(self._files):
                column = np.ascontiguousarray(values[:, track])
                try:
                    if whole:
                        file.addEntries(
                            place.chrom,
                            place.start,
                            values=column[:whole],
                            span=size,
                            step=size,
                            validate=False,
                        )
                    if rest:
                        start = place.end - rest
                        file.addEntries([place.chrom], [start], ends=[place.end], values=[float(column[whole])])
                except RuntimeError as error:
                    raise DatasetError(f"{path}: cannot be written; is the disk full?") from error

    def finish(self) -> None:
        """Writes indices and zoom levels, and looks whether all arrived: libBigWig tells of no full disk."""
        while self._files:
            path, file = self._files.pop()
            file.close()
            check_whole(path, self._covered)

    def close(self) -> None:
        """Closes what is open yet."""
        while self._files:
            self._files.pop()[1].close()


def open_bigwig(path: Path, contig_lengths: Mapping[str, int]) -> Any:
    """Opens a bigWig to be written, and names the contigs in it.

    Raises:
        DatasetError: it cannot be written, or the genome has more contigs than a bigWig can name.
        OSError: it cannot be written.
    """
    with from_extra("genome"):
        import pyBigWig

    if len(contig_lengths) > _MOST_CONTIGS:
        raise DatasetError(
            f"the genome has {len(contig_lengths)} contigs, readers of bigWig take {_MOST_CONTIGS}; choose h5 "
            "or bedgraph as the format"
        )
    path.open("wb").close()  # libBigWig ends the process where it cannot
    try:
        file = pyBigWig.open(str(path), "w")
        file.addHeader(list(contig_lengths.items()))
    except RuntimeError as error:
        raise DatasetError(f"{path}: cannot be written; give a folder with room on its disk") from error
    return file


def check_whole(path: Path, covered: int) -> None:
    """Checks that a bigWig covers as many bp as were written.

    Raises:
        DatasetError: it does not.
    """
    with from_extra("genome"):
        import pyBigWig

    with contextlib.suppress(RuntimeError), contextlib.closing(pyBigWig.open(str(path))) as written:
        if written.header()["nBasesCovered"] == covered:
            return
    raise DatasetError(f"{path}: was not written whole; is the disk full?")


class BedGraphs(TrackFiles):
    """A bedGraph for each track, a line for each bin; compressed by bgzip where the name ends in `.gz`.

    Args:
        paths: of each track.
        bin_size: bp.
    """

    def __init__(self, paths: Sequence[Path], bin_size: int) -> None:
        self._bin_size = bin_size
        self._open = contextlib.ExitStack()
        self._files = [self._open.enter_context(_open_bytes(path)) for path in paths]

    def append(self, tile: Tile, bins: np.ndarray) -> None:
        """Writes the bins of each run."""
        size = self._bin_size
        for place, run in tile.stretches(size):
            begins = range(place.start, place.end, size)
            places = [f"{place.chrom}\t{begin}\t{min(begin + size, place.end)}" for begin in begins]
            for track, file in enumerate(self._files):
                values = bins[run, track].tolist()
                lines = [f"{where}\t{value:.9g}\n" for where, value in zip(places, values, strict=True)]
                file.write("".join(lines).encode())

    def close(self) -> None:
        """Closes the files."""
        self._open.close()


def _open_bytes(path: Path) -> Any:
    if path.suffix != ".gz":
        return path.open("wb")
    with from_extra("genome"):
        import pysam

    return pysam.BGZFile(str(path), "wb", index=None)


class Hdf5(TrackFiles):
    """`predict.h5`: a row for each window.

    `preds` float32 [windows, bins, tracks]; `chrom`, `start` and `end` [windows] of the bins, 0-based half-open
    along the forward strand; `target_ids` and `target_labels` [tracks]. Bins beyond the contig's end are NaN
    where the rows are tiles of a contig. The file's attributes say how the predictions were made.

    Args:
        path: the file.
        rows: how many windows there will be.
        tracks: the columns.
        frame: the model's.
        about: how the predictions were made.
    """

    def __init__(
        self, path: Path, rows: int, tracks: Sequence[PredictedTrack], frame: Frame, about: Mapping[str, Any]
    ) -> None:
        import h5py

        self._bin_size = frame.bin_size
        self._output = Hdf5Output(path)
        self._file = h5py.File(self._output, "w")
        text = h5py.string_dtype("utf-8")
        shape = rows, frame.target_length, len(tracks)
        chunks = 1, frame.target_length, min(len(tracks), CHUNK_TRACKS)
        self._file.create_dataset("preds", shape, chunks=chunks, dtype=np.float32)
        self._file.create_dataset("chrom", (rows,), dtype=text)
        self._file.create_dataset("start", (rows,), dtype=np.int64)
        self._file.create_dataset("end", (rows,), dtype=np.int64)
        self._file.create_dataset("target_ids", data=[track.identifier for track in tracks], dtype=text)
        self._file.create_dataset("target_labels", data=[track.description for track in tracks], dtype=text)
        self._file.attrs.update(said_of({**about, "bin_size": frame.bin_size}))
        self._row = 0

    def append(self, tile: Tile, bins: np.ndarray) -> None:
        """Writes a row."""
        self._file["preds"][self._row] = _on_contig(tile, bins, self._bin_size)
        for key in ("chrom", "start", "end"):
            self._file[key][self._row] = getattr(tile.target, key)
        self._row += 1
        self._output.check()

    def finish(self) -> None:
        """Closes the file, and looks whether all of it was written."""
        self.close()
        self._output.check()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._output.close()


class Npz(TrackFiles):
    """`predict.npz`: the arrays of `predict.h5`, and `about`, a text in JSON; for `numpy.load`.

    Args: those of `Hdf5`.
    """

    def __init__(
        self, path: Path, rows: int, tracks: Sequence[PredictedTrack], frame: Frame, about: Mapping[str, Any]
    ) -> None:
        self._bin_size = frame.bin_size
        self._zip = zipfile.ZipFile(path, "w", allowZip64=True)
        self._places: list[tuple[str, int, int]] = []
        self._arrays = {
            "target_ids": np.array([track.identifier for track in tracks]),
            "target_labels": np.array([track.description for track in tracks]),
            "about": np.array(json.dumps({**about, "bin_size": frame.bin_size})),
        }
        # An array of known shape needs not be in memory to be written.
        self._preds = self._zip.open(_without_time("preds.npy"), "w", force_zip64=True)
        shape = (rows, frame.target_length, len(tracks))
        np.lib.format.write_array_header_2_0(
            self._preds, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )

    def append(self, tile: Tile, bins: np.ndarray) -> None:
        """Writes a row."""
        self._preds.write(_on_contig(tile, bins, self._bin_size).astype("<f4").tobytes())
        self._places.append((tile.target.chrom, tile.target.start, tile.target.end))

    def finish(self) -> None:
        """Writes where the rows lie."""
        self._preds.close()
        places = zip(*self._places, strict=True) if self._places else ([], [], [])
        arrays = dict(zip(("chrom", "start", "end"), map(np.array, places), strict=True)) | self._arrays
        for name, array in arrays.items():
            with self._zip.open(_without_time(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)

    def close(self) -> None:
        """Closes the file."""
        self._preds.close()
        self._zip.close()


def _without_time(name: str) -> zipfile.ZipInfo:
    """Names a file of an archive whose bytes do not depend on when it is written."""
    return zipfile.ZipInfo(name)


def _on_contig(tile: Tile, bins: np.ndarray, bin_size: int) -> np.ndarray:
    """Returns bins, those wholly beyond the target's end NaN."""
    inside = -(-tile.target.width // bin_size)
    if inside == len(bins):
        return bins
    found = bins.copy()
    found[inside:] = np.nan
    return found


# Format -> ending of a file for each track, or name of one file.
_ENDINGS: Mapping[str, str] = {"bigwig": ".bw", "bedgraph": ".bedGraph", "bedgraph.gz": ".bedGraph.gz"}
_NAMES: Mapping[str, str] = {"h5": "predict.h5", "npz": "predict.npz"}
_ROWS: Mapping[str, type[Hdf5] | type[Npz]] = {"h5": Hdf5, "npz": Npz}
FORMATS = (*_ENDINGS, *_NAMES)


def takes_overlaps(kind: str) -> bool:
    """Says whether a format may hold a bp more than once, as windows about centres do."""
    return kind in _NAMES


def file_names(formats: Sequence[str], tracks: Sequence[PredictedTrack] | None) -> dict[str, list[str]]:
    """Returns format -> names of its files, of one for each track in the tracks' order, and the description's.

    Args:
        formats: of `FORMATS`.
        tracks: those written; `None`, where they are not known yet: only files of all tracks are named.
    """
    stems = safe_names([t.identifier for t in tracks], [t.index for t in tracks]) if tracks else []
    names = {
        kind: [_NAMES[kind]] if kind in _NAMES else [f"{stem}{_ENDINGS[kind]}" for stem in stems]
        for kind in dict.fromkeys(formats)
    }
    return names if names.keys() <= _NAMES.keys() else names | {"description": [DESCRIPTION]}


@contextlib.contextmanager
def write_tracks(
    folder: Path,
    formats: Sequence[str],
    tracks: Sequence[PredictedTrack],
    frame: Frame,
    contig_lengths: Mapping[str, int],
    rows: int,
    about: Mapping[str, Any],
) -> Iterator[Callable[[Tile, np.ndarray], None]]:
    """Writes files of predictions; beside bigWig and bedGraph `predict.json` says how they were made.

    All are written beside their places and renamed at the end, so that an error leaves none of them.

    Args:
        folder: where to; made if it is missing. Files of these names in it are replaced.
        formats: of `FORMATS`. bigWig and bedGraph need tiles of contigs' grids.
        tracks: those written.
        frame: the model's.
        contig_lengths: contig -> bp, in the genome's order.
        rows: how many tiles there will be.
        about: how the predictions were made: text, numbers, or what JSON holds.

    Yields:
        What is called with the next tile and its bins, float32 [bins, tracks].

    Raises:
        DatasetError: a file cannot be written; more would be open than the system allows.
        OSError: a file cannot be written.
    """
    names = file_names(formats, tracks)
    _allow_open_files(sum(len(some) for some in names.values()))
    with (
        whole_files(folder, [name for some in names.values() for name in some]) as partial,
        contextlib.ExitStack() as opened,
    ):
        files: list[TrackFiles] = []

        def add(file: TrackFiles) -> None:
            files.append(opened.enter_context(contextlib.closing(file)))

        for kind, some in names.items():
            paths = [partial[name] for name in some]
            if kind == "bigwig":
                add(BigWigs(paths, contig_lengths, frame.bin_size))
            elif kind in _ENDINGS:
                add(BedGraphs(paths, frame.bin_size))
            elif kind in _ROWS:
                add(_ROWS[kind](paths[0], rows, tracks, frame, about))
            else:
                description = _describe(names, tracks, frame, about)
                paths[0].write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

        def append(tile: Tile, bins: np.ndarray) -> None:
            for file in files:
                file.append(tile, bins)

        yield append
        for file in files:
            file.finish()


def _describe(
    names: Mapping[str, Sequence[str]],
    tracks: Sequence[PredictedTrack],
    frame: Frame,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        **about,
        "bin_size": frame.bin_size,
        "units": f"{about.get('values', 'as predicted')}, per bin of {frame.bin_size} bp",
        "coordinates": "0-based half-open, forward strand; bins begin at multiples of the bin size",
        "tracks": [
            {
                **dataclasses.asdict(track),
                "files": [names[kind][at] for kind in names if kind in _ENDINGS],
            }
            for at, track in enumerate(tracks)
        ],
    }


def _allow_open_files(count: int) -> None:
    from enformer_keras.formats.bigwig import allow_open_files

    try:
        allow_open_files(count)
    except DatasetError as error:
        raise DatasetError(
            f"{error}; or choose fewer --tracks, or h5 as the format, which is one file"
        ) from error
