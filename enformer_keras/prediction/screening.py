"""Screening: what every substitution of a region may do, estimated by gradients.

A substitution moves the one-hot sequence from one letter to another, and to first order a number of the
prediction moves by the gradient's difference between the two. So one gradient says something of all
substitutions of a window. How much, depends on the model: it is exact where the model is linear in its input,
and far from it where effects saturate or bases act together.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction.asking import batched, check_averaging, strands_of
from enformer_keras.prediction.statistics import EXPLAINED, derivative
from enformer_keras.prediction.windows import StrandView, window_about

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome
    from enformer_keras.formats.intervals import Interval
    from enformer_keras.prediction.asking import Answering, Strands


def check_screen(screen: int, statistics: Sequence[str], deletion: int | None, window_per_base: bool) -> None:
    """Checks whether changes can be screened.

    Raises:
        ValueError: a statistic has no gradient, changes are no substitutions of one window, or nothing is left.
    """
    without = [name for name in statistics if name not in EXPLAINED]
    if without:
        raise ValueError(
            f"statistics={','.join(without)}: has no gradient to screen by; give some of {', '.join(EXPLAINED)}"
        )
    if deletion is not None:
        raise ValueError("gradients tell of substitutions: give screen or deletion")
    if window_per_base:
        raise ValueError("one gradient tells of one window: give screen or window_per_base")
    if screen < 1:
        raise ValueError(f"screen={screen} must be at least 1")


def estimate_effects(
    predictor: Answering,
    region: Interval,
    genome: Genome,
    *,
    statistics: Sequence[str],
    columns: Sequence[int],
    width: int | None,
    strands: Strands,
    shifts: Sequence[int],
) -> dict[str, np.ndarray]:
    """Estimates to first order what `mutagenesis.saturation_mutagenesis` computes.

    The number whose gradient is taken is that of the prediction's mean over strands and shifts, as in the exact
    score. There is a gradient for each statistic, track, strand and shift.

    Args:
        predictor: the model.
        region: of the genome, no longer than the target.
        genome: where it lies.
        statistics: of `EXPLAINED`.
        columns: indices of the head's tracks.
        width: bp about the window's middle whose bins count; `None`: the whole target.
        strands: `both` averages over the two strands.
        shifts: bp by which windows move to the right along the strand that is predicted.

    Returns:
        Statistic -> float32 [bp, 4, tracks]: 0 at the genome's own base, NaN where it has N or a window does
        not reach.
    """
    check_averaging(strands, shifts)
    frame, partners = predictor.frame, [track.strand_pair for track in predictor.tracks]
    counted = frame.central_bins(width)
    views = [StrandView(genome, reverse=reverse) for reverse in strands_of(strands) for _ in shifts]
    windows = [
        window_about(region.chrom, view.position(region.chrom, region), frame, shift)
        for view, shift in zip(views, itertools.cycle(shifts), strict=False)
    ]
    bases = [view.sequence(w.chrom, w.start, w.end) for view, w in zip(views, windows, strict=True)]
    every = range(len(predictor.tracks))
    mean = np.zeros((frame.target_length, len(predictor.tracks)))
    asked = ((window, view.reverse) for window, view in zip(bases, views, strict=True))
    for predicted in predictor.predict_strands(asked, every):
        mean += predicted / len(views)
    slopes = {name: np.zeros_like(mean) for name in statistics}
    for name, slope in slopes.items():
        slope[counted] = derivative(mean[counted], name) / len(views)

    one_hot = one_hot_encode(genome.sequence(region))
    gradients = {name: np.zeros((region.width, 4, len(columns))) for name in statistics}
    questions = list(itertools.product(range(len(views)), statistics, range(len(columns))))
    size = min(predictor.batch_size, len(questions))
    for batch in batched(questions, size):
        sequences = np.zeros((size, frame.window_length, 4), dtype=np.float32)
        weights = np.zeros((size, frame.target_length, len(predictor.tracks)), dtype=np.float32)
        for row, (layout, name, number) in enumerate(batch):
            column = columns[number]
            sequences[row] = one_hot_encode(bases[layout])
            if views[layout].reverse:
                weights[row, :, partners[column]] = slopes[name][::-1, column]
            else:
                weights[row, :, column] = slopes[name][:, column]
        for (layout, name, number), gradient in zip(
            batch, predictor.pullback(sequences, weights), strict=False
        ):
            forward = gradient[::-1, ::-1] if views[layout].reverse else gradient
            start = views[layout].interval(windows[layout]).start
            places = np.arange(region.start, region.end) - start
            inside = (places >= 0) & (places < frame.window_length)
            of_region = np.full((region.width, 4), np.nan)
            of_region[inside] = forward[places[inside]]
            gradients[name][..., number] += of_region
    is_own = one_hot == 1
    found = {}
    for name, gradient in gradients.items():
        effects = np.full(gradient.shape, np.nan, dtype=np.float32)
        known = is_own.any(axis=1)
        effects[known] = gradient[known] - gradient[is_own][:, np.newaxis]
        effects[is_own] = 0
        found[name] = effects
    return found


def choose_best(effects: Mapping[str, np.ndarray], sequence: str, count: int) -> np.ndarray:
    """Chooses the substitutions with the largest estimates.

    Args:
        effects: statistic -> [bp, 4, tracks], NaN where nothing is known.
        sequence: bases of the region.
        count: how many for each statistic and track; of equal ones the first.

    Returns:
        bool [bp, 4]: those that are among the largest for one of them.
    """
    is_change = np.asarray(one_hot_encode(sequence) == 0)
    chosen = np.zeros(is_change.shape, dtype=bool)
    for values in effects.values():
        for track in range(values.shape[-1]):
            sizes = np.abs(values[..., track])
            places = np.flatnonzero(is_change & np.isfinite(sizes))
            largest = np.argsort(-sizes.ravel()[places], kind="stable")[:count]
            chosen.flat[places[largest]] = True
    return chosen


def seconds_per_gradient(predictor: Answering) -> float:
    """Measures the time that the gradient of one window takes once it is compiled: one batch, after one."""
    frame, size = predictor.frame, predictor.batch_size
    sequence = np.full((size, frame.window_length, 4), 0.25, dtype=np.float32)
    weights = np.ones((size, frame.target_length, len(predictor.tracks)), dtype=np.float32)
    predictor.pullback(sequence, weights)
    begun = time.perf_counter()
    predictor.pullback(sequence, weights)
    return (time.perf_counter() - begun) / size
