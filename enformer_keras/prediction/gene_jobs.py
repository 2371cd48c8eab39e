"""Predictions of genes and of haplotypes as jobs in parts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.formats.genes import Gene, at_each_start
from enformer_keras.formats.haplotypes import PhasedVariants
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.gene_windows import Part, gene_windows
from enformer_keras.prediction.genes import GenePredictions, predict_genes_in_parts
from enformer_keras.prediction.haplotypes import LocusHaplotypes, haplotypes, loci_of
from enformer_keras.prediction.jobs import Asked, Opened, SlicedJob, digest_of, question_of
from enformer_keras.prediction.parts import PartsFolder

# Of a part, at most: as much work as that of a part of tiles.
_GENES = 64
_HAPLOTYPES = 128


@dataclasses.dataclass
class GenesJob(SlicedJob):
    """Predicts genes; a part has `sums`, float32 [genes, tracks].

    Attributes:
        genes: each with the start that its window lies about.
        part: what of a gene counts.
        sense: whether genes of the minus strand have each track's strand pair in its place.
    """

    genes: tuple[Gene, ...]
    part: Part
    sense: bool

    @classmethod
    def of(
        cls,
        asked: Asked,
        genes: Iterable[Gene],
        *,
        part: Part = "tss",
        each_start: bool = False,
        sense: bool = False,
        said: Mapping[str, Any] | None = None,
    ) -> GenesJob:
        """Lays the job out; for the arguments see `Predictor.score_genes` and `TilesJob.of`."""
        genes = tuple(at_each_start(genes) if each_start else genes)
        with asked.open() as opened:
            question = question_of(
                asked, opened, said, of="genes", part=part, sense=sense, genes=digest_of(genes)
            )
        return cls(asked, question, len(genes), _GENES, genes, part, sense)

    @contextlib.contextmanager
    def open(self) -> Iterator[_GenesWorker]:
        """Opens it."""
        with self.opened() as opened:
            yield _GenesWorker(self, opened)

    def read(self, parts: PartsFolder) -> Iterator[GenePredictions]:
        """Reads all parts: the next genes."""
        asked = self.asked
        with asked.open() as opened:
            tracks = tuple(opened.predictor.tracks[track] for track in asked.tracks)
            windows = gene_windows(
                opened.predictor,
                opened.genome,
                self.genes,
                part=self.part,
                strands=asked.strands,
                shifts=asked.shifts,
            )
        for index in range(self.num_parts):
            some = tuple(windows[number] for number in self.items(index))
            yield GenePredictions(some, parts.read(index)["sums"], tracks)


@dataclasses.dataclass(frozen=True)
class _GenesWorker:
    job: GenesJob
    opened: Opened

    def part(self, index: int) -> dict[str, np.ndarray]:
        (predictor, genome, tell), job = self.opened, self.job
        genes = [job.genes[number] for number in job.items(index)]
        sums = []
        for found in predict_genes_in_parts(
            predictor, genome, genes, part=job.part, sense=job.sense, **job.asked.averaged
        ):
            sums.append(found.sums)
            tell(len(found.sums))
        return {"sums": np.concatenate(sums)}


@dataclasses.dataclass
class HaplotypesJob(SlicedJob):
    """Predicts haplotypes of loci, regions first, then genes.

    A part has, of its haplotypes one after another, `sums` float32 [haplotypes, tracks], `num_variants`,
    `num_bins` and `covered` [haplotypes]; `num_haplotypes` int32 [loci]; `rows` int32 [loci, samples, 2]; and
    `counts`, of what was not taken as it stands, a text in JSON.

    Attributes:
        regions: on contigs of the genome.
        genes: each with the start that is its anchor.
        variants: VCF or BCF file with phased genotypes, and its index.
        samples: their names.
        skip_unphased: whether heterozygous genotypes without a phase are the reference, and no error.
        part: what of a gene counts.
        sense: whether genes of the minus strand have each track's strand pair in its place.
    """

    regions: tuple[Interval, ...]
    genes: tuple[Gene, ...]
    variants: Path
    samples: tuple[str, ...]
    skip_unphased: bool
    part: Part
    sense: bool

    @classmethod
    def of(
        cls,
        asked: Asked,
        regions: Iterable[Interval],
        genes: Iterable[Gene],
        variants: Path,
        samples: Sequence[str],
        *,
        skip_unphased: bool = False,
        part: Part = "tss",
        each_start: bool = False,
        sense: bool = False,
        said: Mapping[str, Any] | None = None,
    ) -> HaplotypesJob:
        """Lays the job out; for the arguments see `Predictor.haplotypes` and `TilesJob.of`."""
        regions, genes = tuple(regions), tuple(at_each_start(genes) if each_start else genes)
        with asked.open() as opened:
            question = question_of(
                asked,
                opened,
                said,
                [variants],
                of="haplotypes",
                samples=list(samples),
                skip_unphased=skip_unphased,
                part=part,
                sense=sense,
                loci=digest_of((*regions, *genes)),
            )
        per_part = max(1, _HAPLOTYPES // (1 + 2 * len(samples)))
        return cls(
            asked,
            question,
            len(regions) + len(genes),
            per_part,
            regions,
            genes,
            variants,
            tuple(samples),
            skip_unphased,
            part,
            sense,
        )

    @contextlib.contextmanager
    def open(self) -> Iterator[_HaplotypesWorker]:
        """Opens it."""
        with (
            self.opened() as opened,
            PhasedVariants(
                self.variants,
                opened.genome.contig_lengths,
                self.asked.aliases,
                samples=self.samples,
                skip_unphased=self.skip_unphased,
            ) as phased,
        ):
            yield _HaplotypesWorker(self, opened, phased)

    def loci(self, index: int) -> dict[str, Any]:
        """Returns the `regions` and `genes` of a part."""
        items, count = self.items(index), len(self.regions)
        return {
            "regions": [self.regions[number] for number in items if number < count],
            "genes": [self.genes[number - count] for number in items if number >= count],
        }

    def read(self, parts: PartsFolder, counts: Counter[str] | None = None) -> Iterator[LocusHaplotypes]:
        """Reads all parts: each locus, in their order.

        Args:
            parts: all of them done.
            counts: gets what was not taken as it stands -> how often.
        """
        asked = self.asked
        with asked.open() as opened:
            predictor, genome, _ = opened
            tracks = tuple(predictor.tracks[track] for track in asked.tracks)
            for index in range(self.num_parts):
                loci = loci_of(
                    predictor,
                    genome,
                    **self.loci(index),
                    part=self.part,
                    strands=asked.strands,
                    shifts=asked.shifts,
                )
                arrays = parts.read(index)
                if counts is not None:
                    counts.update(json.loads(str(arrays["counts"])))
                cuts = np.cumsum(arrays["num_haplotypes"])[:-1]
                each = [
                    np.split(arrays[name], cuts) for name in ("sums", "num_variants", "num_bins", "covered")
                ]
                for locus, sums, variants, bins, covered, rows in zip(loci, *each, arrays["rows"], strict=True):
                    yield LocusHaplotypes(locus, sums, variants, bins, covered, rows, self.samples, tracks)


@dataclasses.dataclass(frozen=True)
class _HaplotypesWorker:
    job: HaplotypesJob
    opened: Opened
    phased: PhasedVariants

    def part(self, index: int) -> dict[str, np.ndarray]:
        (predictor, genome, tell), job = self.opened, self.job
        self.phased.counts.clear()
        found = []
        for locus in haplotypes(
            predictor,
            self.phased,
            genome,
            **job.loci(index),
            part=job.part,
            sense=job.sense,
            **job.asked.averaged,
        ):
            found.append(locus)
            tell(1)
        return {
            "num_haplotypes": np.array([len(locus.sums) for locus in found], dtype=np.int32),
            "rows": np.stack([locus.rows for locus in found]),
            "counts": np.array(json.dumps(self.phased.counts)),
            **{
                name: np.concatenate([getattr(locus, name) for locus in found])
                for name in ("sums", "num_variants", "num_bins", "covered")
            },
        }
