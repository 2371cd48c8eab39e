"""How good a pushed model is: track by track beside a baseline, and window by window."""

import dataclasses

import numpy as np

from pipeline.baseline import fit_ridge, pearson_r
from pipeline.data import Organism
from pipeline.split_signal import SplitSignal

MEASURE = "Pearson r of log1p of the signal per bin on the test split"


@dataclasses.dataclass(frozen=True)
class TrackScore:
    """A track's Pearson correlation on the test split, of log1p of the signal per bin.

    Attributes:
        organism: whose.
        track: identifier.
        model: of the pushed model.
        baseline: of the ridge regression on 6-mer counts.
    """

    organism: str
    track: str
    model: float
    baseline: float


def score_tracks(organism: Organism, splits: dict[str, SplitSignal], predicted: np.ndarray) -> list[TrackScore]:
    """Correlates prediction and baseline with the measured test split, on log1p of the signal per bin.

    Args:
        organism: whose tracks.
        splits: its `train`, `valid` and `test` bins.
        predicted: [windows, target_length, tracks] for the test windows.

    Returns:
        A score for each track.
    """
    count = len(organism.tracks)
    signal = {split: np.log1p(data.measured).reshape(-1, count) for split, data in splits.items()}
    baseline = fit_ridge(
        (splits["train"].features, signal["train"]),
        (splits["valid"].features, signal["valid"]),
        splits["test"].features,
    )
    model = np.log1p(predicted).reshape(-1, count)
    return [
        TrackScore(
            organism.name,
            track.identifier,
            pearson_r(model[:, track.index], signal["test"][:, track.index]),
            pearson_r(baseline[:, track.index], signal["test"][:, track.index]),
        )
        for track in organism.tracks
    ]


def score_windows(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Correlates prediction and measurement within each window, on log1p of the signal.

    Args:
        measured: [windows, target_length, tracks].
        predicted: likewise.

    Returns:
        float64 [windows]: Pearson correlation, the mean over the tracks whose measured signal varies in the
        window; 0 of a track whose prediction does not. NaN where no track varies.
    """
    return np.array([_mean_r(np.log1p(y), np.log1p(p)) for y, p in zip(measured, predicted, strict=True)])


def _mean_r(measured: np.ndarray, predicted: np.ndarray) -> float:
    varies = np.ptp(measured, axis=0) > 0
    if not varies.any():
        return float("nan")
    y, p = (values[:, varies] - values[:, varies].mean(axis=0) for values in (measured, predicted))
    flat = np.ptp(predicted[:, varies], axis=0) == 0
    size = np.sqrt((y**2).sum(axis=0) * (p**2).sum(axis=0))
    return float(np.where(flat, 0.0, (y * p).sum(axis=0) / np.where(flat, 1.0, size)).mean())
