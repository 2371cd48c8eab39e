"""Predictions of tiles, genes and haplotypes as jobs in parts (`parts`): a part is a few of them.

What a job asks of a model stands in its fields, which are small and can be pickled; a worker opens model and
genome. So a part can be computed by another process or machine.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.genes import Gene, at_each_start
from enformer_keras.formats.haplotypes import PhasedVariants
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.genes import GenePredictions, Part, gene_windows, predict_genes_in_parts
from enformer_keras.prediction.haplotypes import LocusHaplotypes, haplotypes, loci_of
from enformer_keras.prediction.opening import open_model
from enformer_keras.prediction.parts import PartsFolder, Worker
from enformer_keras.prediction.predictor import Predictor, Strands
from enformer_keras.prediction.tiling import Tile, centred_tiles, grid_tiles, predict_tiles

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# Of a part, at most: work of seconds on an accelerator, of minutes on a CPU; and what is in memory.
_TILES = 64
_TILES_BYTES = 1 << 28
_GENES = 64
_HAPLOTYPES = 128


class Opened(NamedTuple):
    """What a worker has open.

    Attributes:
        predictor: the model.
        genome: where the sequences are from.
        tell: called with the number of tiles, genes or loci that are predicted, as they are.
    """

    predictor: Predictor
    genome: Genome
    tell: Callable[[int], object] = lambda count: None


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked, and of which genome.

    Attributes:
        model: path of the model; of a run's folder the pushed version (`ModelCard.path`), for a newer one may
            come while parts are computed.
        fasta: the genome.
        options: of `open_model`, but for the genome and its aliases.
        aliases: contig of the genome -> other names, of which one may be the model's.
        tracks: indices of the head's tracks.
        strands: `both` averages over the two strands.
        shifts: bp by which windows move to the right, to average over.
        opened: these, where they are open in this process already; it stays here when a job is pickled.
    """

    model: Path
    fasta: Path
    options: Mapping[str, Any]
    aliases: Mapping[str, Sequence[str]]
    tracks: tuple[int, ...]
    strands: Strands = "both"
    shifts: tuple[int, ...] = (0,)
    opened: Opened | None = dataclasses.field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    @contextlib.contextmanager
    def open(self) -> Iterator[Opened]:
        """Opens model and genome, where they are not open.

        Raises:
            DatasetError: a file cannot be used.
        """
        if self.opened is not None:
            yield self.opened
            return
        from enformer_keras.formats.fasta import Genome  # needs pysam

        with contextlib.closing(Genome(self.fasta)) as genome:
            predictor = open_model(self.model, genome=genome, contig_aliases=self.aliases, **self.options)
            yield Opened(predictor, genome)

    def of_model(self, predictor: Predictor) -> dict[str, Any]:
        """Says what tells a model apart, and what computes it."""
        return {
            "fingerprint": predictor.fingerprint,
            "version": _version(),
            "backend": keras.backend.backend(),
            "batch_size": predictor.batch_size,
        }

    @property
    def averaged(self) -> dict[str, Any]:
        """Arguments that all predictions have."""
        return {"tracks": self.tracks, "strands": self.strands, "shifts": self.shifts}


