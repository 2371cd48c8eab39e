"""The description of a genome dataset: a YAML file, checked with everything it names."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from enformer_keras.genome.bed import read_bed
from enformer_keras.genome.errors import DatasetError, describe_validation_error
from enformer_keras.genome.masks import Blacklist, HomologyGroups, Masks, Ranges
from enformer_keras.genome.planning import Plan, make_plan
from enformer_keras.genome.splits import Splits
from enformer_keras.genome.tracks import Genome, Track, TrackReader, read_track_table

__all__ = ["Dataset", "DatasetDescription", "DatasetError", "Splits", "load_dataset", "load_description"]

_Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]
# Fields that name a BED file of the genome.
_MASK_FIELDS = ("regions", "gaps", "blacklist", "unmappable", "homology_groups")


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
        snap: window starts are multiples of it, in bp.
        splits: which part of the genome belongs to which split.
        max_n_fraction: windows with a larger share of N are dropped.
        regions: BED; windows whose target does not lie wholly inside (neighbours are joined) are dropped.
        gaps: BED of assembly gaps.
        min_gap_length: runs of N of at least so many bp in the FASTA file are gaps too.
        min_gap_distance: windows that overlap a gap, or lie fewer bp from one, are dropped.
        blacklist: BED of stretches whose signal is an artefact.
        blacklist_rule: `drop` drops windows whose target overlaps the blacklist. `clip` limits the bins that
            overlap it to [-q, q], where q is the absolute value of the `blacklist_quantile` of the track over
            all bins of the same window's target, after scale and sum_stat and before clip_soft and clip.
        blacklist_quantile: from 0 to 1, for `clip` (0.5 if not given).
        unmappable: BED of stretches where reads cannot be placed.
        max_unmappable_fraction: windows are dropped whose target has a larger share of unmappable bp.
        homology_groups: BED with a group in column 4: windows that read bp of one group stay in one split,
            the one with the most of them; those of all other splits are dropped.
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
    snap: pydantic.PositiveInt = 1
    splits: Splits
    max_n_fraction: _Fraction = 1.0
    regions: Path | None = None
    gaps: Path | None = None
    min_gap_length: pydantic.PositiveInt | None = None
    min_gap_distance: pydantic.NonNegativeInt = 0
    blacklist: Path | None = None
    blacklist_rule: Literal["drop", "clip"] = "drop"
    blacklist_quantile: _Fraction | None = None
    unmappable: Path | None = None
    max_unmappable_fraction: _Fraction | None = None
    homology_groups: Path | None = None

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each split in bp."""
        if isinstance(self.stride, int):
            return dict.fromkeys(self.splits.names, self.stride)
        return self.stride

    @property
    def mask_files(self) -> dict[str, Path]:
        """Field -> BED file, as written, of all that the description names."""
        files = {name: getattr(self, name) for name in _MASK_FIELDS if getattr(self, name) is not None}
        return files | ({"splits.bed.file": self.splits.bed.file} if self.splits.bed else {})

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
        problems += [
            f"stride {stride} of split {split} is not a multiple of snap {self.snap}, so that window starts "
            "could not all be; change one"
            for split, stride in self.strides.items()
            if stride % self.snap
        ]
        if self.min_gap_distance and self.gaps is None and self.min_gap_length is None:
            problems.append(
                "min_gap_distance needs gaps; name a BED file, or give min_gap_length for runs of N"
            )
        if (self.unmappable is None) != (self.max_unmappable_fraction is None):
            problems.append("give unmappable and max_unmappable_fraction together, or neither")
        if self.blacklist is None and self.blacklist_rule == "clip":
            problems.append("blacklist_rule needs blacklist; name a BED file")
        if self.blacklist_quantile is not None and self.blacklist_rule == "drop":
            problems.append("blacklist_quantile has no meaning unless blacklist_rule is clip")
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
        description = self.description
        blacklist = None
        if description.blacklist is not None and description.blacklist_rule == "clip":
            quantile = description.blacklist_quantile
            blacklist = Blacklist(
                Ranges.of_bed(read_bed(self._resolve(description.blacklist), *self._names())),
                0.5 if quantile is None else quantile,
            )
        return TrackReader(
            self.tracks, self.contig_lengths, description.contig_aliases, description.bin_size, blacklist
        )

    def read_masks(self) -> Masks:
        """Reads the BED files of the description; finds no runs of N.

        Raises:
            DatasetError: every file that cannot be used.
        """
        description = self.description
        problems: list[str] = []

        def read(field: str, **options: Any) -> Any:
            try:
                return read_bed(self._resolve(description.mask_files[field]), *self._names(), **options)
            except DatasetError as error:
                problems.extend(error.problems)

        lines = {
            field: read(field, columns=(4,) if field == "homology_groups" else ())
            for field in _MASK_FIELDS
            if field in description.mask_files
        }
        splits = None
        if description.splits.bed is not None:
            try:
                splits = description.splits.bed.read(self._resolve(description.splits.bed.file), *self._names())
            except DatasetError as error:
                problems += error.problems
        if problems:
            raise DatasetError(problems)
        ranges = {name: Ranges.of_bed(rows) for name, rows in lines.items() if name != "homology_groups"}
        groups = lines.get("homology_groups")
        return Masks(splits=splits, homology=HomologyGroups(groups) if groups else None, **ranges)

    def plan(self) -> Plan:
        """Cuts the genome into windows; where `min_gap_length` is set, the whole FASTA file is read.

        Raises:
            DatasetError: a file cannot be used, or a split has no window.
        """
        masks = self.read_masks()
        shortest = self.description.min_gap_length
        if shortest is not None:
            with contextlib.closing(self.open_genome()) as genome:
                runs = Ranges({contig: genome.runs_of_n(contig, shortest) for contig in self.contig_lengths})
            masks = dataclasses.replace(masks, gaps=runs.joined(masks.gaps) if masks.gaps else runs)
        return make_plan(self.description, self.contig_lengths, masks)

    def _resolve(self, path: Path) -> Path:
        return self.path.parent / path

    def _names(self) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
        """Returns all contigs of the FASTA file, used or not, and their aliases."""
        with contextlib.closing(self.open_genome()) as genome:
            return genome.contig_lengths, self.description.contig_aliases

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
        masks = [self._resolve(path) for path in self.description.mask_files.values()]
        total = hashlib.sha256()
        for path in dict.fromkeys([self.path, table, self.fasta, *(t.file for t in self.tracks), *masks]):
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
        problems += [
            f"{path}: splits.folds.contigs: {contig} is not a contig of {description.fasta}; it has {known}"
            for contig in (description.splits.folds and description.splits.folds.contigs) or ()
            if contig not in contigs
        ]
    if problems:
        raise DatasetError(problems)
    masks = Dataset(path, description, tracks, contigs).read_masks()
    stretches = masks.splits
    if stretches is None:
        named = description.splits.named_contigs or tuple(contigs)
    else:
        named = tuple(stretch.chrom for stretches_of in stretches.values() for stretch in stretches_of)
    used = {name: length for name, length in contigs.items() if name in set(named)}
    try:
        description.splits.stretches(used, stretches)
    except DatasetError as error:
        raise DatasetError([f"{path}: {problem}" for problem in error.problems]) from None
    dataset = Dataset(path, description, tracks, used)
    with contextlib.closing(dataset.open_tracks()):
        return dataset
