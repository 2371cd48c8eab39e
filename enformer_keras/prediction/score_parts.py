"""Files of scores from the parts of a `ScoreJob`: the same bytes, whoever computed the parts, and when."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.variants import Variant, VcfRecords
from enformer_keras.formats.whole_files import whole_files
from enformer_keras.prediction.asking import PredictedTrack, VariantScores, opened_genome
from enformer_keras.prediction.background import Background, read_background
from enformer_keras.prediction.genes import GENE_COLUMNS
from enformer_keras.prediction.parts import PARTS, PartsFolder
from enformer_keras.prediction.score_files import write_scores
from enformer_keras.prediction.score_job import ScoreJob, scores_of
from enformer_keras.prediction.statistics import quantile_of


@contextlib.contextmanager
def parts_of(
    job: ScoreJob, folder: Path, shard: tuple[int, int] = (1, 1), *, anew: bool = False
) -> Iterator[PartsFolder]:
    """Opens the parts of a job, which no other run may use meanwhile; those that are damaged are removed.

    Args:
        job: the job; the file of its rows is in the same folder (`variant_rows.gather_rows`).
        folder: of the results.
        shard: see `PartsFolder.missing`.
        anew: whether parts of another question are removed, in place of an error.

    Yields:
        The parts.

    Raises:
        DatasetError: parts of another question are there, or another run is at work.
    """
    parts = PartsFolder(folder / PARTS, job.question, job.num_parts, anew=anew)
    with parts.held(shard):
        job.rows.settle()
        parts.check(shard)
        yield parts


@dataclasses.dataclass(frozen=True)
class ScoreFiles:
    """Which files of scores are written, and what they say.

    Attributes:
        formats: of `score_files.FORMATS`.
        about: how the scores were made, as the files say it.
        tracks: index, identifier, description and strand pair of each column.
        statistics: in their order.
        of_genes: whether a row is of an allele and a gene.
        contig_lengths: contig of the genome -> bp.
        contig_aliases: contig -> other names that it has among the variants.
        variants: the file whose records a VCF repeats; `None`: there is none.
        background: file of a background, whose quantiles are added; `None`: none.
    """

    formats: Sequence[str]
    about: Mapping[str, Any]
    tracks: Sequence[tuple[int, str, str, int]]
    statistics: Sequence[str]
    of_genes: bool
    contig_lengths: Mapping[str, int]
    contig_aliases: Mapping[str, Sequence[str]]
    variants: str | None = None
    background: str | None = None

    @classmethod
    def of(
        cls,
        job: ScoreJob,
        formats: Sequence[str],
        about: Mapping[str, Any],
        background: str | Path | None = None,
    ) -> ScoreFiles:
        """Takes of a job what its files need."""
        with opened_genome(job.genome) as genome:
            lengths = genome.contig_lengths
        return cls(
            tuple(formats),
            json.loads(
                json.dumps({**about, **({} if background is None else {"background": str(background)})})
            ),
            [(track.index, track.identifier, track.description, track.strand_pair) for track in job.tracks],
            job.statistics,
            job.genes is not None,
            lengths,
            job.aliases,
            None if job.rows.source is None else str(job.rows.source),
            None if background is None else str(background),
        )

    @classmethod
    def load(cls, path: Path) -> ScoreFiles:
        """Reads what `save` wrote.

        Raises:
            DatasetError: the file cannot be read.
        """
        try:
            files = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}); run its shard again, which writes it"
            ) from error
        stdin = path.with_name("stdin")
        return dataclasses.replace(files, variants=str(stdin)) if stdin.exists() else files

    def save(self, path: Path) -> None:
        """Writes all this to a file, for a merge.

        Raises:
            DatasetError: it cannot be written.
        """
        with _no_room(path.parent), whole_files(path.parent, [path.name], shared=True) as partial:
            partial[path.name].write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    def write(
        self, folder: Path, parts: Iterable[Mapping[str, np.ndarray]], written: Path | None = None
    ) -> Counter[str]:
        """Writes the files; they are there whole or not at all.

        Args:
            folder: where to.
            parts: all, in their order (`PartsFolder.read`).
            written: a file that is made once all is written, before the files take their places.

        Returns:
            Status -> number of rows.

        Raises:
            DatasetError: a part, the background or the records cannot be read, or are of other alleles; or
                there is no room.
        """
        alleles: Iterator[Variant] = iter(())
        records = self._records()
        if records is not None:
            alleles = iter(records)
            alleles = itertools.chain(list(itertools.islice(alleles, 1)), alleles)
        ranks = self._ranks()
        tracks = [PredictedTrack(*track) for track in self.tracks]
        counts: Counter[str] = Counter()
        with _no_room(folder), self._opened(folder, records) as append:
            for arrays in parts:
                scores = scores_of(arrays, tracks)
                if records is not None:
                    self._check_in_step(alleles, scores.variants)
                append(scores if ranks is None else ranks.add_to(scores))
                counts.update(scores.counts())
            if records is not None:
                self._check_in_step(alleles, ())
            if written is not None:
                written.touch()
        return counts

    def check(self) -> None:
        """Checks that such files can be made, before there is a score.

        Raises:
            DatasetError: what `score_files.write_scores` raises at once; or the background is of other scores.
        """
        self._ranks()
        records = self._records()
        if records is not None:
            next(iter(records))
        with tempfile.TemporaryDirectory() as folder, self._opened(Path(folder), records):
            pass

    def _ranks(self) -> Background | None:
        """Reads the background, and checks that it is of such scores."""
        if self.background is None:
            return None
        ranks = read_background(self.background)
        ranks.check(self.about, [identifier for _, identifier, _, _ in self.tracks], self.statistics)
        return ranks

    def _records(self) -> VcfRecords | None:
        return VcfRecords(str(self.variants)) if "vcf" in self.formats else None

    def _opened(
        self, folder: Path, records: VcfRecords | None
    ) -> contextlib.AbstractContextManager[Callable[[VariantScores], None]]:
        """Opens the files; the first of the records has been read."""
        ranked: list[str] = []
        about = dict(self.about)
        if self.background is not None:
            ranked = [quantile_of(name) for name in self.statistics]
            about.setdefault("background", self.background)
        return write_scores(
            folder,
            self.formats,
            [PredictedTrack(*track) for track in self.tracks],
            [*self.statistics, *ranked],
            about,
            further=GENE_COLUMNS if self.of_genes else None,
            records=records,
            contig_lengths=self.contig_lengths,
            contig_aliases=self.contig_aliases,
        )

    def _check_in_step(self, alleles: Iterator[Variant], scored: Sequence[Variant]) -> None:
        """Takes as many alleles of the records as were scored, or looks whether none is left."""
        if tuple(itertools.islice(alleles, len(scored) or 1)) != tuple(scored):
            raise DatasetError(f"{self.variants}: has other alleles than were scored; give the file that was")


@contextlib.contextmanager
def _no_room(folder: Path) -> Iterator[None]:
    """Says of what the system or HDF5 refuses where it was, and what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise DatasetError(
            f"{folder}: the files of scores cannot be written ({error}); make room, and run again: all parts "
            "are there"
        ) from error
