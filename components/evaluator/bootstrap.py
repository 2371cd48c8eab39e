"""The difference between two models on the same windows, and how much of it may be chance."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from components.evaluator.moments import TrackMoments

REPLICATES = 1000
# Of the two-sided interval: above its upper end lie 2.5%.
CONFIDENCE = 0.95
# Numbers of an array [replicates, tracks] that is made at once: 4 MB of float64.
_CHUNK = 1 << 19
# A variance below this share of the sums that cancel in it is rounding.
_ROUNDING = 1e-12


class Change(NamedTuple):
    """A difference of two mean figures, and its bootstrap interval.

    Attributes:
        mean: the difference, candidate - baseline; NaN where no track is defined for both.
        low: lower end of the interval.
        high: its upper end.
    """

    mean: float
    low: float
    high: float


def paired_change(
    figure: Callable[[TrackMoments], np.ndarray],
    candidate: Sequence[TrackMoments],
    baseline: Sequence[TrackMoments],
) -> Change:
    """Compares two models on the same windows, by a bootstrap over the units that hold them.

    Each of `REPLICATES` replicates draws as many units as there are, with replacement, the same ones for
    both models, and takes the mean over tracks of the difference; a track that is undefined for one of them
    is left out. The interval is the percentile interval, expanded for a small number of units (Hesterberg
    2015, "What teachers should know about the bootstrap"). With one unit it is the difference itself.

    Args:
        figure: of moments per track, `TrackMoments.pearson_r` or `.r2`.
        candidate: moments by unit.
        baseline: moments by unit, of the same pairs.

    Returns:
        The difference; all NaN if a target or prediction of either model was not finite.

    Raises:
        ValueError: If the two models were not measured on the same units.
    """
    if [unit.count for unit in candidate] != [unit.count for unit in baseline]:
        raise ValueError("candidate and baseline were not measured on the same windows")
    totals = [functools.reduce(TrackMoments.merge, units) for units in (candidate, baseline)]
    if not all(total.finite().all() for total in totals):
        return Change(np.nan, np.nan, np.nan)
    mean = float(_mean_over_tracks(figure(totals[0]) - figure(totals[1])))
    count = len(candidate)
    if count == 1:
        return Change(mean, mean, mean)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    replicates = [
        _mean_over_tracks(figure(one) - figure(other))
        for one, other in zip(_resampled(candidate, weights), _resampled(baseline, weights), strict=True)
    ]
    # Of so few units the spread comes out too small by sqrt((n - 1) / n), and has Student's tails.
    quantile = special.stdtrit(count - 1, (1 - CONFIDENCE) / 2) * np.sqrt(count / (count - 1))
    tail = special.ndtr(quantile)
    low, high = (
        np.nanquantile(np.concatenate(replicates), [tail, 1 - tail]) if np.isfinite(mean) else (mean, mean)
    )
    return Change(mean, float(low), float(high))


def _resampled(units: Sequence[TrackMoments], weights: np.ndarray) -> Iterator[TrackMoments]:
    """Merges the units as often as each replicate drew them, some replicates at a time.

    Yields:
        Moments whose arrays are [replicates, tracks] and whose count is [replicates, 1].
    """
    total = functools.reduce(TrackMoments.merge, units)
    counts = np.array([unit.count for unit in units], dtype=np.float64)[:, None]
    # About the mean of all: sums about zero would lose all their digits.
    y = np.stack([unit.mean_y for unit in units]) - total.mean_y
    p = np.stack([unit.mean_p for unit in units]) - total.mean_p
    products = [
        np.stack([unit.m2_y for unit in units]) + counts * y * y,
        np.stack([unit.m2_p for unit in units]) + counts * p * p,
        np.stack([unit.c_yp for unit in units]) + counts * y * p,
    ]
    rows = max(1, _CHUNK // y.shape[1])
    for start in range(0, len(weights), rows):
        drawn = weights[start : start + rows].astype(np.float64)
        count = drawn @ counts
        mean_y, mean_p = drawn @ (counts * y) / count, drawn @ (counts * p) / count
        m2_y, m2_p, c_yp = (drawn @ product for product in products)
        yield TrackMoments(
            count=count,
            mean_y=total.mean_y + mean_y,
            mean_p=total.mean_p + mean_p,
            m2_y=_without_rounding(m2_y - count * mean_y * mean_y, m2_y),
            m2_p=_without_rounding(m2_p - count * mean_p * mean_p, m2_p),
            c_yp=c_yp - count * mean_y * mean_p,
        )


def _without_rounding(difference: np.ndarray, minuend: np.ndarray) -> np.ndarray:
    return np.where(difference > _ROUNDING * minuend, difference, 0.0)


def _mean_over_tracks(values: np.ndarray) -> np.ndarray:
    """Returns the mean [...] of values [..., tracks] over the defined ones; NaN where there are none."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
