"""Scores of a variant: what two predictions, of reference and alternative allele, differ by.

R and A are predicted tracks of the reference and of the alternative allele, and sums run over the bins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# Name -> its formula, which every file of scores repeats: others use the same names for other formulas.
FORMULAS = {
    "SAD": "sum(A - R)",
    "SAR": "sum(log2(1 + A)) - sum(log2(1 + R))",
    "SADR": "log2(1 + sum(A)) - log2(1 + sum(R))",
    "SAX": "A - R at the bin where abs(A - R) is largest, the first of equal ones",
    "D1": "sum(abs(A - R))",
    "D2": "sqrt(sum((A - R)^2))",
    "logD1": "sum(abs(log2(1 + A) - log2(1 + R)))",
    "logD2": "sqrt(sum((log2(1 + A) - log2(1 + R))^2))",
    "JSD": "Jensen-Shannon divergence, in bits, of A / sum(A) and R / sum(R); 0 where both sums are 0",
    "REF": "sum(R)",
    "ALT": "sum(A)",
}

# Statistic -> the number of the bins x of one prediction of which it is the difference. These have a gradient.
EXPLAINED = {
    "SAD": "sum(x)",
    "SAR": "sum(log2(1 + x))",
    "SADR": "log2(1 + sum(x))",
}

# Ending of what says how large a statistic's score is among those of a background (`background`).
_QUANTILE = "_quantile"
# Ending of what a gradient says a statistic's score may be (`screening`).
_FIRST_ORDER = "_first_order"


def quantile_of(statistic: str) -> str:
    """Returns the name of a statistic's quantile."""
    return statistic + _QUANTILE


def first_order_of(statistic: str) -> str:
    """Returns the name of a statistic's estimate of first order."""
    return statistic + _FIRST_ORDER


def formula_of(name: str) -> str:
    """Returns the formula of a statistic, of its quantile, or of its estimate of first order."""
    if name in FORMULAS:
        return FORMULAS[name]
    if name.endswith(_FIRST_ORDER):
        explained = EXPLAINED[name.removesuffix(_FIRST_ORDER)]
        return (
            f"g(base put there) - g(base that is there), g the gradient of {explained} at the sequence, x = R"
        )
    statistic = name.removesuffix(_QUANTILE)
    return f"sign({statistic}) * share of the background whose abs({statistic}) is smaller, ties counted half"


def score(reference: np.ndarray, alternate: np.ndarray, statistics: Sequence[str]) -> dict[str, np.ndarray]:
    """Computes statistics of each track, in float64.

    Sums are of differences, never differences of rounded sums.

    Args:
        reference: R, float [..., bins, tracks], not negative.
        alternate: A, of the same shape.
        statistics: of `FORMULAS`.

    Returns:
        Statistic -> float64 [..., tracks], in the order asked for.

    Raises:
        ValueError: there is no such statistic, or the shapes differ.
    """
    check_statistics(statistics)
    if reference.shape != alternate.shape:
        raise ValueError(f"predictions of one shape are compared, got {reference.shape} and {alternate.shape}")
    r, a = reference.astype(np.float64), alternate.astype(np.float64)
    difference = a - r
    # log2(1 + A) - log2(1 + R) without the loss of digits where both are small or alike
    log_difference = np.log1p(difference / (1 + r)) / np.log(2)
    made: dict[str, Callable[[], np.ndarray]] = {
        "SAD": lambda: difference.sum(axis=-2),
        "SAR": lambda: log_difference.sum(axis=-2),
        "SADR": lambda: np.log1p(difference.sum(axis=-2) / (1 + r.sum(axis=-2))) / np.log(2),
        "SAX": lambda: _largest(difference),
        "D1": lambda: np.abs(difference).sum(axis=-2),
        "D2": lambda: np.sqrt((difference**2).sum(axis=-2)),
        "logD1": lambda: np.abs(log_difference).sum(axis=-2),
        "logD2": lambda: np.sqrt((log_difference**2).sum(axis=-2)),
        "JSD": lambda: _divergence(r, a),
        "REF": lambda: r.sum(axis=-2),
        "ALT": lambda: a.sum(axis=-2),
    }
    return {name: made[name]() for name in statistics}


def explain(predicted: np.ndarray, statistic: str) -> np.ndarray:
    """Computes the number of which a statistic is the difference.

    Args:
        predicted: x, float64 [..., bins, tracks].
        statistic: of `EXPLAINED`.

    Returns:
        float64 [..., tracks].
    """
    if statistic == "SAD":
        found: np.ndarray = predicted.sum(axis=-2)
    elif statistic == "SAR":
        found = np.log2(1 + predicted).sum(axis=-2)
    else:
        found = np.log2(1 + predicted.sum(axis=-2))
    return found


def derivative(predicted: np.ndarray, statistic: str) -> np.ndarray:
    """Computes the derivative of `explain` with respect to each prediction.

    Args:
        predicted: x, float64 [..., bins, tracks].
        statistic: of `EXPLAINED`.

    Returns:
        float64 like `predicted`.
    """
    if statistic == "SAD":
        return np.ones_like(predicted)
    whole = predicted if statistic == "SAR" else predicted.sum(axis=-2, keepdims=True)
    found: np.ndarray = np.broadcast_to(1 / (np.log(2) * (1 + whole)), predicted.shape)
    return found


def check_statistics(statistics: Sequence[str]) -> None:
    """Checks names of statistics.

    Raises:
        ValueError: one is not among `FORMULAS`, or comes twice, or there is none.
    """
    unknown = [name for name in statistics if name not in FORMULAS]
    if isinstance(statistics, str) or unknown or not statistics or len(set(statistics)) < len(statistics):
        raise ValueError(
            f"statistics={statistics!r} must be some of {', '.join(FORMULAS)}, each once, spelled so"
        )


def _largest(difference: np.ndarray) -> np.ndarray:
    at = np.abs(difference).argmax(axis=-2)
    found: np.ndarray = np.take_along_axis(difference, at[..., np.newaxis, :], axis=-2)[..., 0, :]
    return found


def _divergence(r: np.ndarray, a: np.ndarray) -> np.ndarray:
    sums = [x.sum(axis=-2, keepdims=True) for x in (r, a)]
    p, q = (x / np.where(total > 0, total, 1) for x, total in zip((r, a), sums, strict=True))
    middle = (p + q) / 2
    mean: np.ndarray = (_entropy_to(p, middle) + _entropy_to(q, middle)) / 2
    return mean


def _entropy_to(p: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence in bits."""
    ratio = np.divide(p, middle, out=np.ones_like(p), where=p > 0)
    divergence: np.ndarray = (p * np.log2(ratio)).sum(axis=-2)
    return divergence
