"""The statistics of `statistics.py` as part of what is compiled: only [alleles, tracks] leave the device.

In float32 and so written that differences keep their digits. `statistics.score` is what they are held against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops


def score_in_step(reference: Any, alternate: Any, counted: Any, statistics: Sequence[str]) -> dict[str, Any]:
    """Computes statistics of each track.

    Args:
        reference: R, float32 tensor [alleles, bins, tracks], not negative.
        alternate: A, of the same shape.
        counted: float32 [alleles, bins], 1 where a bin counts, else 0.
        statistics: of `statistics.FORMULAS`.

    Returns:
        Statistic -> float32 [alleles, tracks].
    """
    weight = counted[:, :, None]
    r, a = reference * weight, alternate * weight
    difference = a - r
    # log2(1 + A) - log2(1 + R) without the loss of digits where both are small or alike
    log_difference = ops.log1p(difference / (1 + r)) / math.log(2)
    made = {
        "SAD": lambda: ops.sum(difference, axis=1),
        "SAR": lambda: ops.sum(log_difference, axis=1),
        "SADR": lambda: ops.log1p(ops.sum(difference, axis=1) / (1 + ops.sum(r, axis=1))) / math.log(2),
        "SAX": lambda: _largest(difference),
        "D1": lambda: ops.sum(ops.abs(difference), axis=1),
        "D2": lambda: ops.sqrt(ops.sum(ops.square(difference), axis=1)),
        "logD1": lambda: ops.sum(ops.abs(log_difference), axis=1),
        "logD2": lambda: ops.sqrt(ops.sum(ops.square(log_difference), axis=1)),
        "JSD": lambda: _divergence(r, a, difference),
        "REF": lambda: ops.sum(r, axis=1),
        "ALT": lambda: ops.sum(a, axis=1),
    }
    return {name: made[name]() for name in statistics}


def _largest(difference: Any) -> Any:
    at = ops.argmax(ops.abs(difference), axis=1)
    return ops.take_along_axis(difference, at[:, None, :], axis=1)[:, 0, :]


def _divergence(r: Any, a: Any, difference: Any) -> Any:
    """Returns the Jensen-Shannon divergence in bits, of p = m (1 - t) and q = m (1 + t) about their mean m.

    It is half the sum of m ((1 + t) log2(1 + t) + (1 - t) log2(1 - t)), whose terms of first order in t cancel.
    So they are left out: with atanh the same is log1p(-t^2) + 2 t atanh(t), which keeps its digits.
    """
    total_r, total_a = (ops.sum(x, axis=1, keepdims=True) for x in (r, a))
    change = ops.sum(difference, axis=1, keepdims=True)
    safe_r, safe_a = (ops.where(total > 0, total, 1.0) for total in (total_r, total_a))
    p, q = r / safe_r, a / safe_a
    # q - p, of the difference of predictions in place of that of rounded shares
    apart = ops.where(total_a > 0, (difference - p * change) / safe_a, -p)
    middle = (p + q) / 2
    t = ops.clip(apart / 2 / ops.where(middle > 0, middle, 1.0), -1.0, 1.0)
    # Where one of the two is nothing t is 1, and the sum is 2 log 2.
    edge = ops.abs(t) > 1 - 1e-6
    inside = ops.where(edge, 0.0, t)
    log_one_plus, log_one_minus = ops.log1p(inside), ops.log1p(-inside)
    within = ops.log1p(-ops.square(inside)) + inside * (log_one_plus - log_one_minus)
    nats = middle * ops.where(edge, 2 * math.log(2), within)
    return ops.sum(nats, axis=1) / 2 / math.log(2)
