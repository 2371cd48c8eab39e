"""A trained model that is asked: predictions of windows, effects of variants."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from enformer_keras.formats.contig_names import ContigNames
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.formats.variants import Variant
from enformer_keras.model.xla import asks_for_xla
from enformer_keras.prediction.alleles import Allele, ReferencePolicy, Status, reverse_complement
from enformer_keras.prediction.asking import (
    PredictedTrack,
    Strands,
    VariantPrediction,
    VariantScores,
    batched,
    check_averaging,
    opened_genome,
    strands_of,
)
from enformer_keras.prediction.card import ModelCard
from enformer_keras.prediction.contributions import Contributions, contributions
from enformer_keras.prediction.gene_windows import Part
from enformer_keras.prediction.genes import GenePredictions, predict_genes_in_parts, score_genes_in_parts
from enformer_keras.prediction.gradients import Pullback, pullback
from enformer_keras.prediction.haplotypes import LocusHaplotypes, haplotypes
from enformer_keras.prediction.mutagenesis import Mutagenesis, saturation_mutagenesis
from enformer_keras.prediction.products import products_of, within
from enformer_keras.prediction.recent import RecentPredictions
from enformer_keras.prediction.resolving import check_references as first_references
from enformer_keras.prediction.resolving import resolve_each
from enformer_keras.prediction.reuse import TowerReuse, is_cut, is_split
from enformer_keras.prediction.variant_scoring import predict_alleles, predict_variant, score_in_parts
from enformer_keras.prediction.windows import (
    Center,
    Frame,
    StrandView,
    is_inside,
)

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.genes import Gene
    from enformer_keras.prediction.served import ServedHead

__all__ = [
    "PredictedTrack",
    "Predictor",
    "Strands",
    "VariantPrediction",
    "VariantScores",
    "check_averaging",
    "opened_genome",
    "strands_of",
]

_logger = logging.getLogger(__name__)


class Predictor:
    """Asks one head of a model.

    Args:
        model: from one-hot `[batch, window_length, 4]` to head -> `[batch, target_length, tracks]`, or to one
            such array. It is called with batches of one size, so that it is compiled once.
        frame: the model's window and bins.
        tracks: all outputs of the head, in their order.
        head: which of the model's outputs; `None` where it has one that has no name.
        batch_size: windows predicted at a time.
        reuse: of windows that differ in an allele alone, compute stem and tower only for the bins that see it
            (`reuse.TowerReuse`), where the model is an Enformer; the numbers are the same.
        card: what else is known of the model.
        any_genome: whether to take genomes other than the one that the card tells of.
        tf32: whether a model in float32 may round what it multiplies to TF32, on GPUs that do (`products`).

    Raises:
        ValueError: the tracks' strand pairs do not pair them, or the batch size is not a number above 0.
    """

    def __init__(
        self,
        model: keras.Model | ServedHead,
        frame: Frame,
        tracks: Sequence[PredictedTrack],
        head: str | None = None,
        batch_size: int = 4,
        reuse: bool = True,
        card: ModelCard | None = None,
        any_genome: bool = False,
        tf32: bool = False,
    ) -> None:
        pairs = [track.strand_pair for track in tracks]
        if any(not 0 <= pair < len(pairs) or pairs[pair] != track for track, pair in enumerate(pairs)):
            raise ValueError(f"strand pairs {pairs} must give each track a partner whose partner it is")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.model = model
        if isinstance(model, keras.Model):
            asks_for_xla(model)  # else `predict` would ask where it cannot be
        self.frame = frame
        self.tracks = tuple(tracks)
        self.head = head
        self.batch_size = batch_size
        self.products = products_of(model, tf32=tf32)
        split = reuse and is_split(model, frame.bin_size)
        if reuse and is_cut(model):
            _logger.warning(
                "a tower in pieces is not reused between alleles, so each takes full passes: give the model's "
                "with_tower_pieces(1)"
            )
        self._reuse = TowerReuse(model, batch_size, head, self.products) if split else None
        self.card = ModelCard() if card is None else card
        self.any_genome = any_genome
        # Genomes that were found to be the model's, by whichever names.
        self._accepted: set[Path] = set()

    def predict(
        self,
        windows: Sequence[str] | Sequence[Interval],
        genome: Genome | str | Path | None = None,
        *,
        tracks: Sequence[int] | None = None,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> np.ndarray:
        """Predicts windows.

        Args:
            windows: DNA of the window's length each; or intervals, about whose centres windows are laid.
            genome: where intervals lie, and where shifts find what stands beside a window; or its FASTA file.
            tracks: indices of the head's tracks; `None`: all.
            strands: `both` averages what is predicted for the two strands, turned back.
            shifts: bp by which the window moves to the right, to average over. All but 0 need intervals.
            contig_aliases: contig of the genome -> other names that it has among the intervals.

        Returns:
            float32 [windows, bins, tracks], bins along the forward strand.

        Raises:
            ValueError: a sequence has another length, or an argument cannot be.
            DatasetError: an interval lies on no contig of the genome, or the genome is not the model's.
        """
        columns = self.columns(tracks)
        found = np.zeros((len(windows), self.frame.target_length, len(columns)), dtype=np.float32)
        with contextlib.nullcontext() if genome is None else opened_genome(genome) as opened:
            each = self.predict_each(
                windows,
                opened,
                tracks=columns,
                strands=strands,
                shifts=shifts,
                contig_aliases=contig_aliases,
            )
            for number, bins in enumerate(each):
                found[number] = bins
        return found

    def predict_each(
        self,
        windows: Iterable[str | Interval],
        genome: Genome | None = None,
        *,
        tracks: Sequence[int] | None = None,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> Iterator[np.ndarray]:
        """Predicts windows as `predict` does, as they come: any number of them fits into memory.

        Yields:
            Of the next window float32 [bins, tracks].

        Raises:
            ValueError, DatasetError: see `predict`; of a window when its turn comes.
        """
        columns = self.columns(tracks)
        length = self.frame.window_length
        check_averaging(strands, shifts)
        names = ContigNames(None if genome is None else genome.contig_lengths, contig_aliases or {})
        if genome is not None:
            self.check_genome(genome, contig_aliases)

        def asked() -> Iterator[tuple[str, bool]]:
            for window in windows:
                if isinstance(window, Interval):
                    if genome is None:
                        raise ValueError("intervals need a genome to be read from: give genome=")
                    contig = names.find(window.chrom) or window.chrom
                    whole = dataclasses.replace(window, chrom=contig).resize(length)
                    shifted = [genome.sequence(whole.shift(shift)).decode() for shift in shifts]
                elif len(window) != length:
                    raise ValueError(f"a sequence of {len(window)} bp was given; the model reads {length} bp")
                elif tuple(shifts) != (0,):
                    raise ValueError("a window of its own cannot be shifted: give intervals and a genome")
                else:
                    shifted = [window]
                for bases in shifted:
                    for reverse in strands_of(strands):
                        yield (reverse_complement(bases.upper()) if reverse else bases), reverse

        count = len(shifts) * len(strands_of(strands))
        for group in batched(self.predict_strands(asked(), columns), count):
            mean = np.zeros((self.frame.target_length, len(columns)), dtype=np.float32)
            for bins in group:
                mean += bins / count
            yield mean

    def score_variants(
        self,
        variants: Iterable[Variant] | str | Path,
        genome: Genome | str | Path,
        *,
        statistics: Sequence[str] = ("SAD",),
        tracks: Sequence[int] | None = None,
        width: int | None = None,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        reference_policy: ReferencePolicy | str = ReferencePolicy.SKIP,
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
        centers: Iterable[Center | None] | None = None,
        share_windows: int | None = None,
    ) -> VariantScores:
        """Scores alleles by two predictions each, of the reference's window and of the alternative's.

        The middle of the variant stands at the window's base `window_length / 2 - 1` (from 0), along whichever
        strand is predicted; predictions of REF and ALT are averaged over strands and shifts, ALT's bins lie on
        REF's (`AlleleWindows.align`), and the statistics are taken of these.

        Args:
            variants: alleles, or a file of them (`variants.read_variants`).
            genome: what they are variants of, or its FASTA file.
            statistics: of `statistics.FORMULAS`.
            tracks: indices of the head's tracks; `None`: all.
            width: bp about the variant whose bins count (`Frame.central_bins`); `None`: the whole target.
            strands: `both` averages over the two strands; with `forward` alone a genome's reverse complement
                scores differently.
            shifts: bp by which windows move to the right along the strand that is predicted.
            reference_policy: what to do where REF is not the genome's.
            contig_aliases: contig of the genome -> other names that it has among the variants.
            centers: for each allele, in their order, what stands in the middle of the window in place of the
                allele's own middle: the 0-based position of a base on the forward strand, or a stretch; `None`:
                its own. An allele that such a window does not hold is not scored (`outside_window`).
            share_windows: bp of the cells of each contig's grid; all alleles of a cell are seen in the one
                window about its middle, and so share a reference. `width` then is about the allele all the
                same. The scores are of other windows than without, but as well depend on nothing but their
                variant.

        Returns:
            A row for each allele, in the order in which they came.

        Raises:
            DatasetError: a file that cannot be read; the genome is not the model's (`check_genome`); more than
                a fifth of the first 1,000 alleles have another REF than the genome; with the policy `fail` the
                first that has.
            ValueError: an argument cannot be.
        """
        parts = self.score_in_parts(
            variants,
            genome,
            statistics=statistics,
            tracks=tracks,
            width=width,
            strands=strands,
            shifts=shifts,
            reference_policy=reference_policy,
            contig_aliases=contig_aliases,
            centers=centers,
            share_windows=share_windows,
        )
        return VariantScores.join(parts, statistics, [self.tracks[column] for column in self.columns(tracks)])

    def score_in_parts(
        self,
        variants: Iterable[Variant] | str | Path,
        genome: Genome | str | Path,
        *,
        statistics: Sequence[str] = ("SAD",),
        tracks: Sequence[int] | None = None,
        width: int | None = None,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        reference_policy: ReferencePolicy | str = ReferencePolicy.SKIP,
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
        centers: Iterable[Center | None] | None = None,
        keep_predictions: bool = False,
        share_windows: int | None = None,
        check_references: bool = True,
    ) -> Iterator[VariantScores]:
        """Scores alleles as `score_variants` does, a few at a time: any number of them fits into memory.

        It takes the arguments of `score_variants`, and two more: `keep_predictions`, whether what is predicted
        of the alleles comes with their scores; and `check_references`, whether of the first thousand not more
        than a fifth may have another REF than the genome, which of a part of a file says nothing.

        Yields:
            The next alleles.
        """
        return score_in_parts(
            self,
            self._reuse,
            variants,
            genome,
            statistics=statistics,
            tracks=tracks,
            width=width,
            strands=strands,
            shifts=shifts,
            reference_policy=reference_policy,
            contig_aliases=contig_aliases,
            centers=centers,
            keep_predictions=keep_predictions,
            share_windows=share_windows,
            check_references=check_references,
        )

    def predict_variant(
        self,
        variant: Variant,
        genome: Genome | str | Path,
        *,
        tracks: Sequence[int] | None = None,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> VariantPrediction:
        """Predicts both alleles of one variant, as `score_variants` compares them.

        Raises:
            DatasetError: the variant cannot be scored; its status is named.
            ValueError: an argument cannot be.
        """
        return predict_variant(
            self,
            variant,
            genome,
            tracks=tracks,
            strands=strands,
            shifts=shifts,
            contig_aliases=contig_aliases,
        )

    def resolve_variants(
        self,
        variants: Iterable[Variant],
        genome: Genome,
        policy: ReferencePolicy,
        aliases: Mapping[str, Sequence[str]],
        *,
        check_references: bool = True,
    ) -> Iterator[tuple[Variant, Status, Allele | None]]:
        """Holds variants against the genome; the first thousand together, before the first is yielded.

        Args:
            variants: as their file spells them.
            genome: what they are variants of.
            policy: what to do where REF is not the genome's.
            aliases: contig of the genome -> other names that it has among the variants.
            check_references: whether of the first thousand not too many may have another REF.

        Yields:
            Each variant, its status, and its allele where it can be scored.

        Raises:
            DatasetError: see `score_variants`.
        """
        self.check_genome(genome, aliases)
        variants, longest = iter(variants), self.frame.longest_allele
        if check_references:
            yield from first_references(variants, genome, policy, aliases, longest)
        yield from resolve_each(variants, genome, policy, aliases, longest)

    def predict_alleles(
        self,
        alleles: Sequence[Allele | None],
        views: Sequence[StrandView],
        shifts: Sequence[int],
        columns: Sequence[int],
        centers: Sequence[Center | None] | None = None,
        kept: RecentPredictions | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
        """Predicts reference and alternative of alleles, averaged over strands and shifts.

        No window is predicted twice, whichever of these alleles share it.

        Args:
            alleles: as `alleles.resolve` makes them; `None` where there is nothing to predict.
            views: the strands of the genome.
            shifts: bp by which windows move to the right along the strand.
            columns: indices of the head's tracks.
            centers: for each allele what its window lies about (`windows_of`); such windows hold
                their alleles (`holds`). `None`: each allele's own middle.
            kept: predictions of references by earlier calls with the same `columns`, which are taken from it;
                this call's are added.

        Yields:
            For each allele R and A, float32 [bins, tracks] along the forward strand, A's bins on R's
            (`AlleleWindows.align`); or `None`.
        """
        return predict_alleles(self, alleles, views, shifts, columns, centers, kept)

    def holds(
        self, allele: Allele, center: Center | None, views: Sequence[StrandView], shifts: Sequence[int]
    ) -> bool:
        """Says whether all windows about a place hold an allele (`windows.is_inside`)."""
        return center is None or all(
            is_inside(allele, view, self.frame, shift, center) for view in views for shift in shifts
        )

    def predict_strands(
        self,
        asked: Iterable[tuple[str, bool]],
        columns: Sequence[int],
        like: Sequence[str | None] | None = None,
        *,
        shared: bool = False,
    ) -> Iterator[np.ndarray]:
        """Predicts sequences as they come, a batch of them at a time.

        Args:
            asked: bases of the window's length, upper case, each with whether it is of the other strand; the
                predictions of such are turned back, tracks of strand pairs included.
            columns: indices of the head's tracks.
            like: for each the window, along the same strand, that it is like but for an allele, from which it
                may be predicted with less work; `None`: none.
            shared: whether many of them are like few.

        Yields:
            float32 [bins, tracks] along the forward strand.
        """
        partners = [self.tracks[column].strand_pair for column in columns]
        asked, strands = itertools.tee(asked)
        windows = (bases for bases, _ in asked)
        predicted = (
            itertools.chain.from_iterable(self._full_passes(windows))
            if like is None or self._reuse is None
            else self._reuse.predict(list(windows), like, one_by_one=shared)
        )
        for (_, reverse), bins in zip(strands, predicted, strict=False):
            yield bins[::-1, partners] if reverse else bins[:, columns]

    @property
    def fingerprint(self) -> str:
        """What tells models apart that give different numbers: of their weights, window, bins and head."""
        digest = hashlib.sha256(f"{self.frame} {self.head}".encode())
        for values in self.model.weights:
            array = np.ascontiguousarray(keras.ops.convert_to_numpy(values))
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def seconds_per_window(self) -> float:
        """Measures the time that one window takes once the model is compiled: one batch, after one."""
        batch = ["N" * self.frame.window_length] * self.batch_size
        self._full_pass(batch)
        begun = time.perf_counter()
        self._full_pass(batch)
        return (time.perf_counter() - begun) / self.batch_size

    def forget(self) -> None:
        """Lets go of what is kept of windows: what is asked next is computed as if it were the first."""
        if self._reuse is not None:
            self._reuse.forget()

    def _full_passes(self, windows: Iterable[str]) -> Iterator[np.ndarray]:
        """Predicts windows in batches of one size.

        The last batch is filled with N: the model is compiled once, and no number depends on how full it is.
        """
        for batch in batched(windows, self.batch_size):
            filled = [*batch, *["N" * self.frame.window_length] * (self.batch_size - len(batch))]
            yield self._full_pass(filled)[: len(batch)]

    def _full_pass(self, windows: Sequence[str]) -> np.ndarray:
        """The one step from windows to predictions: float32 [batch, bins, all tracks]."""
        return self.predict_one_hot(one_hot_encode(windows))

    def predict_one_hot(self, batch: np.ndarray) -> np.ndarray:
        """Predicts a full batch of sequences as arrays, which need not be letters.

        Args:
            batch: float32 [batch_size, window_length, 4].

        Returns:
            float32 [batch_size, bins, all tracks], along the strand that was given.
        """
        # A SavedModel is TensorFlow's, whatever Keras's backend is.
        library = None if isinstance(self.model, keras.Model) else "tensorflow"
        predicted = within(self.products, self.model.predict_on_batch, library)(batch)
        return np.asarray(predicted if self.head is None else predicted[self.head], dtype=np.float32)

    def check_genome(self, genome: Genome, aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        """Refuses a genome that is not the one that the model was trained on, unless `any_genome` was said.

        Args:
            genome: the genome.
            aliases: contig of it -> other names, of which one may be the model's.

        Raises:
            DatasetError: see `ModelCard.check_genome`.
        """
        if not self.any_genome and genome.path not in self._accepted:
            self.card.check_genome(genome, aliases or {})
            self._accepted.add(genome.path)

    def score_genes(
        self,
        variants: Iterable[Variant] | str | Path,
        genome: Genome | str | Path,
        genes: Iterable[Gene] | str | Path,
        *,
        part: Part = "tss",
        distance: int | None = None,
        each_start: bool = False,
        statistics: Sequence[str] = ("SADR",),
        tracks: Sequence[int] | None = None,
        sense: bool = False,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        reference_policy: ReferencePolicy | str = ReferencePolicy.SKIP,
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> VariantScores:
        """Scores what alleles do to genes.

        The windows of a gene lie about its start, so that one reference serves all its alleles
        (`gene_windows.GeneWindow`); statistics are taken over the bins of the gene.

        Args:
            variants: alleles, or a file of them (`variants.read_variants`).
            genome: what they are variants of, or its FASTA file.
            genes: genes, or a file of them (`genes.read_genes`).
            part: bins that count: `tss`, that of the TSS and one on either side, as the authors do for CAGE;
                `exons`, as Borzoi's do for RNA; or `span`.
            distance: an allele belongs to the genes whose TSS is so near, in bp; `None`: to those in whose
                target it lies.
            each_start: whether each start of a gene's transcripts has rows of its own; else the gene has one
                start, the first in the direction of transcription.
            statistics: of `statistics.FORMULAS`.
            tracks: indices of the head's tracks; `None`: all.
            sense: whether genes of the minus strand have the values of each track's strand pair in its place,
                so that a column is about the gene's own strand, or about the other one, for all genes.
            strands: see `score_variants`.
            shifts: as well; each less than half of a bin.
            reference_policy: what to do where REF is not the genome's.
            contig_aliases: contig of the genome -> other names that it has among variants and genes.

        Returns:
            A row for each allele and gene, in the order of the alleles, then of the genes, with
            `genes.GENE_COLUMNS` as `further`; an allele without a gene has one (`no_gene`).

        Raises:
            DatasetError: see `score_variants` and `genes.read_genes`.
            ValueError: an argument cannot be.
        """
        parts = score_genes_in_parts(
            self,
            variants,
            genome,
            genes,
            part=part,
            distance=distance,
            each_start=each_start,
            statistics=statistics,
            tracks=tracks,
            sense=sense,
            strands=strands,
            shifts=shifts,
            reference_policy=reference_policy,
            contig_aliases=contig_aliases,
        )
        return VariantScores.join(parts, statistics, [self.tracks[column] for column in self.columns(tracks)])

    def predict_genes(
        self, genome: Genome | str | Path, genes: Iterable[Gene] | str | Path, **options: Any
    ) -> GenePredictions:
        """Predicts the expression of genes: of each track the sum over the bins of a gene.

        Args:
            genome: where the genes lie, or its FASTA file.
            genes: genes, or a file of them (`genes.read_genes`).
            options: `part`, `each_start`, `tracks`, `sense`, `strands`, `shifts` and `contig_aliases` of
                `score_genes`, whose statistic REF this is.

        Returns:
            A row for each gene, in their order.
        """
        columns = [self.tracks[column] for column in self.columns(options.get("tracks"))]
        parts = list(predict_genes_in_parts(self, genome, genes, **options))
        return GenePredictions(
            tuple(window for part in parts for window in part.windows),
            np.concatenate([np.zeros((0, len(columns)), dtype=np.float32), *(part.sums for part in parts)]),
            tuple(columns),
        )

    @functools.cached_property
    def pullback(self) -> Pullback:
        """Gives gradients of weighted sums of predictions (`gradients.pullback`); compiled once."""
        return within(self.products, pullback(self.model, self.head))

    def contributions(
        self, regions: Iterable[Interval], genome: Genome | str | Path, **options: Any
    ) -> Iterator[Contributions]:
        """Tells what each base of regions contributes to a prediction: `contributions.contributions`."""
        return contributions(self, regions, genome, **options)

    def saturation_mutagenesis(
        self, regions: Iterable[Interval], genome: Genome | str | Path, **options: Any
    ) -> Iterator[Mutagenesis]:
        """Scores all substitutions of regions, or deletions: `mutagenesis.saturation_mutagenesis`."""
        return saturation_mutagenesis(self, regions, genome, **options)

    def haplotypes(
        self, variants: str | Path, genome: Genome | str | Path, **options: Any
    ) -> Iterator[LocusHaplotypes]:
        """Predicts the sequences that samples have of regions and genes, haplotype by haplotype.

        The sequence of a haplotype is that of `bcftools consensus -H 1` or `-H 2`. The middle of a region, or
        a gene's TSS, keeps its place in the window, and on both sides of it the haplotype fills the window, as
        far as the genome must be read for that. If that base was deleted, the next one that is left has its
        place (to the right, or in the direction of transcription). Haplotypes that do not differ within the
        window are predicted once.

        Args:
            variants: indexed VCF or BCF file with phased genotypes.
            genome: what they are variants of, or its FASTA file.
            options: `regions`, intervals of the genome, all of whose bins count; `genes`, genes or a file of
                them, whose bins `part` says; both where they lie on the haplotype. `samples`: which, all by
                default. `unphased`: `refuse` heterozygous genotypes without a phase, or `skip` them, so that
                they are the reference. `part`, `each_start`, `tracks`, `sense`, `strands`, `shifts` and
                `contig_aliases` as in `score_genes`.

        Returns:
            Each region, then each gene, as they are predicted.

        Raises:
            DatasetError: see `haplotypes.PhasedVariants` and `genes.read_genes`.
            ValueError: an argument cannot be.
        """
        return haplotypes(self, variants, genome, **options)

    def columns(self, tracks: Sequence[int] | None) -> list[int]:
        """Returns indices of the head's tracks, checked; all of them for `None`.

        Raises:
            ValueError: one is none, or there is none.
        """
        columns = list(range(len(self.tracks))) if tracks is None else list(tracks)
        wrong = [column for column in columns if not 0 <= column < len(self.tracks)]
        if wrong or not columns:
            raise ValueError(f"tracks={columns} must be indices from 0 to {len(self.tracks) - 1}")
        return columns
