"""The description of a genome dataset: a YAML file, checked with everything it names."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pydantic
import yaml

from enformer_keras.genome.errors import DatasetError, describe_validation_error
from enformer_keras.genome.intervals import Interval
from enformer_keras.genome.tracks import Genome, Track, TrackReader, read_track_table

__all__ = ["Dataset", "DatasetDescription", "DatasetError", "Splits", "load_dataset", "load_description"]

_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")
_Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]


class Splits(pydantic.BaseModel):
    """How the genome is divided: exactly one of the two fields.

    Attributes:
        blocks: split -> [from, to), fractions of every contig of the FASTA file.
        contigs: split -> whole contigs; contigs named in no split are not used.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    blocks: dict[str, tuple[_Fraction, _Fraction]] | None = None
    contigs: dict[str, tuple[str, ...]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits, in the order of the file."""
        return tuple(self.blocks or self.contigs or ())

    @pydantic.model_validator(mode="after")
    def _check(self) -> Splits:
        if (self.blocks is None) == (self.contigs is None):
            raise ValueError("give exactly one of blocks and contigs")
        problems = [
            f"split name {name!r} must be lower-case letters, digits and _"
            for name in self.names
            if not _SPLIT_NAME.fullmatch(name)
        ]
        if not self.names:
            problems.append("name at least one split")
        ordered = sorted((self.blocks or {}).items(), key=lambda item: item[1])
        problems += [
            f"block {name} [{start}, {end}) is empty; its second number must be the larger"
            for name, (start, end) in ordered
            if start >= end
        ]
        problems += [
            f"blocks {before} and {after} overlap; let {after} start at {end} or later"
            for (before, (_, end)), (after, (start, _)) in itertools.pairwise(ordered)
            if start < end
        ]
        owner: dict[str, str] = {}
        for split, contigs in (self.contigs or {}).items():
            if not contigs:
                problems.append(f"split {split} names no contig")
            for contig in contigs:
                if contig in owner:
                    problems.append(
                        f"contig {contig} is in {owner[contig]} and again in {split}; keep it in one"
                    )
                owner.setdefault(contig, split)
        if problems:
            raise ValueError("; ".join(problems))
        return self


class DatasetDescription(pydantic.BaseModel):
    """The YAML file as it stands; relative paths are relative to it.

    Attributes:
        organism: name of the head that learns this dataset.
        fasta: genome sequence, FASTA, plain or compressed by bgzip.
        tracks: track table, see `tracks.read_track_table`.
        contig_aliases: contig of the FASTA file -> other names it has in track files.
        window_length: bp the model reads.
        bin_size: bp per value of a track.
        target_length: bins the model predicts, centred in the window.
        flank_length: bp read beyond each side of the window, for shift augmentation.
        stride: bp from one window to the next, for all splits or for each.
        splits: which part of the genome belongs to which split.
        max_n_fraction: windows with a larger share of N are dropped.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    organism: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    fasta: Path
    tracks: Path
    contig_aliases: dict[str, tuple[str, ...]] = {}
    window_length: pydantic.PositiveInt
    bin_size: pydantic.PositiveInt = 128
    target_length: pydantic.PositiveInt
    flank_length: pydantic.NonNegativeInt = 3
    stride: pydantic.PositiveInt | dict[str, pydantic.PositiveInt]
    splits: Splits
    max_n_fraction: _Fraction = 1.0

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each split in bp."""
        if isinstance(self.stride, int):
            return dict.fromkeys(self.splits.names, self.stride)
        return self.stride

    def used_contigs(self, contigs: Mapping[str, int]) -> dict[str, int]:
        """Returns those of the FASTA file's contigs (name -> bp) that the splits use."""
        if self.splits.contigs is None:
            return dict(contigs)
        named = {name for names in self.splits.contigs.values() for name in names}
        return {name: length for name, length in contigs.items() if name in named}

    def blocks_by_split(self, contig_lengths: Mapping[str, int]) -> dict[str, list[Interval]]:
        """Returns the stretches of the genome that each split owns."""
        if self.splits.contigs is not None:
            return {
                split: [Interval(name, 0, contig_lengths[name]) for name in names]
                for split, names in self.splits.contigs.items()
            }
        # Neighbours round the same fraction to the same bp, so that blocks cannot overlap.
        return {
            split: [
                Interval(name, round(start * length), round(end * length))
                for name, length in contig_lengths.items()
            ]
            for split, (start, end) in (self.splits.blocks or {}).items()
        }

    @pydantic.model_validator(mode="after")
    def _check(self) -> DatasetDescription:
        problems = []
        bins, rest = divmod(self.window_length, self.bin_size)
        if rest:
            problems.append(
                f"window_length {self.window_length} is not a multiple of bin_size {self.bin_size}; "
                f"use {bins * self.bin_size} or {(bins + 1) * self.bin_size}"
            )
        elif self.target_length > bins or (bins - self.target_length) % 2:
            problems.append(
                f"target_length {self.target_length} does not lie centred in the window's {bins} bins; "
                f"the difference must be even and not negative"
            )
        if isinstance(self.stride, dict) and set(self.stride) != set(self.splits.names):
            problems.append(
                f"stride names the splits {sorted(self.stride)}, but splits are "
                f"{sorted(self.splits.names)}; name the same ones"
            )
        owner: dict[str, str] = {}
        for contig, names in self.contig_aliases.items():
            problems += [
                f"contig_aliases: {name} stands for {owner[name]} and {contig}; keep one"
                for name in names
                if owner.setdefault(name, contig) != contig
            ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A description whose files were found, opened and agree with each other.

    Attributes:
        path: the YAML file.
        description: its content.
        tracks: the track table's rows, files resolved.
        contig_lengths: contig that is used -> bp.
    """

    path: Path
    description: DatasetDescription
    tracks: tuple[Track, ...]
    contig_lengths: dict[str, int]

    @property
    def fasta(self) -> Path:
        """The FASTA file, resolved."""
        return self.path.parent / self.description.fasta

    def open_genome(self) -> Genome:
        """Opens the FASTA file."""
        return Genome(self.fasta)

    def open_tracks(self) -> TrackReader:
        """Opens the files of all tracks."""
        return TrackReader(
            self.tracks, self.contig_lengths, self.description.contig_aliases, self.description.bin_size
        )

    def scale_by_mean(self, track: Track) -> float:
        """Returns the factor that makes a track's mean over all used contigs 1.

        Args:
            track: one of the tracks.

        Returns:
            The factor.

        Raises:
            DatasetError: the mean is not above 0.
        """
        description = self.description
        with contextlib.closing(
            TrackReader([track], self.contig_lengths, description.contig_aliases, description.bin_size)
        ) as reader:
            return 1 / reader.genome_mean(track)

    def mean_scales(self) -> dict[int, float]:
        """Returns track index -> factor for every track whose scale is `mean`."""
        return {track.index: self.scale_by_mean(track) for track in self.tracks if track.scale == "mean"}

    def fingerprint(self) -> str:
        """Returns a SHA-256 over the content of the YAML file, the track table and every data file.

        It names no folder, so that a moved dataset keeps its fingerprint. Files are read in full, as a
        stream: seconds for a bacterium, hours for thousands of bigWigs.
        """
        table = self.path.parent / self.description.tracks
        total = hashlib.sha256()
        for path in dict.fromkeys([self.path, table, self.fasta, *(track.file for track in self.tracks)]):
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()


def load_description(path: str | Path) -> DatasetDescription:
    """Reads and validates a YAML file alone, for places that have no data (compiling a pipeline).

    Args:
        path: the YAML file.

    Returns:
        Its content.

    Raises:
        DatasetError: every field that is wrong.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; give the path of a dataset description") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a readable YAML file") from error
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: is not YAML; correct this: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: must be a YAML mapping with fields such as organism and fasta")
    try:
        return DatasetDescription.model_validate(content)
    except pydantic.ValidationError as error:
        raise DatasetError(describe_validation_error(str(path), error)) from error


def load_dataset(path: str | Path) -> Dataset:
    """Reads a dataset description and opens every file it names, before any hours are spent.

    Args:
        path: the YAML file.

    Returns:
        The checked dataset.

    Raises:
        DatasetError: lists everything found wrong in the description, else in the track table and the
            FASTA file together, else in the track files.
    """
    path = Path(path).resolve()
    description = load_description(path)
    problems: list[str] = []
    contigs: dict[str, int] = {}
    tracks: tuple[Track, ...] = ()
    try:
        with contextlib.closing(Genome(path.parent / description.fasta)) as genome:
            contigs = genome.contig_lengths
    except DatasetError as error:
        problems += error.problems
    try:
        tracks = read_track_table(path.parent / description.tracks, path.parent)
    except DatasetError as error:
        problems += error.problems
    if contigs:
        known = ", ".join(list(contigs)[:8]) + (", ..." if len(contigs) > 8 else "")
        problems += [
            f"{path}: contig_aliases: {contig} is not a contig of {description.fasta}; it has {known}"
            for contig in description.contig_aliases
            if contig not in contigs
        ]
        problems += [
            f"{path}: splits.contigs.{split}: {contig} is not a contig of {description.fasta}; it has {known}"
            for split, names in (description.splits.contigs or {}).items()
            for contig in names
            if contig not in contigs
        ]
    if problems:
        raise DatasetError(problems)
    dataset = Dataset(path, description, tracks, description.used_contigs(contigs))
    with contextlib.closing(dataset.open_tracks()):
        return dataset
