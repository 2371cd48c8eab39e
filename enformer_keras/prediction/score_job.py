"""Scores of a file of variants as a job in parts (`parts`): each part a thousand alleles."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from enformer_keras.formats.contig_names import ContigNames
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.variants import Variant
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.alleles import ReferencePolicy, Status
from enformer_keras.prediction.asking import PredictedTrack, Strands, VariantScores, opened_genome
from enformer_keras.prediction.gene_windows import Part
from enformer_keras.prediction.genes import GENE_COLUMNS, score_genes_in_parts
from enformer_keras.prediction.made_by import installed_version
from enformer_keras.prediction.parts import differences
from enformer_keras.prediction.predictor import Predictor
from enformer_keras.prediction.resolving import LOOKED_AT, check_references
from enformer_keras.prediction.variant_rows import VariantRows, spell, spelled

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.genes import Gene

# Names of a part's arrays: the alleles, what became of them, texts of each row; and what stands before others.
_ALLELES, _STATUSES, _TEXTS = "alleles", "statuses", "texts"
_STATISTIC, _FURTHER = "statistic.", "further."


@dataclasses.dataclass(frozen=True)
class OfGenes:
    """What is asked about genes; for all but `read` see `Predictor.score_genes`.

    Attributes:
        read: gives the genes of a genome, whose contigs have other names; can be pickled.
    """

    read: Callable[[Genome, Mapping[str, Sequence[str]]], Sequence[Gene]]
    part: Part = "tss"
    distance: int | None = None
    each_start: bool = False
    sense: bool = False


class ScoreJob:
    """The scores of alleles.

    Nothing is opened before it is needed. A pickled copy has no model; it opens its own.

    Args:
        rows: the alleles.
        genome: FASTA file of what they are variants of.
        open_model: opens the model when called with `genome` and `contig_aliases`, such as
            `functools.partial(open_model, path, head=...)`; can be pickled.
        options: of the model, that decide its numbers and that it does not know itself: name -> text or number.
        tracks: indices of the head's tracks, or what says them of the opened model; `None`: all.
        genes: a row for each allele and gene (`Predictor.score_genes`); `None`: for each allele.
        statistics: this and the others: see `Predictor.score_variants`; with `genes`, neither `width` nor
            `share_windows`.

    Attributes:
        told: called with 1 for every allele whose turn comes, in this process.
    """

    def __init__(
        self,
        rows: VariantRows,
        genome: str | Path,
        open_model: Callable[..., Predictor],
        *,
        options: Mapping[str, Any] | None = None,
        tracks: Sequence[int] | Callable[[Predictor], Sequence[int]] | None = None,
        genes: OfGenes | None = None,
        statistics: Sequence[str] = ("SAD",),
        width: int | None = None,
        strands: Strands = "both",
        shifts: Sequence[int] = (0,),
        reference_policy: ReferencePolicy | str = ReferencePolicy.SKIP,
        contig_aliases: Mapping[str, Sequence[str]] | None = None,
        share_windows: int | None = None,
    ) -> None:
        self.rows, self.genome, self.open_model = rows, Path(genome), open_model
        self.options, self.genes = dict(options or {}), genes
        self.statistics = tuple(statistics)
        self.width, self.share_windows = width, share_windows
        self.strands, self.shifts = strands, tuple(shifts)
        self.policy = ReferencePolicy(reference_policy)
        self.aliases = dict(contig_aliases or {})
        self._tracks = tracks
        self._read_genes: Sequence[Gene] | None = None
        self.told: Callable[[int], Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: the question, and no model."""
        state = {**self.__dict__, "question": self.question, "columns": self.columns, "told": None}
        state["_tracks"] = state["_read_genes"] = None
        state.pop("predictor", None)
        return state

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return self.rows.num_parts

    def check(self) -> None:
        """Checks what can be known before the model is opened, which takes long.

        Raises:
            DatasetError: there is no such genome, more than a fifth of the first 1,000 alleles have another
                REF, or the genes cannot be read.
        """
        with opened_genome(self.genome) as genome:
            check_references(self.rows.first(LOOKED_AT), genome, self.policy, self.aliases)
            self._genes(genome)

    def read_genes(self) -> Sequence[Gene] | None:
        """Reads the genes that are asked for; `None` where it is not about genes."""
        if self.genes is None:
            return None
        with opened_genome(self.genome) as genome:
            return self._genes(genome)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """The model."""
        with opened_genome(self.genome) as genome:
            return self.open_model(genome=genome, contig_aliases=self.aliases)

    @functools.cached_property
    def columns(self) -> list[int]:
        """Indices of the tracks."""
        tracks = self._tracks(self.predictor) if callable(self._tracks) else self._tracks
        return self.predictor.columns(tracks)

    @property
    def tracks(self) -> list[PredictedTrack]:
        """The columns."""
        return [self.predictor.tracks[column] for column in self.columns]

    @functools.cached_property
    def question(self) -> dict[str, Any]:
        """Everything that decides a number, but for the machine."""
        with opened_genome(self.genome) as genome:
            found = {
                **self._of_model(),
                "genome_sha256": self._genome_sha256(genome),
                "genome_contigs": _sha256(sorted(genome.contig_lengths.items())),
                "contig_aliases": self.aliases,
                "variants_sha256": self.rows.sha256,
                "alleles": self.rows.count,
                "alleles_in_a_part": self.rows.size,
                "statistics": self.statistics,
                "tracks": [track.identifier for track in self.tracks],
                "track_indices": self.columns,
                "width": self.width,
                "strands": self.strands,
                "shifts": self.shifts,
                "reference": self.policy,
                "share_windows": self.share_windows,
            }
            if self.genes is not None:
                found |= {
                    "genes_sha256": _sha256([repr(gene) for gene in self._genes(genome)]),
                    "part": self.genes.part,
                    "distance": self.genes.distance,
                    "each_start": self.genes.each_start,
                    "sense": self.genes.sense,
                }
        kept: dict[str, Any] = json.loads(json.dumps(found))
        return kept

    @contextlib.contextmanager
    def open(self) -> Iterator[ScoreWorker]:
        """Opens model and genome.

        Raises:
            DatasetError: the model gives other numbers than the one that the question was made with.
        """
        here = json.loads(json.dumps(self._of_model()))
        # Where the package was copied, as into a worker's image, nobody knows its version.
        here = {name: value for name, value in here.items() if None not in (value, self.question.get(name))}
        asked = {name: self.question.get(name) for name in here}
        if here != asked:
            raise DatasetError(
                f"{self.genome}: variants of it were to be scored with {differences(asked, here)} in this "
                "process; give all the same model and backend"
            )
        with opened_genome(self.genome) as genome:
            yield ScoreWorker(self, genome, self._genes(genome))

    def scores(self, arrays: Mapping[str, np.ndarray]) -> VariantScores:
        """Returns a part's arrays as scores."""
        return scores_of(arrays, self.tracks)

    def _of_model(self) -> dict[str, Any]:
        policies = {
            layer.dtype_policy.name
            for layer in getattr(self.predictor.model, "layers", ())
            if hasattr(layer, "dtype_policy")
        }
        backend = keras.backend.backend()
        return {
            "version": installed_version(),
            "backend": f"{backend} {getattr(sys.modules.get(backend), '__version__', '')}",
            "keras": keras.__version__,
            "model_fingerprint": self.predictor.fingerprint,
            "all_tracks": _sha256(repr(self.predictor.tracks)),
            "computed_in": [*sorted(policies), *(["tf32"] if self.predictor.products == "tf32" else [])],
            "batch_size": self.predictor.batch_size,
            **self.options,
        }

    def _genes(self, genome: Genome) -> Sequence[Gene]:
        if self._read_genes is None:
            self._read_genes = [] if self.genes is None else self.genes.read(genome, self.aliases)
        return self._read_genes

    def _genome_sha256(self, genome: Genome) -> str:
        """Digests the contigs that alleles lie on; a file that has not changed only once, as it takes long."""
        names = ContigNames(genome.contig_lengths, self.aliases)
        contigs = sorted({found for name in self.rows.contigs if (found := names.find(name)) is not None})
        known_of = genome.path.stat()
        key = [str(genome.path.resolve()), known_of.st_size, known_of.st_mtime_ns, contigs]
        path = self.rows.path.parent / "genome.json"
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["of"] == key:
                return str(known["sha256"])
        digest = genome.sha256(contigs)
        with contextlib.suppress(OSError), whole_files(path.parent, [path.name], shared=True) as partial:
            partial[path.name].write_text(json.dumps({"of": key, "sha256": digest}), encoding="utf-8")
        return digest


