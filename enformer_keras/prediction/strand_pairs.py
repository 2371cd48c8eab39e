"""Strand pairs whose predictions are added up: of both strands' tracks one that has no strand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from enformer_keras.prediction.asking import PredictedTrack
from enformer_keras.prediction.transformation import Transformation


class SummedPairs:
    """Adds the predictions of the two tracks of each strand pair; other tracks stay as they are.

    Args:
        tracks: all tracks of a head, in their order.
    """

    def __init__(self, tracks: Sequence[PredictedTrack]) -> None:
        first = [track for track in tracks if track.index <= track.strand_pair]
        partners = [tracks[track.strand_pair] for track in first]
        self._first = np.array([track.index for track in first], dtype=np.int32)
        self._partner = np.array([partner.index for partner in partners], dtype=np.int32)
        self._has_partner = (self._first != self._partner).astype(np.float32)
        # Each in the place of the first of its pair, and its own pair now.
        self.tracks = tuple(
            dataclasses.replace(track, index=at, strand_pair=at)
            if track is partner
            else PredictedTrack(
                at,
                f"{track.identifier}+{partner.identifier}",
                " + ".join(filter(None, dict.fromkeys((track.description, partner.description)))),
                at,
                track.transformation if track.transformation == partner.transformation else Transformation(),
            )
            for at, (track, partner) in enumerate(zip(first, partners, strict=True))
        )

    def __call__(self, values: Any) -> Any:
        """Adds values [..., tracks]: arrays, tensors, and outputs of Keras models."""
        partners = ops.take(values, self._partner, axis=-1)
        return ops.take(values, self._first, axis=-1) + partners * self._has_partner
