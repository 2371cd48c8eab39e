"""What counting words reaches: ridge regression on the 6-mers of a bin and of its neighbours."""

import numpy as np

from enformer_keras.formats.sequence import ALPHABET

K = 6
# One of them is chosen on the validation split, for each track.
PENALTIES = (1e1, 1e2, 1e3, 1e4)

_INDEX = np.full(256, -1, dtype=np.int64)
for _position, _base in enumerate(ALPHABET):
    _INDEX[[ord(_base), ord(_base.lower())]] = _position


def _canonical_columns() -> np.ndarray:
    """Column of each of the 4096 6-mers, shared by a 6-mer and its reverse complement."""
    codes = np.arange(4**K)
    digits = codes[:, None] // 4 ** np.arange(K)[::-1] % 4
    reverse = ((3 - digits[:, ::-1]) * 4 ** np.arange(K)[::-1]).sum(axis=1)
    _, columns = np.unique(np.minimum(codes, reverse), return_inverse=True)
    return columns


_COLUMNS = _canonical_columns()
NUM_KMERS = int(_COLUMNS.max()) + 1


def count_kmers(sequence: bytes, bin_size: int) -> np.ndarray:
    """Counts canonical 6-mers in each bin.

    Args:
        sequence: bases [bins * bin_size].
        bin_size: bp.

    Returns:
        float32 [bins, 2080]; 6-mers that hold an ambiguous base or cross into the next bin do not count.
    """
    index = _INDEX[np.frombuffer(sequence, dtype=np.uint8)].reshape(-1, bin_size)
    windows = np.lib.stride_tricks.sliding_window_view(index, K, axis=1)
    codes = windows @ 4 ** np.arange(K)[::-1]
    known = (windows >= 0).all(axis=2)
    rows = np.broadcast_to(np.arange(len(index))[:, None], codes.shape)
    flat = rows[known] * NUM_KMERS + _COLUMNS[codes[known]]
    counts = np.bincount(flat, minlength=len(index) * NUM_KMERS)
    return counts.reshape(len(index), NUM_KMERS).astype(np.float32)


def kmer_features(sequence: bytes, bin_size: int) -> np.ndarray:
    """Counts canonical 6-mers in each bin, and apart from them those in its two neighbours.

    A measured signal spreads over a fragment, which is longer than a bin: without the neighbours the baseline
    would be too easy to beat.

    Args:
        sequence: bases [(bins + 2) * bin_size], a bin more on each side.
        bin_size: bp.

    Returns:
        float32 [bins, 2 * 2080].
    """
    counts = count_kmers(sequence, bin_size)
    return np.concatenate([counts[1:-1], counts[:-2] + counts[2:]], axis=1)


def fit_ridge(
    train: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray], test: np.ndarray
) -> np.ndarray:
    """Fits a ridge regression for each track and predicts the test bins.

    Args:
        train: features [bins, features] and signal [bins, tracks].
        valid: the same for the bins that choose the penalty, by Pearson correlation.
        test: features [bins, features].

    Returns:
        float64 [bins, tracks], the predicted signal of the test bins.
    """
    features, signal = train
    mean_features = features.mean(axis=0, dtype=np.float64)
    mean_signal = signal.mean(axis=0)
    gram = np.zeros((features.shape[1],) * 2)
    moment = np.zeros((features.shape[1], signal.shape[1]))
    for start in range(0, len(features), 4096):  # float64, but not of all at once
        centred = features[start : start + 4096] - mean_features
        gram += centred.T @ centred
        moment += centred.T @ (signal[start : start + 4096] - mean_signal)
    best = np.full(signal.shape[1], -np.inf)
    weights = np.zeros_like(moment)
    for penalty in PENALTIES:
        candidate = np.linalg.solve(gram + penalty * np.eye(len(gram)), moment)
        predicted = (valid[0] - mean_features) @ candidate
        for track in range(signal.shape[1]):
            r = pearson_r(predicted[:, track], valid[1][:, track])
            if r > best[track]:
                best[track], weights[:, track] = r, candidate[:, track]
    return (test - mean_features) @ weights + mean_signal


def pearson_r(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two arrays of the same shape, in float64."""
    return float(np.corrcoef(np.ravel(x).astype(np.float64), np.ravel(y).astype(np.float64))[0, 1])
