"""The track table: which signals a dataset has, and how a bin's value is made of each."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import pydantic

from enformer_keras.formats.bed import FIELDS, VALUE_COLUMNS
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.text_file import suffix_of
from enformer_keras.formats.track_table import TrackRow, read_rows, unpaired_strands

_logger = logging.getLogger(__name__)

SumStat = Literal["sum", "mean", "max", "median", "sum_sqrt", "mean_sqrt"]
# Suffix -> kind of file; all but bigWig may be compressed (.gz, .bgz).
_KINDS = {
    ".bw": "bigWig",
    ".bigwig": "bigWig",
    ".gff3": "GFF3",
    ".gff": "GFF3",
    ".gtf": "GTF",
    ".bed": "BED",
    ".narrowpeak": "narrowPeak",
    ".broadpeak": "broadPeak",
    ".bedgraph": "bedGraph",
}


class Track(TrackRow):
    """One row of the track table: a measured signal or an annotation, and how a bin's value is made.

    The first eight fields, clip_soft and strand_pair are those of basenji's `targets.txt`.

    Attributes:
        index: position in the table, from 0.
        genome: genome or organism, as basenji has it; not interpreted.
        identifier: short name, unique.
        file: bigWig, BED, narrowPeak, broadPeak, bedGraph, GFF3 or GTF file, resolved; its suffix says which.
        clip: values are limited to [-clip, clip].
        scale: factor on every bp, or `mean`: 1 / (mean over all used contigs).
        sum_stat: how the bp of a bin become one value.
        description: free text.
        clip_soft: values x above it become clip_soft - 1 + sqrt(x - clip_soft + 1).
        strand_pair: index of the track that this one becomes on the other strand; itself if unstranded.
        feature: GFF3 and GTF only: feature type (third column); the value is 1 where one lies, 0 elsewhere.
        strand: of the features or intervals that count; `.` takes all. Not for bigWig and bedGraph.
        value: BED and its kin only: column that holds an interval's value, by name (`score`, `signalValue`,
            `pValue`, `qValue`, `dataValue`) or by number from 1; where intervals overlap the largest value
            holds. Empty: 1 where at least one lies; for bedGraph `dataValue`. Elsewhere the value is 0.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    genome: str
    file: Path
    clip: pydantic.PositiveFloat | None = None
    scale: pydantic.PositiveFloat | Literal["mean"]
    sum_stat: SumStat
    description: str = ""
    clip_soft: pydantic.PositiveFloat | None = None
    strand_pair: pydantic.NonNegativeInt
    feature: str | None = None
    strand: Literal["+", "-", "."] = "."
    value: str | None = None

    @property
    def kind(self) -> str:
        """Format of the file by its suffix.

        Raises:
            ValueError: the suffix is that of none.
        """
        suffix = suffix_of(self.file)
        kind = _KINDS.get(suffix)
        if kind is None or (kind == "bigWig" and not self.file.name.lower().endswith(suffix)):
            raise ValueError(
                f"{self.file.name}: unknown kind of file; use one of {tuple(_KINDS)}, all but bigWig also "
                "with .gz or .bgz"
            )
        return kind

    @property
    def value_column(self) -> int | None:
        """Column of the intervals' values, from 1; `None` where presence counts."""
        names = VALUE_COLUMNS.get(self.kind, {})
        if self.kind == "bedGraph" and self.value is None:
            return names["dataValue"]
        if self.value is None or self.value in names:
            return names.get(self.value or "")
        return int(self.value)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _pair(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """A track without a partner is its own."""
        return {"strand_pair": fields.get("index"), **fields}

    @pydantic.model_validator(mode="after")
    def _check(self) -> Track:
        name = self.file.name
        if self.kind in ("GFF3", "GTF"):
            if self.feature is None:
                raise ValueError(f"{name} is {self.kind}: name the feature type (for example CDS)")
        elif self.feature is not None:
            raise ValueError(f"{name} is a {self.kind} file, without feature types: leave feature empty")
        if self.kind in ("bigWig", "bedGraph") and self.strand != ".":
            raise ValueError(f"{name} is a {self.kind} file, without strands: leave strand empty")
        if self.value is not None:
            names = VALUE_COLUMNS.get(self.kind)
            if names is None:
                raise ValueError(f"{name} is a {self.kind} file: leave value empty")
            if self.value not in names and not (self.value.isdecimal() and int(self.value) > 3):
                raise ValueError(
                    f"value {self.value} is no column of {self.kind}; use {', '.join(names)} or a number"
                )
            column, fields = self.value_column, FIELDS[self.kind]
            if column is not None and fields is not None and column > fields:
                raise ValueError(f"value {self.value} is no column of {self.kind}, which has {fields}")
        return self


def read_track_table(path: Path, folder: Path) -> tuple[Track, ...]:
    """Reads a track table (see `track_table.read_rows`) with the columns of basenji's `targets.txt`.

    Required columns: index, genome, identifier, file, clip, scale, sum_stat, description; optional: clip_soft,
    strand_pair, feature, strand, value.

    Args:
        path: the table.
        folder: what the `file` column is relative to.

    Returns:
        The tracks in the order of the rows.

    Raises:
        DatasetError: every row that is wrong, by line number.
    """
    required = ("index", "genome", "identifier", "file", "clip", "scale", "sum_stat", "description")
    rows, problems = read_rows(path, Track, required)
    problems += [
        f"{path}: line {number}: index is {track.index}, but the row is the {number - 2}th from 0; renumber"
        for number, track in rows.items()
        if track.index != number - 2
    ]
    if problems:
        raise DatasetError(problems)

    first_use: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for number, track in rows.items():
        where = f"{path}: line {number}"
        if first_use.setdefault(track.identifier, number) != number:
            problems.append(
                f"{where}: identifier {track.identifier} is also on line {first_use[track.identifier]}; "
                "make it unique"
            )
        if track.identifier != track.identifier.strip():
            problems.append(f"{where}: identifier {track.identifier!r} has blanks at an end; remove them")
        other = spelled.setdefault(track.identifier.casefold(), track.identifier)
        if other != track.identifier:
            _logger.warning("%s: identifiers %s and %s differ by case only", where, other, track.identifier)
    problems += unpaired_strands(path, rows)
    if problems:
        raise DatasetError(problems)
    return tuple(track.model_copy(update={"file": folder / track.file}) for track in rows.values())
