"""Which part of the genome belongs to which split: by block, contig, fold of contigs, or a BED file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from enformer_keras.formats.bed import read_bed
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval, merge

_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")
Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]
_CONFIG = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Folds(pydantic.BaseModel):
    """Contigs dealt to folds of like size; the folds that are neither `valid` nor `test` are `train`.

    Attributes:
        count: number of folds.
        valid: fold or folds of the split `valid`, from 0.
        test: fold or folds of the split `test`, from 0.
        contigs: the contigs that are dealt; `None`: all of the FASTA file.
    """

    model_config = _CONFIG

    count: Annotated[int, pydantic.Field(ge=2)]
    valid: tuple[pydantic.NonNegativeInt, ...] = ()
    test: tuple[pydantic.NonNegativeInt, ...] = ()
    contigs: Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Splits that have a fold."""
        return ("train", *(["valid"] if self.valid else []), *(["test"] if self.test else []))

    def split_of(self, fold: int) -> str:
        """Returns the split that a fold belongs to."""
        return "valid" if fold in self.valid else "test" if fold in self.test else "train"

    def deal(self, contig_lengths: Mapping[str, int]) -> dict[str, int]:
        """Deals contigs: the longest first (of equal ones, by name), each to the fold with the fewest bp yet.

        Args:
            contig_lengths: contig -> bp.

        Returns:
            Contig -> fold; of folds with the same number of bp the lowest is taken.
        """
        filled = [0] * self.count
        folds = {}
        for contig, length in sorted(contig_lengths.items(), key=lambda item: (-item[1], item[0])):
            folds[contig] = filled.index(min(filled))
            filled[folds[contig]] += length
        return folds

    @pydantic.field_validator("valid", "test", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, int) else value

    @pydantic.model_validator(mode="after")
    def _check(self) -> Folds:
        both = set(self.valid) & set(self.test)
        if both:
            raise ValueError(f"fold {min(both)} is in valid and in test; keep it in one")
        past = [fold for fold in (*self.valid, *self.test) if fold >= self.count]
        if past:
            raise ValueError(f"there is no fold {past[0]}; the last of {self.count} is {self.count - 1}")
        if len({*self.valid, *self.test}) == self.count:
            raise ValueError("no fold is left for train; take one from valid or test")
        return self


class BedSplits(pydantic.BaseModel):
    """A BED file with the split's name in column 4.

    Attributes:
        file: the BED file.
        names: the splits; every line must name one, and each must be named.
    """

    model_config = _CONFIG

    file: Path
    names: tuple[str, ...]

    def read(
        self, path: Path, contig_lengths: Mapping[str, int], aliases: Mapping[str, Sequence[str]]
    ) -> dict[str, list[Interval]]:
        """Reads the file; neighbours and overlaps of one split become one stretch.

        Args:
            path: the file, resolved.
            contig_lengths: contig -> bp.
            aliases: contig -> other names in the file.

        Returns:
            Split -> its stretches.

        Raises:
            DatasetError: a line names no split, lines of two splits overlap, or a split has no line.
        """
        stretches: dict[str, list[Interval]] = {name: [] for name in self.names}
        problems: list[str] = []
        for contig, lines in read_bed(path, contig_lengths, aliases, columns=(4,)).items():
            names = np.array(lines.cells[0])
            problems += [
                f"{path}: line {lines.lines[at]}: split {names[at]!r} is not among {list(self.names)}; name it "
                "in splits.bed.names or correct it"
                for at in np.flatnonzero(~np.isin(names, self.names))[:3]
            ]
            # Sorted by start: a line overlaps another split's if it starts before that split's furthest end.
            for name in self.names:
                own = names == name
                reach = np.maximum.accumulate(np.where(own, lines.ends, 0))
                crossing = np.flatnonzero(~own & (lines.starts < reach))
                if crossing.size:
                    problems.append(
                        f"{path}: line {lines.lines[crossing[0]]}: overlaps a stretch of split {name}; "
                        "every bp belongs to one split"
                    )
                stretches[name] += [
                    Interval(contig, int(start), int(end))
                    for start, end in merge(lines.starts[own], lines.ends[own]).T
                ]
        problems += [
            f"{path}: no line has split {name} in column 4; add one or remove it from splits.bed.names"
            for name, found in stretches.items()
            if not found and not problems
        ]
        if problems:
            raise DatasetError(problems)
        return stretches


class Splits(pydantic.BaseModel):
    """How the genome is divided: exactly one of the fields.

    Attributes:
        blocks: split -> [from, to), fractions of every contig of the FASTA file.
        contigs: split -> whole contigs; contigs named in no split are not used.
        folds: contigs dealt to folds.
        bed: stretches from a file; contigs without a line are not used.
    """

    model_config = _CONFIG

    blocks: dict[str, tuple[Fraction, Fraction]] | None = None
    contigs: dict[str, tuple[str, ...]] | None = None
    folds: Folds | None = None
    bed: BedSplits | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits, in the order of the file."""
        chosen = self.folds or self.bed
        return chosen.names if chosen else tuple(self.blocks or self.contigs or ())

    @property
    def named_contigs(self) -> tuple[str, ...] | None:
        """Contigs that the description names; `None` where it takes what the files have."""
        if self.contigs is not None:
            return tuple(name for names in self.contigs.values() for name in names)
        return self.folds.contigs if self.folds else None

    def stretches(
        self, contig_lengths: Mapping[str, int], bed: Mapping[str, list[Interval]] | None = None
    ) -> dict[str, list[Interval]]:
        """Returns the stretches of the genome that each split owns.

        Args:
            contig_lengths: bp of each contig that is used.
            bed: what `BedSplits.read` returned, where `bed` is the field.

        Returns:
            Split -> intervals, 0-based half-open.

        Raises:
            DatasetError: there are fewer contigs than folds.
            ValueError: splits are those of a BED file, and `bed` is `None`.
        """
        if self.bed is not None:
            if bed is None:
                raise ValueError("splits by a BED file need what the file holds; use Dataset.plan")
            return dict(bed)
        if self.contigs is not None:
            return {
                split: [Interval(name, 0, contig_lengths[name]) for name in names]
                for split, names in self.contigs.items()
            }
        if self.folds is not None:
            if len(contig_lengths) < self.folds.count:
                raise DatasetError(
                    f"splits.folds.count: {self.folds.count} folds of {len(contig_lengths)} contigs leave some "
                    "empty; ask for fewer, or use blocks"
                )
            owned: dict[str, list[Interval]] = {name: [] for name in self.names}
            for contig, fold in self.folds.deal(contig_lengths).items():
                owned[self.folds.split_of(fold)].append(Interval(contig, 0, contig_lengths[contig]))
            return owned
        # Neighbours round the same fraction to the same bp, so that blocks cannot overlap.
        return {
            split: [
                Interval(name, round(start * length), round(end * length))
                for name, length in contig_lengths.items()
            ]
            for split, (start, end) in (self.blocks or {}).items()
        }

    @pydantic.model_validator(mode="after")
    def _check(self) -> Splits:
        if sum(field is not None for field in (self.blocks, self.contigs, self.folds, self.bed)) != 1:
            raise ValueError("give exactly one of blocks and contigs, folds, bed")
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
