"""Files of contributions and of saturation mutagenesis, in layouts that others read, written as regions come.

All appear whole, by a rename, or not at all.
"""

from __future__ import annotations

import abc
import contextlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.hdf5_file import Hdf5Output, new_hdf5
from enformer_keras.formats.sequence import ALPHABET
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.contributions import Contributions
from enformer_keras.prediction.mutagenesis import Mutagenesis
from enformer_keras.prediction.row_files import said_of
from enformer_keras.prediction.statistics import formula_of

if TYPE_CHECKING:
    import h5py

    from enformer_keras.prediction.asking import PredictedTrack

# Format -> its files. Peaks are those of ENCODE's narrowPeak, whose summits are the regions' middles.
CONTRIBUTION_FILES = {
    "h5": ("contributions.h5", "regions.bed"),
    "npz": ("sequences.npz", "contributions.npz", "regions.bed"),
    "bigwig": ("contributions.bw",),
}
# How they were made; most of the formats cannot say it themselves.
ABOUT_FILE = "contributions.json"
MUTAGENESIS_FILES = {"h5": "ism.h5", "tsv": "ism.tsv"}
# Numbers of a chunk of HDF5.
_CHUNK_NUMBERS = 1 << 16


class _Writer(abc.ABC):
    """A file of contributions that is being written."""

    @abc.abstractmethod
    def append(self, made: Contributions) -> None:
        """Writes the next region."""

    def finish(self) -> dict[str, Any]:
        """Writes what comes last, and returns what is to be said of it."""
        return {}


class _Tree(_Writer):
    """`contributions.h5`: ChromBPNet's tree, which tfmodisco-lite and finemo read.

    `raw/seq` int8, the bases; `shap/seq` float32, hypothetical contributions; `projected_shap/seq` float32,
    those of the bases that are there: all [regions, 4, bp], A, C, G, T. Beside them `chrom`, `start`, `end`
    (0-based, half-open) and `value`, the number that is explained; of integrated gradients `baseline` and
    `total`.
    """

    def __init__(self, file: h5py.File, output: Hdf5Output, length: int, about: Mapping[str, Any]) -> None:
        self._file, self._output = file, output
        rows = max(1, _CHUNK_NUMBERS // (4 * length))
        for key, kind in (("raw", np.int8), ("shap", np.float32), ("projected_shap", np.float32)):
            file.create_dataset(
                f"{key}/seq",
                (0, 4, length),
                maxshape=(None, 4, length),
                chunks=(rows, 4, length),
                dtype=kind,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
        _add_columns(file, ("chrom", "start", "end", "value", "baseline", "total"))
        file.attrs.update(said_of(about))

    def append(self, made: Contributions) -> None:
        place = made.interval
        _append_row(
            self._file,
            {
                "raw/seq": made.one_hot,
                "shap/seq": made.hypothetical,
                "projected_shap/seq": made.projected,
                "chrom": place.chrom,
                "start": place.start,
                "end": place.end,
                "value": made.value,
                "baseline": made.baseline,
                "total": made.total,
            },
        )
        self._output.check()


class _Array:
    """A `.npz` file with one array, `arr_0`, written row by row."""

    def __init__(self, opened: contextlib.ExitStack, path: Path, shape: tuple[int, ...], kind: str) -> None:
        self._shape = shape
        self._rows = 0
        self._kind = np.dtype(kind)
        packed = opened.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1))
        self._file = opened.enter_context(packed.open("arr_0.npy", "w", force_zip64=True))
        header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(self._kind)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, row: np.ndarray) -> None:
        """Writes the next row."""
        self._file.write(np.ascontiguousarray(row, dtype=self._kind).tobytes())
        self._rows += 1

    def finish(self) -> None:
        """Checks that the array has its rows."""
        if self._rows != self._shape[0]:
            raise ValueError(f"{self._rows} regions came instead of {self._shape[0]}")


