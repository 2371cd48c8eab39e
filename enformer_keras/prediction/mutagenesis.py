"""Saturation mutagenesis: what every substitution of a region does, and every deletion of some bp."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.formats.contig_names import ContigNames
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import ALPHABET
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.asking import opened_genome
from enformer_keras.prediction.screening import check_screen, choose_best, estimate_effects
from enformer_keras.prediction.statistics import check_statistics, first_order_of

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.prediction.asking import Answering, PredictedTrack, Strands
    from enformer_keras.prediction.windows import Frame


@dataclasses.dataclass(frozen=True)
class Mutagenesis:
    """What the changes of one region do.

    Attributes:
        interval: the region.
        sequence: its bases in the genome, upper case.
        effects: statistic -> float32 [bp, 4, tracks], of the base replaced by A, C, G or T. The genome's own
            base has the statistic of no change, which is exactly 0 (of REF and ALT: the reference's value).
            Where the genome has N, NaN. Of deletions float32 [bp - deletion + 1, tracks]: the bases
            from there on are left out, NaN where one of them is N, or where a repeat leaves open over more than
            a quarter of the target which bases are. Of screened substitutions NaN also where the estimate was
            not among the largest.
        tracks: the last axis.
        first_order: of screened substitutions statistic -> float32 [bp, 4, tracks], what `effects` were
            estimated to be (`screening.estimate_effects`); else empty.
    """

    interval: Interval
    sequence: str
    effects: Mapping[str, np.ndarray]
    tracks: tuple[PredictedTrack, ...]
    first_order: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def named(self) -> dict[str, np.ndarray]:
        """`effects`, and `first_order` under names of its own, as files have them; of the same shapes."""
        return {**self.effects, **{first_order_of(name): values for name, values in self.first_order.items()}}


def saturation_mutagenesis(
    predictor: Answering,
    regions: Iterable[Interval],
    genome: Genome | str | Path,
    *,
    statistics: Sequence[str] = ("SAD",),
    tracks: Sequence[int] | None = None,
    width: int | None = None,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    deletion: int | None = None,
    window_per_base: bool = False,
    screen: int | None = None,
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[Mutagenesis]:
    """Scores all three substitutions of every base of regions, or all deletions of a length.

    The effects are what `Predictor.score_variants` says of these variants with the region for their `centers`;
    with `window_per_base`, without it.

    Args:
        predictor: the model.
        regions: of the genome, each no longer than the model's target.
        genome: the genome, or its FASTA file.
        statistics: of `statistics.FORMULAS`.
        tracks: indices of the head's tracks; `None`: all.
        width: bp about the window's middle whose bins count; `None`: the whole target.
        strands: `both` averages over the two strands.
        shifts: bp by which windows move to the right along the strand that is predicted.
        deletion: bp of a deletion that slides over the region; `None`: substitutions.
        window_per_base: whether each change stands in the middle of a window of its own. Else all changes of a
            region are seen in the one window about the region's middle, which takes half as long.
        screen: of each region only so many substitutions for each statistic and track, those that gradients
            estimate to do most, are scored, for all tracks; the estimates come too. `None`: all are scored.
        contig_aliases: contig of the genome -> other names that it has among the regions.
        advance: is told of every few changes that are done how many they are.

    Yields:
        The effects of each region, in their order.

    Raises:
        ValueError: an argument cannot be, or a region is too long or too short.
        DatasetError: a region does not lie on the genome, or the genome is not the model's.
    """
    check_statistics(statistics)
    if screen is not None:
        check_screen(screen, statistics, deletion, window_per_base)
    # What no change scores is not predicted: 0, and of these two the reference's own value.
    of_reference = [name for name in statistics if name in ("REF", "ALT")]
    asked = list(dict.fromkeys([*statistics, *(["REF"] if of_reference else [])]))
    columns = predictor.columns(tracks)
    with opened_genome(genome) as opened:
        for region in under_genome_names(regions, opened.contig_lengths, contig_aliases):
            check_region(region, opened.contig_lengths, predictor.frame, deletion)
            sequence = opened.sequence(region).decode()
            first_order: dict[str, np.ndarray] = {}
            if screen is not None:
                predictor.check_genome(opened, contig_aliases)
                first_order = estimate_effects(
                    predictor,
                    region,
                    opened,
                    statistics=statistics,
                    columns=columns,
                    width=width,
                    strands=strands,
                    shifts=shifts,
                )
            if deletion is None:
                places = [
                    (at, letter)
                    for at, base in enumerate(sequence)
                    for letter, new in enumerate(ALPHABET)
                    if base in ALPHABET and new != base
                ]
                if screen is not None:
                    best = choose_best(first_order, sequence, screen)
                    places = [place for place in places if best[place]]
                variants = [
                    Variant(region.chrom, region.start + at + 1, sequence[at], ALPHABET[letter])
                    for at, letter in places
                ]
                index: tuple[list[int], ...] = ([at for at, _ in places], [letter for _, letter in places])
                shape: tuple[int, ...] = (len(sequence), 4, len(columns))
            else:
                starts = range(len(sequence) - deletion + 1)
                index = ([at for at in starts if set(sequence[at : at + deletion]) <= set(ALPHABET)],)
                variants = [
                    Variant(region.chrom, region.start + at + 1, sequence[at : at + deletion], "")
                    for at in index[0]
                ]
                shape = (len(starts), len(columns))
            effects = {name: np.full(shape, np.nan, dtype=np.float32) for name in asked}
            done = 0
            for part in predictor.score_in_parts(
                variants,
                opened,
                statistics=asked,
                tracks=columns,
                width=width,
                strands=strands,
                shifts=shifts,
                contig_aliases=contig_aliases,
                centers=None if window_per_base else [region] * len(variants),
            ):
                end = done + len(part.variants)
                for name, values in part.statistics.items():
                    effects[name][tuple(axis[done:end] for axis in index)] = values
                done = end
                if advance is not None:
                    advance(len(part.variants))
            if deletion is None:
                own = [(at, ALPHABET.index(base)) for at, base in enumerate(sequence) if base in ALPHABET]
                for at, letter in own:
                    for name in asked:
                        unchanged = effects["REF"][at, letter - 1] if name in ("REF", "ALT") else 0
                        effects[name][at, letter] = unchanged
            yield Mutagenesis(
                region,
                sequence,
                {name: effects[name] for name in statistics},
                tuple(predictor.tracks[column] for column in columns),
                first_order,
            )


def under_genome_names(
    regions: Iterable[Interval],
    contig_lengths: Mapping[str, int],
    contig_aliases: Mapping[str, Sequence[str]] | None,
) -> Iterator[Interval]:
    """Gives regions under the genome's names of their contigs; those of no known name as they are."""
    names = ContigNames(contig_lengths, contig_aliases or {})
    for region in regions:
        yield dataclasses.replace(region, chrom=names.find(region.chrom) or region.chrom)


def check_region(
    region: Interval, contig_lengths: Mapping[str, int], frame: Frame, deletion: int | None = None
) -> None:
    """Checks a region whose bases are to be changed.

    Args:
        region: the region.
        contig_lengths: of the genome.
        frame: the model's.
        deletion: bp of the deletions; `None`: bases are substituted.

    Raises:
        DatasetError: the region does not lie on the genome.
        ValueError: it is longer than the model's target, or shorter than a deletion, or deletions are too long.
    """
    check_on_genome(region, contig_lengths)
    longest = frame.target_length * frame.bin_size
    if region.width > longest:
        raise ValueError(
            f"{region} has {region.width} bp; a region may have the model's target of {longest} bp: give it in "
            "parts"
        )
    if deletion is not None and not 1 <= deletion <= min(frame.longest_allele, region.width):
        raise ValueError(
            f"deletions of {deletion} bp in {region}: give at least 1 bp, at most {frame.longest_allele} (a "
            f"quarter of the target) and the region's {region.width} bp"
        )


def check_on_genome(region: Interval, contig_lengths: Mapping[str, int]) -> None:
    """Checks that a region has a base of a contig; past the contig's ends there is N.

    Raises:
        DatasetError: it has none.
    """
    length = contig_lengths.get(region.chrom)
    if length is None:
        known = ", ".join(list(contig_lengths)[:8])
        raise DatasetError(
            f"{region} lies on none of the genome's contigs, {known}; use the FASTA file's names"
        )
    if not region.truncate(length).width:
        raise DatasetError(
            f"{region} has no base of {region.chrom}, which has {length} bp; correct it, or use the assembly "
            "that it is of"
        )
