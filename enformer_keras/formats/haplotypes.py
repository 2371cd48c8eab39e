"""Haplotypes of samples: the alleles that phased genotypes put onto each, and the sequence that results.

The sequences are those of `bcftools consensus -H 1` and `-H 2`, where all alleles are spelled in letters.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.contig_names import ContigNames, advise, likely_aliases
from enformer_keras.formats.errors import DatasetError, first_names
from enformer_keras.formats.intervals import Interval, merge
from enformer_keras.formats.sequence import ALPHABET
from enformer_keras.formats.variants import MISSING, quiet_htslib

_BASES = frozenset(ALPHABET)
# What stands for bases that an allele upstream has deleted (specification 4.3, section 1.6.1).
_DELETED = "*"
# An allele gives way to one that begins so far before it, at most; bcftools looks from the contig's start.
_BEFORE_BP = 10_000
_PLOIDY = 2


@dataclasses.dataclass(frozen=True)
class Edit:
    """What an allele replaces.

    Attributes:
        position: 0-based position of the record's REF.
        start: 0-based start of what is replaced; the base before an insertion or deletion is none of it.
        end: its end.
        bases: what stands there instead.
        is_indel: whether it inserts or deletes bases after a base that it leaves as it is.
        is_insertion: whether it is longer than what it replaces.
    """

    position: int
    start: int
    end: int
    bases: str
    is_indel: bool
    is_insertion: bool

    @classmethod
    def of(cls, position: int, reference: str, alternate: str) -> Edit:
        """Makes an edit of a record's alleles, upper case."""
        shorter, longer = sorted((reference, alternate), key=len)
        first = next((n for n in range(len(shorter)) if shorter[n] != longer[n]), len(shorter))
        is_pure = len(shorter) < len(longer) and longer[first:].endswith(shorter[first:])
        left_out = int(is_pure and reference[0] == alternate[0])
        return cls(
            position,
            position + left_out,
            position + len(reference),
            alternate[left_out:],
            bool(left_out),
            len(alternate) > len(reference),
        )


# Gives a contig's bases from a start to an end, N beyond the contig.
Reference = Callable[[int, int], str]
# Of a sample those of its first and of its second haplotype, in the order of the file; `None` in place of the
# second where all genotypes are haploid.
SampleEdits = tuple[tuple[Edit, ...], tuple[Edit, ...] | None]


