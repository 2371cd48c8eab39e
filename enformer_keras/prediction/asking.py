"""What all questions have in common: tracks, strands and shifts, rows of scores, and what answers them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np

from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.alleles import Allele, ReferencePolicy, Status
from enformer_keras.prediction.gradients import Pullback
from enformer_keras.prediction.recent import RecentPredictions
from enformer_keras.prediction.transformation import Transformation
from enformer_keras.prediction.windows import Center, Frame, StrandView

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

Strands = Literal["both", "forward"]
_Item = TypeVar("_Item")
_NOT_KNOWN = Transformation()
# Alleles predicted together, for each window of a batch: those of one place share a reference.
ALLELES_PER_WINDOW = 2
# And those whose scores come together.
ALLELES_AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class PredictedTrack:
    """What is known of one of a model's outputs.

    Attributes:
        index: its place among the head's outputs.
        identifier: short name.
        description: free text.
        strand_pair: index of the track that this one becomes on the other strand; its own if it is unstranded.
        transformation: how its values were made of its file's.
    """

    index: int
    identifier: str
    description: str
    strand_pair: int
    transformation: Transformation = _NOT_KNOWN


@dataclasses.dataclass(frozen=True)
class VariantPrediction:
    """What is predicted of a variant's two alleles.

    Attributes:
        interval: of the genome, what the bins cover. It is that of the forward strand's window; where strands
            are averaged, the other one's bins lie a bp beside it (`windows.window_of`).
        reference: R, float32 [bins, tracks] along the forward strand.
        alternate: A, of the same shape, its bins on R's.
        tracks: the columns.
    """

    interval: Interval
    reference: np.ndarray
    alternate: np.ndarray
    tracks: tuple[PredictedTrack, ...]


@dataclasses.dataclass(frozen=True)
class VariantScores:
    """What was asked about alleles, in the order in which they came.

    Attributes:
        variants: every allele.
        statuses: what became of each.
        statistics: name -> float32 [alleles, tracks]; NaN where the allele was not scored.
        tracks: the columns.
        further: name -> what else is known of each row, [alleles] texts or numbers.
        predictions: of each allele what the statistics were taken of, `None` where it was not scored; empty
            unless they were asked for.
    """

    variants: tuple[Variant, ...]
    statuses: tuple[Status, ...]
    statistics: Mapping[str, np.ndarray]
    tracks: tuple[PredictedTrack, ...]
    further: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    predictions: tuple[VariantPrediction | None, ...] = ()

    def counts(self) -> dict[str, int]:
        """Returns status -> number of alleles, for those that occur."""
        return {str(status): count for status, count in Counter(self.statuses).items()}

    @classmethod
    def join(
        cls, parts: Iterable[VariantScores], statistics: Sequence[str], tracks: Sequence[PredictedTrack]
    ) -> VariantScores:
        """Puts parts after one another.

        Args:
            parts: of one question; may be none.
            statistics: that they have.
            tracks: the columns.
        """
        parts = list(parts)
        nothing = np.zeros((0, len(tracks)), dtype=np.float32)
        return cls(
            tuple(itertools.chain.from_iterable(part.variants for part in parts)),
            tuple(itertools.chain.from_iterable(part.statuses for part in parts)),
            {
                name: np.concatenate([nothing, *(part.statistics[name] for part in parts)])
                for name in statistics
            },
            tuple(tracks),
            {
                name: np.concatenate([part.further[name] for part in parts])
                for name in (parts[0].further if parts else ())
            },
        )


class Answering(Protocol):
    """What questions need of a `Predictor`, whose methods say what they do."""

    batch_size: int

    @property
    def frame(self) -> Frame:
        """The model's windows."""

    @property
    def tracks(self) -> tuple[PredictedTrack, ...]:
        """All tracks of the head."""

    def columns(self, tracks: Sequence[int] | None) -> list[int]:
        """Checks indices of tracks."""

    def predict_strands(
        self,
        asked: Iterable[tuple[str, bool]],
        columns: Sequence[int],
        like: Sequence[str | None] | None = None,
        *,
        shared: bool = False,
    ) -> Iterator[np.ndarray]:
        """Predicts sequences."""

    def resolve_variants(
        self,
        variants: Iterable[Variant],
        genome: Genome,
        policy: ReferencePolicy,
        aliases: Mapping[str, Sequence[str]],
        *,
        check_references: bool = True,
    ) -> Iterator[tuple[Variant, Status, Allele | None]]:
        """Holds variants against the genome."""

    def holds(
        self, allele: Allele, center: Center | None, views: Sequence[StrandView], shifts: Sequence[int]
    ) -> bool:
        """Says whether windows hold an allele."""

    def predict_alleles(
        self,
        alleles: Sequence[Allele | None],
        views: Sequence[StrandView],
        shifts: Sequence[int],
        columns: Sequence[int],
        centers: Sequence[Center | None] | None = None,
        kept: RecentPredictions | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
        """Predicts reference and alternative."""

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
    ) -> Iterator[VariantScores]:
        """Scores alleles."""

    def check_genome(self, genome: Genome, aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        """Refuses another genome than the model's."""

    def predict_one_hot(self, batch: np.ndarray) -> np.ndarray:
        """Predicts a full batch of arrays."""

    @property
    def pullback(self) -> Pullback:
        """Gives gradients."""


def check_averaging(strands: str, shifts: Sequence[int]) -> None:
    """Checks what predictions are averaged over.

    Raises:
        ValueError: `strands` is not `both` or `forward`, or there is no shift.
    """
    if strands not in ("both", "forward"):
        raise ValueError(f"strands={strands!r} must be 'both' or 'forward'")
    if not shifts or len(set(shifts)) < len(shifts):
        raise ValueError(f"shifts={list(shifts)} must be at least one, each once")


@contextlib.contextmanager
def opened_genome(genome: Genome | str | Path) -> Iterator[Genome]:
    """Gives a genome; one that is given by its file is open meanwhile."""
    if not isinstance(genome, str | Path):
        yield genome
        return
    from enformer_keras.formats.fasta import Genome  # needs pysam

    with contextlib.closing(Genome(Path(genome))) as opened:
        yield opened


def batched(items: Iterable[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    """Gives items by tuples of a size, as they come; the last may be shorter."""
    items = iter(items)
    while batch := tuple(itertools.islice(items, size)):
        yield batch


def strands_of(strands: Strands) -> tuple[bool, ...]:
    """Returns for each strand that is predicted whether it is the other one."""
    return (False, True) if strands == "both" else (False,)
