"""Alleles of a file held against a genome, and whether it is the genome that they were called against."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from enformer_keras.formats.contig_names import ContigNames
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.alleles import Allele, ReferencePolicy, Status, resolve

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# Of so many first variants not more than a share may have another REF than the genome, or it is another genome.
LOOKED_AT = 1000
_LEAST_LOOKED_AT = 20
_MOST_MISMATCHES = 0.2
# Bp of alleles that are looked at where no model says what it takes.
_LONGEST = 1 << 16

Resolved = tuple[Variant, Status, Allele | None]


def resolve_each(
    variants: Iterable[Variant],
    genome: Genome,
    policy: ReferencePolicy,
    aliases: Mapping[str, Sequence[str]],
    longest: int,
) -> Iterator[Resolved]:
    """Holds variants against a genome, one after another.

    Args:
        variants: as their file spells them.
        genome: what they are variants of.
        policy: what to do where REF is not the genome's.
        aliases: contig of the genome -> other names that it has among the variants.
        longest: bp that an allele may have.

    Yields:
        Each variant, its status, and its allele where it can be scored.

    Raises:
        DatasetError: with the policy `fail`, a variant has another REF than the genome.
    """
    names = ContigNames(genome.contig_lengths, aliases)
    for variant in variants:
        contig = names.find(variant.chrom)
        status, allele = resolve(variant, genome, contig, policy, longest)
        if status is Status.REFERENCE_MISMATCH and policy is ReferencePolicy.FAIL:
            raise DatasetError(
                f"{variant} ({variant.name or 'without a name'}): {genome.path} has other bases there; "
                "use the FASTA file that the variants were called against, or skip such variants"
            )
        yield variant, status, allele


def check_references(
    variants: Iterable[Variant],
    genome: Genome,
    policy: ReferencePolicy,
    aliases: Mapping[str, Sequence[str]],
    longest: int = _LONGEST,
) -> list[Resolved]:
    """Holds the first thousand variants of a file against a genome; for the arguments see `resolve_each`.

    Raises:
        DatasetError: more than a fifth of them have another REF than the genome; see also `resolve_each`.
    """
    some = itertools.islice(variants, LOOKED_AT)
    first = list(resolve_each(some, genome, policy, aliases, longest))
    looked_at = [status for _, status, _ in first if status.is_scored or status is Status.REFERENCE_MISMATCH]
    wrong = [variant for variant, status, _ in first if status is Status.REFERENCE_MISMATCH]
    if len(looked_at) >= _LEAST_LOOKED_AT and len(wrong) > _MOST_MISMATCHES * len(looked_at):
        raise DatasetError(
            f"{len(wrong)} of the first {len(looked_at)} variants have another REF than {genome.path}, "
            f"such as {wrong[0]}; use the FASTA file of the assembly that they were called against"
        )
    return first