class ScoreWorker:
    """Computes parts of a `ScoreJob`: a model and a genome that are open."""

    def __init__(self, job: ScoreJob, genome: Genome, genes: Sequence[Gene]) -> None:
        self._job, self._genome, self._genes = job, genome, genes

    def part(self, index: int) -> dict[str, np.ndarray]:
        """Scores the alleles of a part (`arrays_of`).

        Nothing that is kept from other parts is used, so that it has the same bytes in any order.
        """
        job = self._job
        job.predictor.forget()
        common: dict[str, Any] = {
            "statistics": job.statistics,
            "tracks": job.columns,
            "strands": job.strands,
            "shifts": job.shifts,
            "reference_policy": job.policy,
            "contig_aliases": job.aliases,
            "check_references": False,
        }
        alleles = self._taken(index)
        if job.genes is None:
            parts = job.predictor.score_in_parts(
                alleles, self._genome, width=job.width, share_windows=job.share_windows, **common
            )
        else:
            parts = score_genes_in_parts(
                job.predictor,
                alleles,
                self._genome,
                self._genes,
                part=job.genes.part,
                distance=job.genes.distance,
                each_start=job.genes.each_start,
                sense=job.genes.sense,
                **common,
            )
        return arrays_of(VariantScores.join(parts, job.statistics, job.tracks))

    def _taken(self, index: int) -> Iterator[Variant]:
        for variant in self._job.rows.part(index):
            yield variant
            if self._job.told is not None:
                self._job.told(1)


