"""What the bases of a region contribute to a prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction.asking import check_averaging, opened_genome, strands_of
from enformer_keras.prediction.mutagenesis import (
    check_on_genome,
    check_region,
    saturation_mutagenesis,
    under_genome_names,
)
from enformer_keras.prediction.statistics import EXPLAINED, derivative, explain
from enformer_keras.prediction.windows import StrandView, window_about

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.prediction.asking import Answering, Strands
    from enformer_keras.prediction.gradients import Pullback
    from enformer_keras.prediction.windows import Frame

Method = Literal["gradient_x_input", "integrated_gradients", "ism"]
METHODS = ("gradient_x_input", "integrated_gradients", "ism")
# Of the path's start in integrated gradients: each of the four letters by a quarter, nothing where there is N.
_BASELINE = 0.25
_TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Contributions:
    """What the bases of one region contribute.

    Attributes:
        interval: the region.
        sequence: its bases, upper case.
        hypothetical: float32 [4, bp], what A, C, G and T would contribute in each place; their mean is 0.
        value: the number that is explained; NaN for `ism`.
        baseline: the number at the path's start; NaN but for integrated gradients.
        total: sum of what all bases of the window contribute; NaN but for integrated gradients.
    """

    interval: Interval
    sequence: str
    hypothetical: np.ndarray
    value: float
    baseline: float = np.nan
    total: float = np.nan

    @property
    def one_hot(self) -> np.ndarray:
        """int8 [4, bp]; all 0 where there is no single base."""
        return one_hot_encode(self.sequence).T.astype(np.int8)

    @property
    def projected(self) -> np.ndarray:
        """float32 [4, bp], `hypothetical` at the base that is there, else 0."""
        found: np.ndarray = self.hypothetical * self.one_hot
        return found

    @property
    def completeness_error(self) -> float:
        """How far `total` is from `value - baseline`, as a share of the latter: 0 where the integral is exact.

        NaN but for integrated gradients.
        """
        explained = self.value - self.baseline
        return abs(self.total - explained) / max(abs(explained), _TINY)


def contributions(
    predictor: Answering,
    regions: Iterable[Interval],
    genome: Genome | str | Path,
    *,
    method: Method = "gradient_x_input",
    statistic: str = "SADR",
    tracks: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    width: int | None = None,
    strands: Strands = "both",
    shifts: Sequence[int] = (0,),
    steps: int = 32,
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Contributions]:
    """Tells what each base of regions contributes to one number: predicted bins and tracks, reduced.

    The number is, of the prediction of the window about the region's middle (`windows.window_about`), averaged
    over strands and shifts, the mean over `tracks` of `EXPLAINED[statistic]` over the bins x within `width`.
    What contributes are the bases of the region, which may be as long as the window.

    - `gradient_x_input`: the gradient at the sequence.
    - `integrated_gradients`: the mean gradient on the straight line from a quarter of each letter (nothing
      where there is N) to the sequence, by Gauss-Legendre quadrature. With this start the contributions of all
      bases of the window, as they are below, add up to the number less its value at the start.
    - `ism`: the effects of all substitutions in the region's window (`saturation_mutagenesis`).

    Of each of these [bp, 4] the mean over the four letters is taken away (Majdandzic et al. 2023: the letters
    of a place sum to 1, so what all four have in common is arbitrary). DeepLIFT and DeepSHAP are not there:
    their rules do not hold through the product of attention weights and values, nor through softmax.

    Args:
        predictor: the model.
        regions: of the genome.
        genome: the genome, or its FASTA file.
        method: of `METHODS`.
        statistic: of `EXPLAINED`.
        tracks: indices of the head's tracks; `None`: all.
        weights: of `tracks`, instead of one divided by their number: `[1, -1]` explains the difference of two.
        width: bp about the window's middle whose bins count; `None`: the whole target.
        strands: `both` averages predictions over the two strands.
        shifts: bp by which windows move to the right along the strand that is predicted.
        steps: points of the line of integrated gradients.
        contig_aliases: contig of the genome -> other names that it has among the regions.

    Yields:
        Of each region, in their order.

    Raises:
        ValueError: an argument cannot be, or a region is too long.
        DatasetError: a region does not lie on the genome, or the genome is not the model's.
    """
    explained = _Explained(predictor, statistic, tracks, weights, width)
    check_averaging(strands, shifts)
    check_method(method)
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    if method == "ism":
        yield from _by_mutagenesis(predictor, regions, genome, explained, strands, shifts, contig_aliases)
        return
    points = _points(method, steps)
    with opened_genome(genome) as opened:
        predictor.check_genome(opened, contig_aliases)
        views = [StrandView(opened, reverse=reverse) for reverse in strands_of(strands)]
        waiting: list[_Path] = []
        queue: list[tuple[_Path, int]] = []
        for region in under_genome_names(regions, opened.contig_lengths, contig_aliases):
            path = _Path(region, opened, predictor.frame, views, shifts, points)
            waiting.append(path)
            queue.extend((path, point) for point in range(len(points)))
            while len(queue) >= predictor.batch_size:
                _follow(queue[: predictor.batch_size], predictor, explained, predictor.pullback)
                del queue[: predictor.batch_size]
            while waiting and waiting[0].is_done:
                yield waiting.pop(0).contributions()
        if queue:
            _follow(queue, predictor, explained, predictor.pullback)
        for path in waiting:
            yield path.contributions()


def check_method(method: str) -> None:
    """Checks the name of a method.

    Raises:
        ValueError: there is none of this name.
    """
    if method.lower() in ("deeplift", "deepshap", "deep_lift", "deep_shap"):
        raise ValueError(
            f"method={method!r}: its rules do not hold through attention, where weights and values are "
            "multiplied; use integrated_gradients"
        )
    if method not in METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(METHODS)}")


def check_contributing(region: Interval, contig_lengths: Mapping[str, int], frame: Frame, method: str) -> None:
    """Checks a region whose bases contribute.

    Raises:
        DatasetError: it does not lie on the genome.
        ValueError: it is longer than the window, or with `ism` than the target.
    """
    if method == "ism":
        check_region(region, contig_lengths, frame)
        return
    check_on_genome(region, contig_lengths)
    if region.width > frame.window_length:
        raise ValueError(
            f"{region} has {region.width} bp, the model's window {frame.window_length}: give it in parts"
        )


class _Explained:
    """The number that is explained, of predictions [..., bins, tracks], and its derivative.

    Args:
        predictor: the model.
        statistic: of `EXPLAINED`.
        tracks: indices of the head's tracks; `None`: all.
        weights: of these; `None`: their mean is taken.
        width: bp about the window's middle whose bins count; `None`: all.

    Raises:
        ValueError: an argument cannot be.
    """

    def __init__(
        self,
        predictor: Answering,
        statistic: str,
        tracks: Sequence[int] | None,
        weights: Sequence[float] | None,
        width: int | None,
    ) -> None:
        if statistic not in EXPLAINED:
            raise ValueError(f"statistic={statistic!r} must be one of {', '.join(EXPLAINED)}")
        self.statistic = statistic
        self.columns = predictor.columns(tracks)
        self.width = width
        self.bins = predictor.frame.central_bins(width)
        given = np.full(len(self.columns), 1 / len(self.columns)) if weights is None else np.asarray(weights)
        if given.shape != (len(self.columns),):
            raise ValueError(
                f"{given.size} weights were given for {len(self.columns)} tracks; give one for each"
            )
        self.weights = given.astype(np.float64)
        # Of all tracks, a track that was named twice counts twice.
        self.track_weights = np.zeros(len(predictor.tracks))
        np.add.at(self.track_weights, self.columns, self.weights)

    def value(self, predicted: np.ndarray) -> np.ndarray:
        """Returns float64 [...]."""
        x = predicted[..., self.bins, :].astype(np.float64)
        found: np.ndarray = explain(x, self.statistic) @ self.track_weights
        return found

    def derivative(self, predicted: np.ndarray) -> np.ndarray:
        """Returns the derivative with respect to each prediction, float32 like `predicted`."""
        x = predicted[..., self.bins, :].astype(np.float64)
        found = np.zeros(predicted.shape, dtype=np.float32)
        found[..., self.bins, :] = derivative(x, self.statistic) * self.track_weights
        return found


def _points(method: str, steps: int) -> list[tuple[float, float]]:
    """Returns where on the line the model is asked, from 0 to 1, and what the gradient there counts."""
    if method == "gradient_x_input":
        return [(1.0, 1.0)]
    nodes, shares = np.polynomial.legendre.leggauss(steps)
    line = [((1 + node) / 2, share / 2) for node, share in zip(nodes, shares, strict=True)]
    # Gradients at the ends do not count; the values there say how complete the sum is.
    return [*line, (0.0, 0.0), (1.0, 0.0)]


class _Path:
    """The line from the start to a region's sequence, and the gradients that were found on it.

    Args:
        region: whose bases contribute.
        genome: where it lies.
        frame: the model's.
        views: the strands of the genome that are predicted.
        shifts: bp by which windows move to the right along the strand.
        points: where gradients are taken, and what each counts.
    """

    def __init__(
        self,
        region: Interval,
        genome: Genome,
        frame: Frame,
        views: Sequence[StrandView],
        shifts: Sequence[int],
        points: Sequence[tuple[float, float]],
    ) -> None:
        check_contributing(region, genome.contig_lengths, frame, "gradients")
        self.region = region
        self.sequence = genome.sequence(region).decode()
        self.points = points
        self.reverse = [view.reverse for view in views for _ in shifts]
        self.windows = []
        self.ends = []
        for view in views:
            for shift in shifts:
                window = window_about(region.chrom, view.position(region.chrom, region), frame, shift)
                self.ends.append(one_hot_encode(view.sequence(window.chrom, window.start, window.end)))
                self.windows.append(view.interval(window))
        self._gradients = np.zeros((region.width, 4))
        self._total = 0.0
        self._values: dict[float, float] = {}
        self._left = len(points)

    @property
    def is_done(self) -> bool:
        """Whether all points were seen."""
        return not self._left

    def sequence_at(self, point: int, layout: int) -> np.ndarray:
        """Returns what the model is shown: float32 [window_length, 4]."""
        at = np.float32(self.points[point][0])
        end = self.ends[layout]
        return at * end + (1 - at) * self._start(end)

    def add(self, point: int, value: float, gradients: Sequence[np.ndarray]) -> None:
        """Takes the number explained at a point, and its gradient in each layout, along the strand of each."""
        at, share = self.points[point]
        self._values[at] = value
        self._left -= 1
        if not share:
            return
        for gradient, window, end, reverse in zip(
            gradients, self.windows, self.ends, self.reverse, strict=True
        ):
            self._total += share * float(((end - self._start(end)) * gradient.astype(np.float64)).sum())
            forward = gradient[::-1, ::-1] if reverse else gradient
            # Windows lie a few bp apart; a region as long as a window may reach past one.
            first, last = max(window.start, self.region.start), min(window.end, self.region.end)
            self._gradients[first - self.region.start : last - self.region.start] += (
                share * forward[first - window.start : last - window.start]
            )

    def contributions(self) -> Contributions:
        """Returns what was found."""
        hypothetical = self._gradients - self._gradients.mean(axis=1, keepdims=True)
        whole = 0.0 in self._values  # the line has its start
        return Contributions(
            self.region,
            self.sequence,
            hypothetical.T.astype(np.float32),
            self._values[1.0],
            self._values[0.0] if whole else np.nan,
            self._total if whole else np.nan,
        )

    @staticmethod
    def _start(end: np.ndarray) -> np.ndarray:
        start: np.ndarray = np.float32(_BASELINE) * end.sum(axis=-1, keepdims=True) * np.ones_like(end)
        return start


def _follow(
    asked: Sequence[tuple[_Path, int]],
    predictor: Answering,
    explained: _Explained,
    pull: Pullback,
) -> None:
    """Finds gradients at one batch of points.

    The predictions of all layouts come first: the number that is explained is one of their mean.
    """
    reverse = asked[0][0].reverse
    frame = predictor.frame
    partners = [track.strand_pair for track in predictor.tracks]
    batches = []
    predicted = np.zeros((predictor.batch_size, frame.target_length, len(partners)), dtype=np.float32)
    for layout in range(len(reverse)):
        batch = np.zeros((predictor.batch_size, frame.window_length, 4), dtype=np.float32)
        for row, (path, point) in enumerate(asked):
            batch[row] = path.sequence_at(point, layout)
        batches.append(batch)
        bins = predictor.predict_one_hot(batch)
        predicted += (bins[:, ::-1, partners] if reverse[layout] else bins) / len(reverse)
    values, slopes = explained.value(predicted), explained.derivative(predicted) / len(reverse)
    counts = any(path.points[point][1] for path, point in asked)
    gradients = []
    for layout, batch in enumerate(batches):
        turned = slopes[:, ::-1, partners] if reverse[layout] else slopes
        gradients.append(pull(batch, np.ascontiguousarray(turned)) if counts else batch)
    for row, (path, point) in enumerate(asked):
        path.add(point, float(values[row]), [gradient[row] for gradient in gradients])


def _by_mutagenesis(
    predictor: Answering,
    regions: Iterable[Interval],
    genome: Genome | str | Path,
    explained: _Explained,
    strands: Strands,
    shifts: Sequence[int],
    contig_aliases: Mapping[str, Sequence[str]] | None,
) -> Iterator[Contributions]:
    """Takes the effects of substitutions for contributions; a region's own bases have the effect 0."""
    for made in saturation_mutagenesis(
        predictor,
        regions,
        genome,
        statistics=(explained.statistic,),
        tracks=explained.columns,
        width=explained.width,
        strands=strands,
        shifts=shifts,
        contig_aliases=contig_aliases,
    ):
        effects = np.nan_to_num(made.effects[explained.statistic].astype(np.float64) @ explained.weights)
        hypothetical = effects - effects.mean(axis=1, keepdims=True)
        yield Contributions(made.interval, made.sequence, hypothetical.T.astype(np.float32), np.nan)
