"""Files of variant scores, written as the scores come: HDF5 with basenji's keys, or a table.

Both appear whole, by a rename, or not at all.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.predictor import PredictedTrack, VariantScores
from enformer_keras.prediction.row_files import cell, said_of
from enformer_keras.prediction.statistics import FORMULAS

if TYPE_CHECKING:
    import h5py

# Rows of a chunk of HDF5.
_CHUNK_ROWS = 64


class ScoreFile(abc.ABC):
    """A file of scores that is being written.

    Attributes:
        name: of the file in its folder.
    """

    name: str

    @abc.abstractmethod
    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles."""


class _Hdf5(ScoreFile):
    """`scores.h5`, with the keys of basenji's `sad.h5`.

    `snp`, `chr`, `pos` (uint32, 1-based), `ref_allele` and `alt_allele` (also as `ref` and `alt`, the keys of
    the authors' published files) and `status` [alleles]; `target_ids` and `target_labels` [tracks]; and of each
    statistic a float32 dataset [alleles, tracks], NaN where an allele was not scored, with its `formula` as an
    attribute. What else is known of each row (`VariantScores.further`) is [alleles] under its own name. The
    file's attributes say how the scores were made.
    """

    name = "scores.h5"

    def __init__(
        self,
        file: h5py.File,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        further: Mapping[str, type],
    ) -> None:
        import h5py

        self._file = file
        text = h5py.string_dtype("utf-8")
        for key in ("snp", "chr", "ref_allele", "alt_allele", "status"):
            file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=text)
        file.create_dataset("pos", (0,), maxshape=(None,), chunks=(4096,), dtype=np.uint32)
        for key, kind in further.items():
            dtype = text if kind is str else kind
            file.create_dataset(key, (0,), maxshape=(None,), chunks=(4096,), dtype=dtype)
        file["ref"], file["alt"] = file["ref_allele"], file["alt_allele"]  # hard links
        file.create_dataset("target_ids", data=[track.identifier for track in tracks], dtype=text)
        file.create_dataset("target_labels", data=[track.description for track in tracks], dtype=text)
        for statistic in statistics:
            shape, chunks = (0, len(tracks)), (_CHUNK_ROWS, len(tracks))
            values = file.create_dataset(
                statistic, shape, maxshape=(None, len(tracks)), chunks=chunks, dtype=np.float32
            )
            values.attrs["formula"] = FORMULAS[statistic]
        for key, value in said_of(about).items():
            file.attrs[key] = value

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles."""
        start = len(self._file["snp"])
        rows: dict[str, Any] = {
            "snp": [variant.name or str(variant) for variant in scores.variants],
            "chr": [variant.chrom for variant in scores.variants],
            "pos": [variant.position for variant in scores.variants],
            "ref_allele": [variant.reference for variant in scores.variants],
            "alt_allele": [variant.alternate for variant in scores.variants],
            "status": [str(status) for status in scores.statuses],
            **scores.further,
            **scores.statistics,
        }
        for key, values in rows.items():
            dataset = self._file[key]
            dataset.resize(start + len(scores.variants), axis=0)
            dataset[start:] = values


class _Table(ScoreFile):
    """`scores.tsv`: a row for each allele; columns for what else is known of it, and each statistic and track.

    Lines that begin with `##` say how the scores were made, in front of the header. Where an allele was not
    scored, its cells are empty.
    """

    name = "scores.tsv"

    def __init__(
        self,
        file: TextIO,
        tracks: Sequence[PredictedTrack],
        statistics: Sequence[str],
        about: Mapping[str, Any],
        further: Mapping[str, type],
    ) -> None:
        self._file = file
        for key, value in said_of(about).items():
            file.write(f"##{key}={value}\n")
        for statistic in statistics:
            file.write(f"##{statistic}={FORMULAS[statistic]}\n")
        columns = [f"{statistic}:{track.identifier}" for statistic in statistics for track in tracks]
        file.write("\t".join(["chrom", "pos", "id", "ref", "alt", "status", *further, *columns]) + "\n")

    def append(self, scores: VariantScores) -> None:
        """Writes the next alleles."""
        values = np.concatenate(list(scores.statistics.values()), axis=1)
        further = zip(*(column.tolist() for column in scores.further.values()), strict=True)
        for variant, status, more, row in zip(
            scores.variants,
            scores.statuses,
            further if scores.further else itertools.repeat(()),
            values,
            strict=False,
        ):
            cells = [
                variant.chrom,
                str(variant.position),
                variant.name,
                variant.reference,
                variant.alternate,
                str(status),
                *map(cell, more),
            ]
            self._file.write("\t".join([*cells, *map(cell, row.tolist())]) + "\n")


FORMATS: Mapping[str, type[ScoreFile]] = {"h5": _Hdf5, "tsv": _Table}


@contextlib.contextmanager
def write_scores(
    folder: Path,
    formats: Sequence[str],
    tracks: Sequence[PredictedTrack],
    statistics: Sequence[str],
    about: Mapping[str, Any],
    further: Mapping[str, type] | None = None,
) -> Iterator[Callable[[VariantScores], None]]:
    """Writes files of scores, and `skipped.tsv` of the alleles that were not scored, with the reason.

    All are written beside their places and renamed at the end, so that an error leaves none of them.

    Args:
        folder: where to; made if it is missing. Files of these names in it are replaced.
        formats: of `FORMATS`.
        tracks: the columns.
        statistics: in their order.
        about: how the scores were made: text, numbers, or what JSON holds.
        further: name -> type of what else is known of each row (`VariantScores.further`).

    Yields:
        What is called with the next alleles, as often as there are some.

    Raises:
        OSError: a file cannot be written.
    """
    names = [*(FORMATS[kind].name for kind in formats), "skipped.tsv"]
    with whole_files(folder, names) as partial, contextlib.ExitStack() as opened:
        files: list[ScoreFile] = []
        for kind in dict.fromkeys(formats):
            path = partial[FORMATS[kind].name]
            if kind == "h5":
                import h5py

                hdf5 = opened.enter_context(h5py.File(path, "w"))
                files.append(_Hdf5(hdf5, tracks, statistics, about, further or {}))
            else:
                text = opened.enter_context(path.open("w", encoding="utf-8"))
                files.append(_Table(text, tracks, statistics, about, further or {}))
        skipped = opened.enter_context(partial["skipped.tsv"].open("w", encoding="utf-8"))
        skipped.write("chrom\tpos\tid\tref\talt\tstatus\n")

        def append(scores: VariantScores) -> None:
            for file in files:
                file.append(scores)
            for variant, status in zip(scores.variants, scores.statuses, strict=True):
                if not status.is_scored:
                    cells = (variant.chrom, variant.position, variant.name, variant.reference)
                    skipped.write("\t".join(map(str, (*cells, variant.alternate, status))) + "\n")

        yield append