@dataclasses.dataclass
class SlicedJob(abc.ABC):
    """A job whose parts are so many items each.

    Attributes:
        asked: of which model and genome.
        question: see `parts.Job`.
        num_items: tiles, genes or loci.
        per_part: items of a part.
        num_parts: see `parts.Job`.
    """

    asked: Asked
    question: Mapping[str, Any]
    num_items: int
    per_part: int
    num_parts: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.num_parts = -(-self.num_items // self.per_part)

    @abc.abstractmethod
    def open(self) -> contextlib.AbstractContextManager[Worker]:
        """See `parts.Job`."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Opened]:
        """Opens model and genome.

        Raises:
            DatasetError: they give other numbers here than where the question was asked.
        """
        with self.asked.open() as opened:
            for name, here in self.asked.of_model(opened.predictor).items():
                if here != self.question[name] and None not in (here, self.question[name]):
                    cure = (
                        f"set KERAS_BACKEND={self.question[name]}" if name == "backend" else "give all the same"
                    )
                    raise DatasetError(
                        f"{self.asked.model}: a worker asks it with {name}={here}, the other parts are of "
                        f"{self.question[name]}; {cure} where workers are started"
                    )
            yield opened

    def items(self, index: int) -> range:
        """Returns the numbers of a part's items."""
        return range(self.num_items)[index * self.per_part : (index + 1) * self.per_part]


@dataclasses.dataclass
class TilesJob(SlicedJob):
    """Predicts tiles of regions; a part has `bins`, float32 [tiles, bins, tracks].

    Attributes:
        regions: on contigs of the genome.
        centred: whether there is one window about each region's centre, in place of the tiles of the contigs'
            grids.
    """

    regions: tuple[Interval, ...]
    centred: bool

    @classmethod
    def of(
        cls,
        asked: Asked,
        regions: Iterable[Interval],
        *,
        centred: bool = False,
        said: Mapping[str, Any] | None = None,
    ) -> TilesJob:
        """Lays the job out.

        Args:
            asked: of which model and genome.
            regions: see above.
            centred: as well.
            said: what else decides the numbers, or tells a user what parts are of.

        Raises:
            DatasetError: a file cannot be used.
        """
        regions = tuple(regions)
        with asked.open() as opened:
            frame = opened.predictor.frame
            count = len(_tiles(opened, regions, centred))
            bytes_of_tile = 4 * frame.target_length * len(asked.tracks)
            per_part = max(opened.predictor.batch_size, min(_TILES, _TILES_BYTES // bytes_of_tile))
            question = _question(asked, opened, said, of="tiles", centred=centred, regions=_digest(regions))
        return cls(asked, question, count, per_part, regions, centred)

    @contextlib.contextmanager
    def open(self) -> Iterator[_TilesWorker]:
        """Opens it."""
        with self.opened() as opened:
            yield _TilesWorker(self, opened, _tiles(opened, self.regions, self.centred))

    def read(self, parts: PartsFolder) -> Iterator[tuple[Tile, np.ndarray]]:
        """Reads all parts: each tile, and of all its bins float32 [bins, tracks]."""
        with self.open() as worker:
            for index in range(self.num_parts):
                bins = parts.read(index)["bins"]
                yield from zip(worker.tiles_of(index), bins, strict=True)


def _tiles(opened: Opened, regions: Sequence[Interval], centred: bool) -> list[Tile]:
    frame = opened.predictor.frame
    return list(
        centred_tiles(regions, frame) if centred else grid_tiles(regions, opened.genome.contig_lengths, frame)
    )


@dataclasses.dataclass(frozen=True)
class _TilesWorker:
    job: TilesJob
    opened: Opened
    tiles: Sequence[Tile]

    def tiles_of(self, index: int) -> Sequence[Tile]:
        return [self.tiles[number] for number in self.job.items(index)]

    def part(self, index: int) -> dict[str, np.ndarray]:
        (predictor, genome, tell), asked = self.opened, self.job.asked
        tiles = self.tiles_of(index)
        bins = np.empty((len(tiles), predictor.frame.target_length, len(asked.tracks)), dtype=np.float32)
        found = predict_tiles(predictor, tiles, genome, contig_aliases=asked.aliases, **asked.averaged)
        for number, (_, values) in enumerate(found):
            bins[number] = values
            tell(1)
        return {"bins": bins}


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
            question = _question(asked, opened, said, of="genes", part=part, sense=sense, genes=_digest(genes))
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
            question = _question(
                asked,
                opened,
                said,
                [variants],
                of="haplotypes",
                samples=list(samples),
                skip_unphased=skip_unphased,
                part=part,
                sense=sense,
                loci=_digest((*regions, *genes)),
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


def _question(
    asked: Asked,
    opened: Opened,
    said: Mapping[str, Any] | None,
    files: Sequence[Path] = (),
    **more: Any,
) -> dict[str, Any]:
    """Says all that decides a number; of files that are read, their sizes and when they were changed."""
    tables = [option for option in asked.options.values() if isinstance(option, Path)]
    return {
        **(said or {}),
        **more,
        **asked.of_model(opened.predictor),
        "options": {name: str(option) for name, option in asked.options.items()},
        "tracks": list(asked.tracks),
        "strands": asked.strands,
        "shifts": list(asked.shifts),
        "files": {
            str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in (asked.fasta, *tables, *files)
        },
    }


def _version() -> str | None:
    """Returns the version of this package; `None` where it was copied, not installed, as in the tasks' image."""
    try:
        return version("enformer-keras")
    except PackageNotFoundError:
        return None


def _digest(items: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item!r}\n".encode())
    return digest.hexdigest()[:16]
