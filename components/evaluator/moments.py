"""Mergeable statistics of targets and predictions, one set per track."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class TrackMoments:
    """Count, means and centred second moments of (target, prediction) pairs, per track.

    Sums of squares about zero lose all their digits on coverage with a mean far from zero, so the moments
    are centred and merged by the pairwise formulas of Chan, Golub and LeVeque (1979,
    "Updating formulae and a pairwise algorithm for computing sample variances").

    Attributes:
        count: Number of pairs (examples × bins), the same for every track; of several draws, [draws, 1].
        mean_y: Mean target, float64 [tracks], in the units of the track.
        mean_p: Mean prediction, float64 [tracks], same units.
        m2_y: Sum of squared deviations of the target from its mean, float64 [tracks].
        m2_p: Sum of squared deviations of the prediction from its mean, float64 [tracks].
        c_yp: Sum of products of the two deviations, float64 [tracks].
    """

    count: int | np.ndarray
    mean_y: np.ndarray
    mean_p: np.ndarray
    m2_y: np.ndarray
    m2_p: np.ndarray
    c_yp: np.ndarray

    @classmethod
    def from_arrays(cls, targets: np.ndarray, predictions: np.ndarray) -> TrackMoments:
        """Reduces arrays to moments, pooling every axis but the last.

        Args:
            targets: Real numbers [..., tracks].
            predictions: Real numbers of the same shape.

        Returns:
            The moments in float64, whatever the input's precision.

        Raises:
            ValueError: If the shapes differ, or there is no axis to pool, or no pair in it.
        """
        if targets.shape != predictions.shape:
            raise ValueError(f"targets {targets.shape} and predictions {predictions.shape} differ in shape")
        if targets.ndim < 2 or targets.size == 0:
            raise ValueError(f"expected a non-empty array [..., tracks], got shape {targets.shape}")
        mean_y, y = _centred(targets)
        mean_p, p = _centred(predictions)
        return cls(
            count=len(y),
            mean_y=mean_y,
            mean_p=mean_p,
            m2_y=np.einsum("nt,nt->t", y, y),
            m2_p=np.einsum("nt,nt->t", p, p),
            c_yp=np.einsum("nt,nt->t", y, p),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[TrackMoments]) -> TrackMoments:
        """Puts tracks of the same pairs side by side.

        Args:
            parts: Moments of some tracks each, all of the same count.

        Returns:
            The moments of all tracks, in order.
        """
        fields = ("mean_y", "mean_p", "m2_y", "m2_p", "c_yp")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
        return cls(count=parts[0].count, **columns)

    def merge(self, other: TrackMoments) -> TrackMoments:
        """Returns the moments of both sets of pairs together.

        Raises:
            ValueError: If the two differ in their number of tracks.
        """
        if self.mean_y.shape != other.mean_y.shape:
            raise ValueError(f"cannot merge {self.mean_y.size} tracks with {other.mean_y.size}")
        count = self.count + other.count
        delta_y = other.mean_y - self.mean_y
        delta_p = other.mean_p - self.mean_p
        between = self.count * other.count / count
        return TrackMoments(
            count=count,
            mean_y=self.mean_y + delta_y * (other.count / count),
            mean_p=self.mean_p + delta_p * (other.count / count),
            m2_y=self.m2_y + other.m2_y + delta_y * delta_y * between,
            m2_p=self.m2_p + other.m2_p + delta_p * delta_p * between,
            c_yp=self.c_yp + other.c_yp + delta_y * delta_p * between,
        )

    def finite(self) -> np.ndarray:
        """Whether no target and no prediction of a track was NaN or infinite, bool [tracks]."""
        return np.asarray(np.isfinite([self.mean_y, self.mean_p, self.m2_y, self.m2_p, self.c_yp]).all(axis=0))

    def pearson_r(self) -> np.ndarray:
        """Pearson's correlation per track.

        Returns:
            float64 [tracks] in [-1, 1]; NaN where the target or the prediction is constant.
        """
        # Two square roots: the product of two large moments could overflow.
        scale = np.sqrt(self.m2_y) * np.sqrt(self.m2_p)
        return np.clip(_divide(self.c_yp, scale), -1.0, 1.0)

    def r2(self) -> np.ndarray:
        """Coefficient of determination per track, `1 - SSE / SST`.

        Returns:
            float64 [tracks], at most 1 and without a lower bound; NaN where the target is constant.
        """
        bias = self.mean_y - self.mean_p
        sse = self.m2_y + self.m2_p - 2.0 * self.c_yp + self.count * bias * bias
        return 1.0 - _divide(sse, self.m2_y)


def _centred(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [tracks] and the deviations from it [pairs, tracks], both float64."""
    flat = values.reshape(-1, values.shape[-1])
    # Measured from the first row, a constant track has deviations of exactly zero; measured from a rounded
    # mean it would have a tiny variance, and with it a correlation made of rounding errors.
    origin = flat[0].astype(np.float64)
    deviations = flat - origin
    shift = deviations.mean(axis=0)
    deviations -= shift
    return origin + shift, deviations


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides, giving NaN where the denominator is zero."""
    undefined = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)