class PhasedVariants:
    """An indexed VCF or BCF file with phased genotypes.

    Genotypes `0|1` are phased; `1/1` and haploid ones need no phase. A missing allele is the reference, and so
    are symbolic alleles and breakends, `*` and alleles with other letters than A, C, G and T. Of alleles of a
    haplotype that overlap, the first is taken. All this is counted.

    Args:
        path: the file, compressed by bgzip, with its index beside it.
        contig_lengths: contig of the FASTA file -> bp.
        aliases: contig -> other names it has in the file.
        samples: which; `None`: all, in the order of the file.
        skip_unphased: whether heterozygous genotypes without a phase are taken as the reference; else they are
            an error.

    Attributes:
        samples: their names.
        counts: what was not taken as it stands -> how often.

    Raises:
        DatasetError: the file is missing, has no index or no such sample, or lies on no contig of the genome.
    """

    def __init__(
        self,
        path: Path,
        contig_lengths: Mapping[str, int],
        aliases: Mapping[str, Sequence[str]],
        *,
        samples: Sequence[str] | None = None,
        skip_unphased: bool = False,
    ) -> None:
        with from_extra("genome"):
            import pysam

        self.path = path
        self._skip_unphased = skip_unphased
        self.counts: Counter[str] = Counter()
        if not path.is_file():
            raise DatasetError(f"{path}: no such file of variants; correct the path")
        with quiet_htslib():
            try:
                self._file: Any = pysam.VariantFile(str(path))
            except (OSError, ValueError) as error:
                raise DatasetError(
                    f"{path}: cannot be read ({error}); give a VCF file compressed by bgzip, or BCF"
                ) from error
        try:
            self._check_index()
            there = list(self._file.header.samples)
            self.samples = tuple(there if samples is None else samples)
            missing = [sample for sample in self.samples if sample not in there]
            if missing or not self.samples or len(set(self.samples)) < len(self.samples):
                raise DatasetError(
                    f"{path}: has no samples; give a file with genotypes"
                    if not there
                    else f"{path}: has the samples {first_names(there)}; not {first_names(missing)}"
                    if missing
                    else f"{path}: give each sample once, and at least one"
                )
            self._columns = [9 + there.index(sample) for sample in self.samples]
            names = ContigNames(contig_lengths, aliases)
            found = dict.fromkeys([*self._file.index, *self._file.header.contigs])
            self._name_of = {contig: name for name in found if (contig := names.find(name)) is not None}
        except BaseException:
            self.close()
            raise
        if not self._name_of:
            self.close()
            likely = likely_aliases(contig_lengths, names.others)
            raise DatasetError(
                f"{path}: its contigs are none of the genome's, {first_names(names.others)}; name them in "
                f"{advise(likely)} or give another file"
            )

    def __enter__(self) -> PhasedVariants:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _check_index(self) -> None:
        if self._file.index is None:
            raise DatasetError(
                f"{self.path}: has no index; compress it by bgzip and run `bcftools index` on it"
            )

    def read(
        self, contig: str, start: int, end: int, reference: Reference, *, margin: int = 0
    ) -> list[SampleEdits]:
        """Reads the haplotypes of a stretch.

        Args:
            contig: by the genome's name.
            start: 0-based.
            end: of the stretch.
            reference: of the contig.
            margin: bp at both ends in which nothing is counted.

        Returns:
            For each sample, in the order of `samples`, the edits of its first and of its second haplotype, in
            the order of the file; `None` for the second where all its genotypes there are haploid.

        Raises:
            DatasetError: genotypes are heterozygous without a phase; REF of an allele that a haplotype has is
                not the genome's; a genotype has more than two alleles or cannot be read.
        """
        held: list[tuple[list[Edit], list[Edit]]] = [([], []) for _ in self.samples]
        ploidies = [0] * len(self.samples)
        unphased, first = 0, ""
        counted = range(start + margin, end - margin)
        for where, position, alleles, genotypes in self._records(contig, start - _BEFORE_BP, end):
            counts: Counter[str] = self.counts if position in counted else Counter()
            chosen = {genotype: self._parse(where, genotype, len(alleles)) for genotype in set(genotypes)}
            if min(ploidies) < _PLOIDY:
                # A missing genotype may stand without a separator, whatever the ploidy.
                here = {genotype: len(both) if genotype != MISSING else 0 for genotype, both in chosen.items()}
                ploidies = [
                    max(before, here[genotype]) for before, genotype in zip(ploidies, genotypes, strict=True)
                ]
            # Of most records, most samples have the reference.
            plain = {genotype for genotype, both in chosen.items() if not any(both) and MISSING not in genotype}
            if len(plain) == len(chosen):
                continue
            edits = {
                allele: self._edit(where, position, alleles[0], alleles[allele], reference)
                for allele in {allele for both in chosen.values() for allele in both if allele > 0}
            }
            for number, genotype in enumerate(genotypes):
                if genotype in plain:
                    continue
                if chosen[genotype][0] < 0:  # without a phase
                    unphased += 1
                    first = first or f"{where} of {self.samples[number]}"
                    counts["heterozygous genotypes without a phase, taken as the reference"] += 1
                    continue
                if MISSING in genotype:
                    counts["genotypes with missing alleles, taken as the reference"] += 1
                for haplotype, allele in enumerate(chosen[genotype]):
                    edit = edits[allele] if allele else None
                    if edit is not None:
                        held[number][haplotype].append(edit)
                    elif allele and alleles[allele] == _DELETED:
                        counts["alleles *, which are part of an earlier deletion"] += 1
                    elif allele:
                        counts["symbolic alleles and other letters, taken as the reference"] += 1
        if unphased and not self._skip_unphased:
            raise self._without_phase(unphased, first)
        return [
            (
                self._first_of(one, counted),
                None if ploidy == 1 else self._first_of(other, counted),
            )
            for (one, other), ploidy in zip(held, ploidies, strict=True)
        ]

    def check_phase(self, intervals: Iterable[Interval]) -> None:
        """Looks for heterozygous genotypes without a phase, where they are an error, ahead of `read`.

        Args:
            intervals: by the genome's contigs; each record is looked at once, however many share it.

        Raises:
            DatasetError: there are some: how many, and the first; or the file cannot be read.
        """
        if self._skip_unphased:
            return
        by_contig: dict[str, list[Interval]] = {}
        for interval in intervals:
            by_contig.setdefault(interval.chrom, []).append(interval)
        count, first = 0, ""
        for contig, some in by_contig.items():
            starts, ends = merge(np.array([i.start for i in some]), np.array([i.end for i in some]))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                for where, _, alleles, genotypes in self._records(contig, start, end):
                    wrong = {
                        genotype
                        for genotype in set(genotypes)
                        if self._parse(where, genotype, len(alleles))[0] < 0
                    }
                    if wrong and not count:
                        number = next(n for n, genotype in enumerate(genotypes) if genotype in wrong)
                        first = f"{where} of {self.samples[number]}"
                    count += sum(genotype in wrong for genotype in genotypes) if wrong else 0
        if count:
            raise self._without_phase(count, first)

    def _without_phase(self, count: int, first: str) -> DatasetError:
        return DatasetError(
            f"{self.path}: {count} heterozygous genotypes have no phase, the first one {first}; phase them "
            "(0|1 in place of 0/1), or skip them (--unphased skip: they are taken as the reference)"
        )

    def _records(
        self, contig: str, start: int, end: int
    ) -> Any:  # of where, position, alleles and genotypes, for mypy knows nothing of pysam
        """Yields records that overlap a stretch."""
        name = self._name_of.get(contig)
        if name is None or name not in self._file.index:
            return
        with quiet_htslib():
            try:
                for record in self._file.fetch(name, max(start, 0), max(end, 1)):
                    where = f"{record.chrom}:{record.pos}"
                    if not record.alts:
                        continue
                    cells = str(record).rstrip("\n").split("\t")
                    if len(cells) < 9 or cells[8].split(":")[0] != "GT":
                        raise DatasetError(f"{self.path}: {where}: has no genotypes (GT); add them")
                    alleles = [cells[3].upper(), *cells[4].upper().split(",")]
                    genotypes = [cells[column].partition(":")[0] for column in self._columns]
                    yield where, record.pos - 1, alleles, genotypes
            except (OSError, ValueError) as error:
                if isinstance(error, DatasetError):
                    raise
                raise DatasetError(
                    f"{self.path}: cannot be read at {name}:{max(start, 0) + 1}-{end} ({error}); index it "
                    "again (`bcftools index -f`)"
                ) from error

    def _parse(self, where: str, genotype: str, count: int) -> tuple[int, ...]:
        """Returns the alleles of the haplotypes, a missing one as 0; -1 where nothing says which is which."""
        is_phased = "|" in genotype
        texts = genotype.replace("|", "/").strip("/").split("/")
        try:
            alleles = tuple(0 if text == MISSING else int(text) for text in texts)
        except ValueError:
            alleles = (count,)
        if len(alleles) > _PLOIDY or max(alleles) >= count:
            raise DatasetError(
                f"{self.path}: {where}: genotype {genotype!r} is not of one or two of its {count} alleles; "
                "correct it"
            )
        if len(alleles) == _PLOIDY and alleles[0] != alleles[1] and not is_phased:
            return (-1, -1)
        return alleles

    def _edit(self, where: str, position: int, old: str, new: str, reference: Reference) -> Edit | None:
        edit = Edit.of(position, old, new)
        # The base before an indel may be any letter: it stays.
        if not (new.isalpha() and _BASES.issuperset(edit.bases)):
            return None
        there = reference(position, position + len(old))
        if there != old:
            raise DatasetError(
                f"{self.path}: {where}: REF is {old[:20]}, the genome has {there[:20]}; use the FASTA file "
                "that the variants were called against"
            )
        return edit

    def _first_of(self, edits: Sequence[Edit], counted: range) -> tuple[Edit, ...]:
        """Leaves out what overlaps an earlier one."""
        kept: list[Edit] = []
        for edit in edits:
            if kept and edit.position < kept[-1].end:
                # An insertion or deletion begins after its first base, which another one may have changed.
                joins = edit.position == kept[-1].end - 1 and edit.is_indel and not kept[-1].is_insertion
                if not joins:
                    what = "alleles that overlap an earlier one of their haplotype, passed over"
                    self.counts[what] += edit.position in counted
                    continue
            kept.append(edit)
        return tuple(kept)