class _Arrays(_Writer):
    """`sequences.npz` (int8) and `contributions.npz` (float32, hypothetical): tfmodisco-lite's -s and -a."""

    def __init__(self, opened: contextlib.ExitStack, paths: Sequence[Path], shape: tuple[int, ...]) -> None:
        self._sequences, self._contributions = (
            _Array(opened, path, shape, kind) for path, kind in zip(paths, ("|i1", "<f4"), strict=True)
        )

    def append(self, made: Contributions) -> None:
        self._sequences.append(made.one_hot)
        self._contributions.append(made.hypothetical)

    def finish(self) -> dict[str, Any]:
        self._sequences.finish()
        self._contributions.finish()
        return {}


class _Peaks(_Writer):
    """`regions.bed`: the regions in the other files' order, ten columns as ENCODE's narrowPeak has them.

    finemo takes the last, the summit, for the middle of what it reads.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._rows = 0

    def append(self, made: Contributions) -> None:
        self._rows += 1
        place = made.interval
        value = "0" if np.isnan(made.value) else f"{made.value:.6g}"
        cells = (place.chrom, place.start, place.end, f"region_{self._rows}", 0, ".", value, -1, -1)
        self._file.write("\t".join(map(str, (*cells, place.width // 2))) + "\n")


class _Signal(_Writer):
    """`contributions.bw`: at each base of the regions what it contributes, in the order of the genome.

    Nothing stands where the genome has N. Of regions that overlap, a base has the value of the one that begins
    first; the values of the others are counted. Until all are there, they wait in a file without a name.
    """

    def __init__(
        self,
        opened: contextlib.ExitStack,
        path: Path,
        length: int,
        contig_lengths: Mapping[str, int],
    ) -> None:
        self._path = path
        self._length = length
        self._contig_lengths = contig_lengths
        self._numbers = {contig: number for number, contig in enumerate(contig_lengths)}
        self._places: list[tuple[int, int]] = []
        waiting = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed with the others)
        self._waiting: IO[bytes] = opened.enter_context(waiting)

    def append(self, made: Contributions) -> None:
        self._places.append((self._numbers[made.interval.chrom], made.interval.start))
        known = made.one_hot.any(axis=0)
        values = np.where(known, made.projected.sum(axis=0), np.nan)
        self._waiting.write(values.astype(np.float32).tobytes())

    def finish(self) -> dict[str, Any]:
        with from_extra("genome"):
            import pyBigWig

        contigs = list(self._contig_lengths)
        passed_over = 0
        last, covered = -1, 0
        file = pyBigWig.open(str(self._path), "w")
        try:
            file.addHeader(list(self._contig_lengths.items()))
            for row in sorted(range(len(self._places)), key=self._places.__getitem__):
                contig, start = self._places[row]
                self._waiting.seek(4 * self._length * row)
                values = np.frombuffer(self._waiting.read(4 * self._length), dtype=np.float32)
                if contig != last:
                    last, covered = contig, start
                seen = min(max(0, covered - start), self._length)
                passed_over += seen
                known = np.isfinite(values)
                known[:seen] = False
                borders = np.flatnonzero(np.diff(known, prepend=False, append=False)).reshape(-1, 2)
                for first, end in borders.tolist():
                    run = values[first:end].astype(np.float64)
                    file.addEntries(contigs[contig], start + first, values=run, span=1, step=1)
                covered = max(covered, start + self._length)
        finally:
            file.close()
        return {"bases_of_overlaps_passed_over_in_bigwig": passed_over}


@contextlib.contextmanager
def write_contributions(
    folder: Path,
    formats: Sequence[str],
    count: int,
    length: int,
    contig_lengths: Mapping[str, int],
    about: Mapping[str, Any],
) -> Iterator[Callable[[Contributions], None]]:
    """Writes files of contributions, and `contributions.json`, which says how they were made.

    Args:
        folder: where to; made if it is missing. Files of these names in it are replaced.
        formats: of `CONTRIBUTION_FILES`.
        count: how many regions come.
        length: bp of each.
        contig_lengths: of the genome, in the order of its file.
        about: how they were made: text, numbers, or what JSON holds.

    Yields:
        What is called with the next region's contributions.

    Raises:
        ValueError: a region has another length, or their number is another.
        OSError: a file cannot be written.
    """
    names = list(dict.fromkeys(name for kind in formats for name in CONTRIBUTION_FILES[kind]))
    with whole_files(folder, [*names, ABOUT_FILE]) as partial:
        errors: list[float] = []
        done = 0
        more: dict[str, Any] = {}
        with contextlib.ExitStack() as opened:
            writers: list[_Writer] = []
            if "h5" in formats:
                file, output = opened.enter_context(new_hdf5(partial["contributions.h5"]))
                writers.append(_Tree(file, output, length, about))
            if "npz" in formats:
                paths = [partial[name] for name in CONTRIBUTION_FILES["npz"][:2]]
                writers.append(_Arrays(opened, paths, (count, 4, length)))
            if "regions.bed" in names:
                writers.append(_Peaks(opened.enter_context(partial["regions.bed"].open("w", encoding="utf-8"))))
            if "bigwig" in formats:
                writers.append(_Signal(opened, partial["contributions.bw"], length, contig_lengths))

            def append(made: Contributions) -> None:
                nonlocal done, errors
                if made.interval.width != length:
                    raise ValueError(
                        f"{made.interval} has {made.interval.width} bp, the first region {length}; files of "
                        "contributions hold regions of one length: cut them to one"
                    )
                for writer in writers:
                    writer.append(made)
                done += 1
                if not np.isnan(made.total):
                    total, largest = errors or (0.0, 0.0)
                    errors = [total + made.completeness_error, max(largest, made.completeness_error)]

            yield append
            for writer in writers:
                more |= writer.finish()
        if errors:
            more["completeness_error"] = {"mean": errors[0] / done, "largest": errors[1]}
        partial[ABOUT_FILE].write_text(
            json.dumps({**about, "regions": done, **more}, indent=2) + "\n", encoding="utf-8"
        )


class _EffectsTree:
    """`ism.h5`: of each statistic float32 [regions, bp, 4, tracks], with its `formula` as an attribute.

    The third axis is the base that is put there: A, C, G, T; the genome's own has 0, N NaN. Of deletions
    [regions, places, tracks]. Of screened substitutions those with small estimates are NaN, and the estimates
    are there as `<statistic>_first_order`. Beside them `sequence`, `chrom`, `start`, `end` (0-based,
    half-open), `target_ids` and `target_labels`.
    """

    def __init__(
        self,
        file: h5py.File,
        output: Hdf5Output,
        tracks: Sequence[PredictedTrack],
        about: Mapping[str, Any],
        effects: Mutagenesis,
    ) -> None:
        import h5py

        self._file, self._output = file, output
        text = h5py.string_dtype("utf-8")
        file.create_dataset("target_ids", data=[track.identifier for track in tracks], dtype=text)
        file.create_dataset("target_labels", data=[track.description for track in tracks], dtype=text)
        _add_columns(file, ("chrom", "start", "end", "sequence"))
        for name, values in effects.named.items():
            dataset = file.create_dataset(
                name,
                (0, *values.shape),
                maxshape=(None, *values.shape),
                chunks=(1, min(len(values), max(1, _CHUNK_NUMBERS // values[0].size)), *values.shape[1:]),
                dtype=np.float32,
            )
            dataset.attrs["formula"] = formula_of(name)
        file.attrs.update(said_of(about))

    def append(self, made: Mutagenesis) -> None:
        """Writes the next region, which is as long as the first."""
        place = made.interval
        row = {"chrom": place.chrom, "start": place.start, "end": place.end, "sequence": made.sequence}
        _append_row(self._file, {**row, **made.named})
        self._output.check()


class _EffectsTable:
    """`ism.tsv`: a row for each substitution, or deletion, and a column for each statistic and track.

    `region` and `pos` are 1-based, `pos` of the first base that changes; `alt` of a deletion is `-`. Lines that
    begin with `##` say how the numbers were made.
    """

    def __init__(
        self,
        file: TextIO,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        deletion: int | None,
    ) -> None:
        self._file = file
        self._deletion = deletion
        for key, value in said_of(about).items():
            file.write(f"##{key}={value}\n")
        for name in statistics:
            file.write(f"##{name}={formula_of(name)}\n")
        columns = [f"{name}:{track.identifier}" for name in statistics for track in tracks]
        file.write("\t".join(["region", "chrom", "pos", "ref", "alt", *columns]) + "\n")

    def append(self, made: Mutagenesis) -> None:
        """Writes the next region."""
        place = made.interval
        values = np.concatenate(list(made.named.values()), axis=-1)
        region = f"{place.chrom}:{place.start + 1}-{place.end}"
        if self._deletion is not None:
            values = values[:, np.newaxis]
        bases, alternates = (1, [*ALPHABET]) if self._deletion is None else (self._deletion, ["-"])
        for at, of_place in enumerate(values):
            reference = made.sequence[at : at + bases]
            for alternate, row in zip(alternates, of_place, strict=True):
                if alternate == reference:
                    continue
                cells = [region, place.chrom, str(place.start + at + 1), reference, alternate]
                # As many digits as tell float32 apart.
                self._file.write("\t".join([*cells, *("" if np.isnan(x) else f"{x:.9g}" for x in row)]) + "\n")


@contextlib.contextmanager
def write_mutagenesis(
    folder: Path,
    formats: Sequence[str],
    tracks: Sequence[PredictedTrack],
    statistics: Sequence[str],
    about: Mapping[str, Any],
    deletion: int | None = None,
) -> Iterator[Callable[[Mutagenesis], None]]:
    """Writes files of saturation mutagenesis.

    Args:
        folder: where to; made if it is missing. Files of these names in it are replaced.
        formats: of `MUTAGENESIS_FILES`.
        tracks: the last axis.
        statistics: in their order.
        about: how the effects were made: text, numbers, or what JSON holds.
        deletion: bp of the deletions; `None`: bases were substituted.

    Yields:
        What is called with the next region's effects.

    Raises:
        ValueError: regions of several lengths go into `ism.h5`.
        OSError: a file cannot be written.
    """
    with (
        whole_files(folder, [MUTAGENESIS_FILES[kind] for kind in formats]) as partial,
        contextlib.ExitStack() as opened,
    ):
        tree: _EffectsTree | None = None
        table: _EffectsTable | None = None
        width = 0
        if "tsv" in formats:
            text = opened.enter_context(partial["ism.tsv"].open("w", encoding="utf-8"))
            table = _EffectsTable(text, tracks, statistics, about, deletion)

        def append(made: Mutagenesis) -> None:
            nonlocal tree, width
            if "h5" in formats:
                if tree is None:
                    width = made.interval.width
                    file, output = opened.enter_context(new_hdf5(partial["ism.h5"]))
                    tree = _EffectsTree(file, output, tracks, about, made)
                if made.interval.width != width:
                    raise ValueError(
                        f"{made.interval} has {made.interval.width} bp, the first region {width}; ism.h5 holds "
                        "regions of one length: cut them to one, or write a table"
                    )
                tree.append(made)
            if table is not None:
                table.append(made)

        yield append


def _add_columns(file: h5py.File, keys: Sequence[str]) -> None:
    """Adds empty columns, a row for each region."""
    import h5py

    kinds = {"chrom": h5py.string_dtype("utf-8"), "sequence": h5py.string_dtype("utf-8")}
    kinds |= {"start": np.int64, "end": np.int64}
    for key in keys:
        file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=kinds.get(key, np.float64))


def _append_row(file: h5py.File, row: Mapping[str, Any]) -> None:
    for key, value in row.items():
        dataset = file[key]
        dataset.resize(len(dataset) + 1, axis=0)
        dataset[-1] = value
