"""Windows around alleles: what a model is shown of reference and alternative, and which bins lie where.

Everything is laid out along one strand of a contig. The other strand is the same on the contig's reverse
complement, so what is said of a variant does not depend on which strand a genome is written on.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.alleles import Allele, reverse_complement

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome


# What a window is laid about: the 0-based position of a base on the forward strand, or a stretch of it.
Center = Interval | int


def cell_of(chrom: str, position: int, size: int) -> Interval:
    """Returns the cell of a contig's grid, of cells of a size in bp, in which a position lies."""
    start = position // size * size
    return Interval(chrom, start, start + size)


@dataclasses.dataclass(frozen=True)
class Frame:
    """How long a model's window is, and where its bins lie.

    Attributes:
        window_length: bp that the model reads.
        target_length: bins that it predicts, from the window's centre.
        bin_size: bp of a bin.
    """

    window_length: int
    target_length: int
    bin_size: int

    @property
    def crop(self) -> int:
        """Bp of the window before the first bin."""
        return (self.window_length - self.target_length * self.bin_size) // 2

    @property
    def longest_allele(self) -> int:
        """Bp that an allele may have: a quarter of the target, so that most bins lie on either side of it."""
        return self.target_length * self.bin_size // 4

    def central_bins(self, width: int | None) -> slice:
        """Returns the central bins that reach over `width` bp, as few as lie evenly about the centre.

        Raises:
            ValueError: the target is not so wide.
        """
        if width is None:
            return slice(0, self.target_length)
        if not 0 < width <= self.target_length * self.bin_size:
            raise ValueError(
                f"width={width} must be from 1 to the target's {self.target_length * self.bin_size} bp"
            )
        count = -(-width // self.bin_size)
        count += (count - self.target_length) % 2
        start = (self.target_length - count) // 2
        return slice(start, start + count)

    def bins_about(self, offset: int, width: int | None) -> slice:
        """Returns the bins that share a bp with the `width` bp about a base, which need not be the centre.

        Args:
            offset: of the base from the window's start.
            width: bp; `None`: the whole target.
        """
        if width is None:
            return slice(0, self.target_length)
        start = offset - self.crop - (width - 1) // 2
        first, last = start // self.bin_size, -(-(start + width) // self.bin_size)
        return slice(max(first, 0), min(last, self.target_length))


class StrandView:
    """A genome as it reads along one strand.

    Args:
        genome: the genome.
        reverse: whether positions count along the other strand, from the contig's end.
    """

    def __init__(self, genome: Genome, *, reverse: bool) -> None:
        self.genome = genome
        self.reverse = reverse
        # Windows that alleles share are asked for again and again.
        self.sequence = functools.lru_cache(maxsize=16)(self._sequence)

    def _sequence(self, contig: str, start: int, end: int) -> str:
        """Returns bases, upper case, with N beyond the contig."""
        if not self.reverse:
            return self.genome.sequence(Interval(contig, start, end)).decode()
        length = self.genome.contig_lengths[contig]
        return reverse_complement(self.genome.sequence(Interval(contig, length - end, length - start)).decode())

    def allele(self, allele: Allele) -> Allele:
        """Returns the allele as it reads along this strand."""
        return allele.on_other_strand(self.genome.contig_lengths[allele.chrom]) if self.reverse else allele

    def position(self, contig: str, place: Center) -> int:
        """Returns where a place of the forward strand stands along this one: of a stretch, its middle."""
        stretch = self.interval(Interval(contig, place, place + 1) if isinstance(place, int) else place)
        return middle_of(stretch.start, stretch.end)

    def interval(self, interval: Interval) -> Interval:
        """Returns an interval of the forward strand along this one; or the other way round."""
        if not self.reverse:
            return interval
        length = self.genome.contig_lengths[interval.chrom]
        return Interval(interval.chrom, length - interval.end, length - interval.start)

    def window(self, contig: str, center: int, frame: Frame, shift: int = 0) -> str:
        """Returns the bases of a window about a position of the forward strand (`windows_of`)."""
        start = self.position(contig, center) - (frame.window_length // 2 - 1) + shift
        return self.sequence(contig, start, start + frame.window_length)


@dataclasses.dataclass(frozen=True)
class AlleleWindows:
    """The sequences that say what an allele does, along one strand.

    Attributes:
        interval: of the reference's window, along the strand.
        reference: bases of the window.
        left: the alternative's window whose left end is the reference's.
        right: the one whose right end is; equal to `left` where lengths do not change.
        side: int8 [bins], -1 where a bin lies left of all that differs, 1 where right of it, else 0.
    """

    interval: Interval
    reference: str
    left: str
    right: str
    side: np.ndarray

    def align(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Puts the alternative's bins onto the reference's.

        An insertion or deletion moves everything on one side of it against the bins. So each side is taken
        from the window that is anchored there, and the bins that hold the variant are the mean of both.

        Args:
            left: prediction of `left`, float32 [bins, tracks].
            right: that of `right`.

        Returns:
            float32 [bins, tracks].
        """
        side = self.side[:, np.newaxis]
        return np.where(side < 0, left, np.where(side > 0, right, (left + right) / 2))


def window_of(allele: Allele, frame: Frame, shift: int = 0, center: int | None = None) -> Interval:
    """Returns the window of an allele, along the strand that it is given on.

    The middle of what differs, rounded down, is the window's base `window_length / 2 - 1` (from 0): for a
    single-nucleotide variant the place of basenji and of the published Enformer scores.

    Args:
        allele: the allele.
        frame: the model's.
        shift: bp by which the window moves to the right.
        center: 0-based position along the strand that stands there instead.
    """
    middle = middle_of(allele.low, allele.high) if center is None else center
    return window_about(allele.chrom, middle, frame, shift)


def middle_of(start: int, end: int) -> int:
    """Returns the middle of a stretch, rounded down: where it has an even number of bp, the base before it.

    Rounded so along either strand, the windows about it cover the same bases on both where its length is even;
    where it is odd they lie a bp apart, as they do for a single base.
    """
    return (start + end - 1) // 2


def window_about(contig: str, middle: int, frame: Frame, shift: int = 0) -> Interval:
    """Returns the window whose base `window_length / 2 - 1` (from 0) is `middle`; moved by `shift`."""
    start = middle - (frame.window_length // 2 - 1) + shift
    return Interval(contig, start, start + frame.window_length)


def is_inside(
    allele: Allele, view: StrandView, frame: Frame, shift: int = 0, center: Center | None = None
) -> bool:
    """Says whether a window holds all of an allele; only one that is laid about something else may not.

    Args:
        allele: as it reads along the forward strand.
        view: the strand.
        frame: the model's.
        shift: bp by which the window moves to the right along the strand.
        center: see `windows_of`.
    """
    turned = view.allele(allele)
    window = window_of(turned, frame, shift, None if center is None else view.position(allele.chrom, center))
    room = frame.window_length - len(turned.bases)
    return (
        window.start <= turned.low
        and turned.high <= window.end
        # What is inserted has room from either anchor.
        and turned.start - window.start <= room
        and window.end - turned.end <= room
    )


def windows_of(
    allele: Allele, view: StrandView, frame: Frame, shift: int = 0, center: Center | None = None
) -> AlleleWindows:
    """Lays an allele out along a strand.

    Args:
        allele: as it reads along the view's strand (`StrandView.allele`), not longer than `longest_allele`.
        view: the strand.
        frame: the model's.
        shift: bp by which the window moves to the right along the strand.
        center: what, on the forward strand, whichever the view's, takes the place of the allele's middle
            (`window_of`): a gene's start or a region, whose window all its variants share. The allele lies
            inside the window (`is_inside`). `None`: the allele's own middle.
    """
    window = window_of(allele, frame, shift, None if center is None else view.position(allele.chrom, center))
    contig, start, end = window.chrom, window.start, window.end
    before, after = allele.start - start, end - allele.end
    if allele.background is None:
        reference = view.sequence(contig, start, end)
    else:
        reference = (
            view.sequence(contig, start, allele.start)
            + allele.background
            + view.sequence(contig, allele.end, end)
        )
    if len(allele.bases) == allele.end - allele.start:  # nothing moves
        left = right = reference[:before] + allele.bases + reference[before + len(allele.bases) :]
    else:
        # Real bases beyond the window on the side that moves.
        rest = frame.window_length - len(allele.bases)
        left = reference[:before] + allele.bases + view.sequence(contig, allele.end, allele.end + rest - before)
        right = (
            view.sequence(contig, allele.start - (rest - after), allele.start)
            + allele.bases
            + reference[len(reference) - after :]
        )
    starts = start + frame.crop + frame.bin_size * np.arange(frame.target_length)
    side = np.where(starts + frame.bin_size <= allele.low, -1, np.where(starts >= allele.high, 1, 0))
    return AlleleWindows(window, reference, left, right, side.astype(np.int8))
