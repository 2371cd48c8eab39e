"""Alleles held against a genome: what of it each replaces, or why it cannot be scored."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import ALPHABET
from enformer_keras.formats.variants import MISSING, Variant

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

_BASES = frozenset(ALPHABET)
_COMPLEMENT = str.maketrans("ACGTNRYSWKMBDHV", "TGCANYRSWMKVHDB")
# Read at once where an indel is rolled along a repeat.
_STEP_BP = 256


class Status(enum.StrEnum):
    """What became of an allele."""

    SCORED = "scored"
    SWAPPED = "swapped"  # scored; the genome has the alternative allele
    FORCED = "forced"  # scored; the genome has another reference
    NO_ALTERNATE = "no_alternate"
    NOT_ACGT = "not_acgt"  # symbolic alleles, breakends, `*`, N and other ambiguous letters
    SAME_ALLELES = "same_alleles"
    UNKNOWN_CONTIG = "unknown_contig"
    OUTSIDE_CONTIG = "outside_contig"
    REFERENCE_MISMATCH = "reference_mismatch"
    TOO_LONG = "too_long"
    OUTSIDE_WINDOW = "outside_window"  # of a window that is laid about something else than the allele
    NO_GENE = "no_gene"  # so near that it counts
    NO_BINS = "no_bins"  # of the gene lie in the target

    @property
    def is_scored(self) -> bool:
        """Whether there are numbers."""
        return self in (Status.SCORED, Status.SWAPPED, Status.FORCED)


class ReferencePolicy(enum.StrEnum):
    """What to do where a variant's REF is not what the genome has."""

    SKIP = "skip"  # the allele is not scored
    FAIL = "fail"  # an error
    SWAP = "swap"  # if the genome has the alternative allele: predict it as it stands, and report ALT - REF
    FORCE = "force"  # the written reference is put into the genome


@dataclasses.dataclass(frozen=True)
class Allele:
    """A stretch of a contig, and the bases that stand there instead.

    Attributes:
        chrom: contig of the genome.
        start: 0-based start of what is replaced.
        end: its end; `start` for an insertion.
        bases: what stands there instead; empty for a deletion.
        low: start of all stretches whose replacement gives the same sequence (an indel in a repeat has many).
        high: their end.
        background: what stands at `start` to `end` in the reference where that is not the genome's; `None`: the
            genome's own bases.
    """

    chrom: str
    start: int
    end: int
    bases: str
    low: int
    high: int
    background: str | None = None

    @property
    def shift(self) -> int:
        """Bp by which the sequence grows; less than 0 where it gets shorter."""
        return len(self.bases) - (self.end - self.start)

    @property
    def length(self) -> int:
        """Bp within which everything lies that differs."""
        return max(self.high - self.low, len(self.bases))

    def on_other_strand(self, contig_length: int) -> Allele:
        """Returns the allele of the contig's reverse complement."""
        return Allele(
            self.chrom,
            contig_length - self.end,
            contig_length - self.start,
            reverse_complement(self.bases),
            contig_length - self.high,
            contig_length - self.low,
            None if self.background is None else reverse_complement(self.background),
        )


def reverse_complement(bases: str) -> str:
    """Returns the other strand of IUPAC letters, upper case."""
    return bases.translate(_COMPLEMENT)[::-1]


def resolve(
    variant: Variant, genome: Genome, contig: str | None, policy: ReferencePolicy, longest: int
) -> tuple[Status, Allele | None]:
    """Holds a variant against the genome.

    Common bases at both ends are trimmed, and of a pure insertion or deletion all its places are found, so that
    every spelling of one change gives one allele.

    Args:
        variant: as the file spells it.
        genome: what it is a variant of.
        contig: the genome's name of the variant's contig; `None`: it has none.
        policy: what to do where the reference differs.
        longest: bp that an allele may have (`Allele.length`).

    Returns:
        The status, and the allele where it can be scored. With `SWAPPED` the allele leads from the genome to
        the written reference, so its effect counts the other way round.
    """
    reference, alternate = variant.reference.upper(), variant.alternate.upper()
    if alternate == MISSING:
        return Status.NO_ALTERNATE, None
    if not (_BASES.issuperset(reference) and _BASES.issuperset(alternate)):
        return Status.NOT_ACGT, None
    if reference == alternate:
        return Status.SAME_ALLELES, None
    if contig is None:
        return Status.UNKNOWN_CONTIG, None
    start, length = variant.start, genome.contig_lengths[contig]
    if start < 0 or start + len(reference) > length:
        return Status.OUTSIDE_CONTIG, None
    if max(len(reference), len(alternate)) > longest:
        return Status.TOO_LONG, None

    def has(bases: str) -> bool:
        end = start + len(bases)
        return end <= length and genome.sequence(Interval(contig, start, end)).decode() == bases

    status = Status.SCORED
    if not has(reference):
        if policy is ReferencePolicy.FORCE:
            end = start + len(reference)
            return Status.FORCED, Allele(contig, start, end, alternate, start, end, background=reference)
        if policy is not ReferencePolicy.SWAP or not has(alternate):
            return Status.REFERENCE_MISMATCH, None
        status, reference, alternate = Status.SWAPPED, alternate, reference
    allele = _roll(_trim(contig, start, reference, alternate), genome, longest)
    return (status, allele) if allele.length <= longest else (Status.TOO_LONG, None)


def _trim(contig: str, start: int, reference: str, alternate: str) -> Allele:
    """Leaves out the bases that both alleles begin or end with."""
    shorter = min(len(reference), len(alternate))
    last = next((n for n in range(shorter) if reference[-1 - n] != alternate[-1 - n]), shorter)
    reference, alternate = reference[: len(reference) - last], alternate[: len(alternate) - last]
    shorter -= last
    first = next((n for n in range(shorter) if reference[n] != alternate[n]), shorter)
    start, end = start + first, start + len(reference)
    return Allele(contig, start, end, alternate[first:], start, end)


def _roll(allele: Allele, genome: Genome, longest: int) -> Allele:
    """Finds how far an insertion or deletion may move along a repeat without a change of the sequence.

    Gives up beyond `longest`, where the allele is too long in any case.
    """
    if allele.bases and allele.end > allele.start:
        return allele
    unit = allele.bases or genome.sequence(Interval(allele.chrom, allele.start, allele.end)).decode()
    length = genome.contig_lengths[allele.chrom]

    def run(at: int, step: int) -> int:
        """How many bases from `at` on, rightwards (1) or leftwards (-1), repeat the unit."""
        count = 0
        turned = unit if step > 0 else unit[::-1]
        while count <= longest:
            if step > 0:
                begin = at + count
                stretch = Interval(allele.chrom, begin, min(begin + _STEP_BP, length))
            else:
                begin = at - count
                stretch = Interval(allele.chrom, max(begin - _STEP_BP, 0), begin)
            bases = genome.sequence(stretch).decode()[::step]
            for base in bases:
                if base != turned[count % len(turned)]:
                    return count
                count += 1
            if len(bases) < _STEP_BP:
                break
        return count

    return dataclasses.replace(
        allele, low=allele.start - run(allele.start, -1), high=allele.end + run(allele.end, 1)
    )
