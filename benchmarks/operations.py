"""Floating-point operations of the model, counted from its sizes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

BIN_SIZE = 128
# Into how many blocks the queries go where they meet distances, at most (`RelativeMultiHeadAttention`).
_MAX_BLOCKS = 8


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What decides how much there is to compute.

    Attributes:
        channels: of the transformer.
        layers: transformer blocks.
        heads: attention heads of a block.
        length: of a window, in bp.
        target_length: bins that are predicted; `None`: all of the window.
        tracks: number of tracks by output head.
        key_size: of an attention head.
        divisible_by: what the tower's filters are multiples of.
    """

    channels: int
    layers: int
    heads: int
    length: int
    target_length: int | None
    tracks: Mapping[str, int]
    key_size: int = 64
    divisible_by: int = 128

    @property
    def target(self) -> int:
        """Bins that are predicted."""
        return self.length // BIN_SIZE if self.target_length is None else self.target_length

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `Enformer`."""
        return {
            "channels": self.channels,
            "num_transformer_layers": self.layers,
            "num_heads": self.heads,
            "heads": dict(self.tracks),
            "sequence_length": self.length,
            "target_length": self.target_length,
            "key_size": self.key_size,
            "filters_divisible_by": self.divisible_by,
        }


def operations(
    sizes: Sizes, *, winograd: bool = False, half: bool = False, peer: bool = False
) -> dict[str, float]:
    """Floating-point operations of each step on one window: two for each multiply-add of its matrix products.

    Backward, each product has two gradients, but DNA and positional features, which are data, have none. What a
    rematerialized step computes twice counts once.

    What a compiler takes out, or adds to spread the work, is not counted.

    Args:
        sizes: Of the model.
        winograd: Whether the tower's convolutions of width 5 take 8 products for 4 outputs instead of 20.
        half: Whether the model computes in half precision, where positional features are projected first.
        peer: Whether it is another port's, which projects both positions of a pool, not their difference, and
            in which each query meets all distances, not those of its block.

    Returns:
        ``forward`` and ``train``.
    """
    width = 8 / 4 if winograd else 5
    pooled = 1.0 if peer else 1 / 2
    growth = math.log(2) / 5
    block_filters = [
        round(sizes.channels // 2 * math.exp(growth * block) / sizes.divisible_by) * sizes.divisible_by
        for block in range(6)
    ]
    positions, channels = sizes.length, sizes.channels // 2
    of_data = positions * 15 * 4 * channels
    products: float = of_data + positions * channels**2 + pooled * positions * channels**2
    for filters in block_filters:
        positions //= 2
        products += (
            positions * width * channels * filters + positions * filters**2 + pooled * positions * filters**2
        )
        channels = filters
    bins, keys = sizes.length // BIN_SIZE, sizes.heads * sizes.key_size
    features = sizes.channels // sizes.heads
    projections = bins * sizes.channels * (2 * keys + 2 * sizes.channels)
    by_content = bins * bins * (keys + sizes.channels)
    # A block of queries meets the distances from it to all keys.
    distances = 2 * bins - 1 if peer else bins + bins // math.gcd(bins, _MAX_BLOCKS)
    if peer:
        projected = distances * features * keys
        by_position = projected + bins * distances * keys
        of_data += sizes.layers * projected
    elif features <= sizes.key_size and not half:
        by_distance = bins * sizes.heads * features * distances
        by_position = bins * keys * features + by_distance
        of_data += sizes.layers * by_distance
    else:
        projected = 2 * bins * features * keys
        by_position = projected + bins * keys * distances
        of_data += sizes.layers * projected
    feed_forward = bins * 2 * sizes.channels * 2 * sizes.channels
    products += sizes.layers * (projections + by_content + by_position + feed_forward)
    products += sizes.target * 2 * sizes.channels * (sizes.channels + sum(sizes.tracks.values()))
    return {"forward": 2.0 * products, "train": 2.0 * (3 * products - of_data)}