class PersonalSequence:
    """A stretch of a contig with edits, and where its positions came to stand.

    Args:
        start: 0-based start of the stretch.
        end: its end. Edits that reach beyond either make it longer.
        edits: sorted and apart; those outside of the stretch do not count.
        reference: of the contig.

    Attributes:
        bases: what results.
        edits: those that count.
    """

    def __init__(self, start: int, end: int, edits: Sequence[Edit], reference: Reference) -> None:
        self.edits = tuple(edit for edit in edits if edit.end >= start and edit.start <= end)
        self._start = min([start, *(edit.start for edit in self.edits)])
        end = max([end, *(edit.end for edit in self.edits)])
        bases = reference(self._start, end)
        pieces, at = [], self._start
        self._ends: list[int] = []
        self._shifts = [0]
        for edit in self.edits:
            pieces += [bases[at - self._start : edit.start - self._start], edit.bases]
            at = edit.end
            self._ends.append(edit.end)
            self._shifts.append(self._shifts[-1] + len(edit.bases) - (edit.end - edit.start))
        self.bases = "".join([*pieces, bases[at - self._start :]])

    def base(self, position: int, *, forward: bool = True) -> int:
        """Returns where the base of a position stands in `bases`.

        A base that was replaced together with others stands as far from the first of them, or at the last one.
        In place of one that was deleted there is the next that is left.

        Args:
            position: 0-based position on the contig.
            forward: else all is counted leftwards, from the last of bases that were replaced.
        """
        number = bisect.bisect_right(self._ends, position)
        at = position - self._start + self._shifts[number]
        if number < len(self.edits) and self.edits[number].start <= position:
            edit = self.edits[number]
            first = edit.start - self._start + self._shifts[number]
            if forward:
                return first + (min(position - edit.start, len(edit.bases) - 1) if edit.bases else 0)
            return first + (max(len(edit.bases) - (edit.end - position), 0) if edit.bases else -1)
        return at

    def stretch(self, start: int, end: int) -> tuple[int, int]:
        """Returns where a stretch of the contig lies in `bases`, without what was inserted at its ends."""
        number = bisect.bisect_right(self._ends, start)
        first = start - self._start + self._shifts[number]
        if number < len(self.edits) and self.edits[number].start < start:
            edit = self.edits[number]
            first = edit.start - self._start + self._shifts[number]
            first += min(start - edit.start, len(edit.bases))
        number = bisect.bisect_left(self._ends, end)
        # An edit that ends here and is no insertion here lies within.
        if number < len(self.edits) and self._ends[number] == end and self.edits[number].start < end:
            number += 1
        last = end - self._start + self._shifts[number]
        if number < len(self.edits) and self.edits[number].start < end:
            edit = self.edits[number]
            last = edit.start - self._start + self._shifts[number]
            last += min(end - edit.start, len(edit.bases))
        return first, max(first, last)
