"""The description of a genome dataset: a YAML file, checked by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from enformer_keras.datasets.splits import Fraction, Splits
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.validation import describe_validation_error
from enformer_keras.formats.yaml_mapping import read_yaml_mapping

# Fields that name a BED file of the genome.
MASK_FIELDS = ("regions", "gaps", "blacklist", "unmappable", "homology_groups")
# What windows of all organisms have in common.
_SHARED_FIELDS = ("window_length", "bin_size", "target_length", "flank_length")


class DatasetDescription(pydantic.BaseModel):
    """What the YAML file says of one organism; relative paths are relative to the file.

    A file of several organisms has `organisms`, a mapping of name to fields, in place of `organism`. What
    stands beside `organisms` holds for each that does not say otherwise; window_length, bin_size,
    target_length and flank_length are the same for all, and so are the names of the splits.

    Attributes:
        organism: name of the head that learns this dataset.
        assembly: name of the genome build, such as hg38; a pushed model carries it.
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
    assembly: Annotated[str, pydantic.Field(min_length=1)] | None = None
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
    max_n_fraction: Fraction = 1.0
    regions: Path | None = None
    gaps: Path | None = None
    min_gap_length: pydantic.PositiveInt | None = None
    min_gap_distance: pydantic.NonNegativeInt = 0
    blacklist: Path | None = None
    blacklist_rule: Literal["drop", "clip"] = "drop"
    blacklist_quantile: Fraction | None = None
    unmappable: Path | None = None
    max_unmappable_fraction: Fraction | None = None
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
        files = {name: getattr(self, name) for name in MASK_FIELDS if getattr(self, name) is not None}
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
        files = {"fasta": self.fasta, "tracks": self.tracks} | self.mask_files
        for name, path in files.items():
            first = next(other for other, known in files.items() if known == path)
            if first != name and {first, name} & {"fasta", "tracks"}:
                problems.append(f"{first} and {name} both name {path}; give each its own file")
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


def load_descriptions(path: str | Path) -> tuple[DatasetDescription, ...]:
    """Reads and validates a YAML file alone, for places that have no data (compiling a pipeline).

    Args:
        path: the YAML file.

    Returns:
        The description of each organism, in the order of the file.

    Raises:
        DatasetError: every field that is wrong.
    """
    path = Path(path)
    content = read_yaml_mapping(path)
    if "organisms" not in content:
        return (_validate(str(path), content),)
    shared = {name: value for name, value in content.items() if name != "organisms"}
    own_fields = content["organisms"]
    if not (
        isinstance(own_fields, dict) and own_fields and all(isinstance(v, dict) for v in own_fields.values())
    ):
        raise DatasetError(f"{path}: organisms: must map each organism's name to its fields, such as fasta")
    problems = []
    if "organism" in shared:
        problems.append(f"{path}: organism and organisms are both given; keep one")
    descriptions = []
    for organism, fields in own_fields.items():
        where = f"{path}: organisms.{organism}"
        problems += [
            f"{where}: {name} is the same for all organisms; give it beside organisms"
            for name in (*_SHARED_FIELDS, "organism")
            if name in fields
        ]
        try:
            descriptions.append(_validate(where, shared | fields | {"organism": organism}))
        except DatasetError as error:
            problems += error.problems
    problems += [
        f"{path}: organisms.{other.organism}: splits are {sorted(other.splits.names)}, but those of "
        f"{descriptions[0].organism} are {sorted(descriptions[0].splits.names)}; name the same ones"
        for other in descriptions[1:]
        if set(other.splits.names) != set(descriptions[0].splits.names)
    ]
    if problems:
        raise DatasetError(dict.fromkeys(problems))
    return tuple(descriptions)


def load_description(path: str | Path, organism: str | None = None) -> DatasetDescription:
    """Reads the description of one organism.

    Args:
        path: the YAML file.
        organism: which; `None`: the only one.

    Returns:
        Its description.

    Raises:
        DatasetError: every field that is wrong; there are several organisms, or not this one.
    """
    descriptions = {description.organism: description for description in load_descriptions(path)}
    if organism is None and len(descriptions) == 1:
        return next(iter(descriptions.values()))
    if organism not in descriptions:
        asked = "which one is not said" if organism is None else f"not {organism}"
        raise DatasetError(f"{path}: describes {', '.join(descriptions)}, {asked}; name one of these")
    return descriptions[organism]


def _validate(where: str, fields: dict[str, Any]) -> DatasetDescription:
    try:
        return DatasetDescription.model_validate(fields)
    except pydantic.ValidationError as error:
        raise DatasetError(describe_validation_error(where, error, fields)) from error
