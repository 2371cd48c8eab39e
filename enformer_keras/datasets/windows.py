"""The windows that a genome is cut into."""

from __future__ import annotations

import dataclasses

from enformer_keras.formats.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Window:
    """One example to be: what the model reads, what it predicts, and the split that owns it.

    Attributes:
        interval: what the model reads.
        target: what it predicts.
        split: the owner.
        organism: whose genome, where windows of several are together.
    """

    interval: Interval
    target: Interval
    split: str
    organism: str = ""
