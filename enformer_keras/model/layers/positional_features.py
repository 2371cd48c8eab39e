"""Relative positional features, computed once on the host."""

import functools
import math

import numpy as np

# Each of the three families is there twice: as it is, and times the sign of the distance.
NUM_FAMILIES = 3


@functools.lru_cache(maxsize=16)
def relative_positional_features(length: int, num_features: int) -> np.ndarray:
    """Features of every distance between two of ``length`` positions.

    In this order: exponential decays with half-lives from 8 to ``length``, central masks of width
    ``2**i - 1``, gamma densities with means up to ``length`` (each divided by its maximum over the distances);
    then the same three times the sign of the distance.

    The work is done in float32, operation by operation as the reference does it: the log densities cancel
    terms near 3e4, so an exact evaluation would differ by up to 2.5e-3 from what the released weights saw.

    Args:
        length: Number of positions, in bins.
        num_features: Number of features, a multiple of 6.

    Returns:
        Read-only float32 array ``[2 * length - 1, num_features]`` for the distances ``-(length - 1)`` to
        ``length - 1`` (key position minus query position).

    Raises:
        ValueError: ``num_features`` is not a positive multiple of 6.

    Source: Enformer, Methods, "Relative positional encodings".
    """
    if num_features < 1 or num_features % (2 * NUM_FAMILIES):
        raise ValueError(f"num_features must be a positive multiple of 6, got {num_features}")
    count = num_features // (2 * NUM_FAMILIES)
    positions = np.arange(-length + 1, length, dtype=np.float32)
    distance = np.abs(positions)[:, np.newaxis]
    features = np.concatenate(
        [
            _exponential(distance, length, count),
            _central_mask(distance, count),
            _gamma(distance, length, count),
        ],
        axis=1,
    )
    features = np.concatenate([features, np.sign(positions)[:, np.newaxis] * features], axis=1)
    features.flags.writeable = False
    return features


def _exponential(distance: np.ndarray, length: int, count: int) -> np.ndarray:
    max_exponent = np.float32(math.log(length) / math.log(2.0))
    half_life = np.float32(2.0) ** np.linspace(np.float32(3.0), max_exponent, count, dtype=np.float32)
    weight: np.ndarray = np.exp(np.float32(-math.log(2.0)) / half_life * distance)
    return weight


def _central_mask(distance: np.ndarray, count: int) -> np.ndarray:
    width = np.float32(2.0) ** np.arange(1, count + 1, dtype=np.float32) - np.float32(1.0)
    return (width > distance).astype(np.float32)


def _gamma(distance: np.ndarray, length: int, count: int) -> np.ndarray:
    stddev = np.float32(length / (2 * count))
    mean = np.linspace(length / count, length, count, dtype=np.float32)
    concentration = (mean / stddev) ** 2
    rate = mean / stddev**2
    log_gamma = np.array([math.lgamma(value) for value in concentration], dtype=np.float32)
    with np.errstate(divide="ignore"):  # log(0) is -inf and the density at distance 0 is 0
        log_density = (concentration - np.float32(1.0)) * np.log(distance) - rate * distance
    log_normalizer = log_gamma - concentration * np.log(rate)
    density: np.ndarray = np.exp(log_density - log_normalizer) + np.float32(1e-8)
    density /= density.max(axis=0, keepdims=True)
    return density