def arrays_of(scores: VariantScores) -> dict[str, np.ndarray]:
    """Returns scores as arrays without objects: numbers as they are, texts as UTF-8 bytes of JSON."""
    texts = {name: column.tolist() for name, column in scores.further.items() if column.dtype == object}
    numbers = {name: column for name, column in scores.further.items() if name not in texts}
    return {
        _ALLELES: _bytes(spell(scores.variants)),
        _STATUSES: _bytes(json.dumps(scores.statuses).encode()),
        _TEXTS: _bytes(json.dumps(texts).encode()),
        **{f"{_STATISTIC}{name}": values for name, values in scores.statistics.items()},
        **{f"{_FURTHER}{name}": values for name, values in numbers.items()},
    }


def scores_of(arrays: Mapping[str, np.ndarray], tracks: Sequence[PredictedTrack]) -> VariantScores:
    """Returns what `arrays_of` made arrays of.

    Args:
        arrays: of a part.
        tracks: the columns.
    """
    texts = json.loads(arrays[_TEXTS].tobytes())
    further = {name: np.array(column, dtype=object) for name, column in texts.items()} | _with(_FURTHER, arrays)
    return VariantScores(
        tuple(spelled(arrays[_ALLELES].tobytes())),
        tuple(map(Status, json.loads(arrays[_STATUSES].tobytes()))),
        _with(_STATISTIC, arrays),
        tuple(tracks),
        {name: further[name] for name in GENE_COLUMNS if name in further},
    )


def _with(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _bytes(text: bytes) -> np.ndarray:
    return np.frombuffer(text, dtype=np.uint8)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
