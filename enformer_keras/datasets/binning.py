"""Targets from signal per bp: pooled to bins, scaled, limited, in basenji's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enformer_keras.datasets.tracks import SumStat, Track


def pool(values: np.ndarray, sum_stat: SumStat, bin_size: int) -> np.ndarray:
    """Makes bins of bp by sum_stat, without scale and root.

    Sums are float64: a float16 or float32 sum of a bin loses counts.

    Args:
        values: float32 [bins * bin_size] signal per bp, no NaN.
        sum_stat: how the bp of a bin become one value.
        bin_size: bp per bin.

    Returns:
        float64 [bins].
    """
    per_bin = values.reshape(-1, bin_size)
    pooled: np.ndarray
    match sum_stat:
        # einsum adds in float64 without a float64 copy of the bp: half the time of sum's own dtype argument.
        case "sum" | "sum_sqrt":
            pooled = np.einsum("ij->i", per_bin, dtype=np.float64)
        case "mean" | "mean_sqrt":
            pooled = np.einsum("ij->i", per_bin, dtype=np.float64) / bin_size
        case "max":
            pooled = per_bin.max(axis=1).astype(np.float64)
        case "median":
            pooled = np.median(per_bin.astype(np.float64), axis=1)
    return pooled


def rescale(
    pooled: np.ndarray,
    tracks: Sequence[Track],
    scales: Sequence[float],
    listed: np.ndarray | None = None,
    quantile: float = 0.5,
) -> np.ndarray:
    """Makes what `pool` gave what basenji gives before its clips: scale, root, blacklist.

    basenji scales the bp. Every sum_stat of scaled bp is the scaled sum_stat, as scales are positive.

    `sum_sqrt` is sqrt(1 + sum) - 1, `mean_sqrt` the same of the mean. Blacklisted bins are limited to [-q, q],
    q being the absolute value of a quantile of all of a track's bins.

    Args:
        pooled: float64 [tracks, bins].
        tracks: sum_stat.
        scales: the factor of each track (`mean` resolved).
        listed: bool [bins], which bins are blacklisted; `None`: none.
        quantile: of the bins, from 0 to 1.

    Returns:
        float64 [tracks, bins].
    """
    bins: np.ndarray = pooled * np.array(scales)[:, np.newaxis]
    roots = [row for row, track in enumerate(tracks) if track.sum_stat.endswith("_sqrt")]
    if roots:
        bins[roots] = np.sqrt(1 + bins[roots]) - 1
    if listed is not None and listed.any():
        most = np.abs(np.quantile(bins, quantile, axis=1, keepdims=True))
        bins[:, listed] = np.clip(bins[:, listed], -most, most)
    return bins


def limit(bins: np.ndarray, tracks: Sequence[Track]) -> np.ndarray:
    """Limits bins by each track's clip_soft, then by its clip.

    Args:
        bins: float64 [tracks, bins]; left as they are.
        tracks: clip_soft and clip.

    Returns:
        float64 [tracks, bins].
    """
    soft, hard = (
        np.array([np.inf if bound is None else bound for bound in bounds])[:, np.newaxis]
        for bounds in ([track.clip_soft for track in tracks], [track.clip for track in tracks])
    )
    rows, at = np.nonzero(bins > soft)
    if rows.size:
        start = soft[rows, 0]
        bins = bins.copy()
        bins[rows, at] = start - 1 + np.sqrt(bins[rows, at] - start + 1)
    clipped: np.ndarray = np.clip(bins, -hard, hard)
    return clipped
