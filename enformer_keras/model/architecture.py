"""What sizes Enformer's parts have, which parts it has, and which arguments it can be built from."""

import math
import re
from collections.abc import Mapping, Sequence

import keras

from enformer_keras.model.arguments import check_integer, check_rate, check_switch, is_integer

# The stem and six tower blocks each halve the sequence.
BIN_SIZE = 128
NUM_TOWER_BLOCKS = 6
HUMAN_TRACKS = 5313
MOUSE_TRACKS = 1643
# What `freeze` takes, beside heads: the prefixes of the layers' names.
PARTS = ("stem", "tower", "transformer", "final_pointwise")
# What `rematerialize` takes.
BLOCKS = ("stem", "tower", "transformer")
POOLING_TYPES = ("attention", "max")
# Of these characters names of TensorFlow's scopes are, and so of what is trained there.
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*")


def tower_filters(channels: int, divisible_by: int) -> list[int]:
    """Filters of the tower's six blocks: geometric from ``channels / 2`` to ``channels``, rounded.

    Args:
        channels: Width of the transformer.
        divisible_by: The filters are rounded to multiples of this.

    Returns:
        Six numbers of filters.

    Source: Enformer, Methods, "Model architecture" (conv tower).
    """
    start = channels // 2
    growth = math.exp(math.log(channels / start) / (NUM_TOWER_BLOCKS - 1))
    return [round(start * growth**block / divisible_by) * divisible_by for block in range(NUM_TOWER_BLOCKS)]


def check_architecture(
    *,
    channels: int,
    num_transformer_layers: int,
    num_heads: int,
    pooling_type: str,
    heads: Mapping[str, int],
    sequence_length: int,
    target_length: int | None,
    key_size: int,
    filters_divisible_by: int,
    rates: dict[str, float],
    lora_rank: int | None,
    tower_pieces: int,
    parts: dict[str, Sequence[str]],
    switches: dict[str, bool],
    name: str | None,
) -> None:
    """Refuse arguments that no model can be built from; `Enformer` says what each is.

    Args:
        channels: Width of the transformer.
        num_transformer_layers: Transformer blocks.
        num_heads: Attention heads of a block.
        pooling_type: One of `POOLING_TYPES`.
        heads: Tracks by output head.
        sequence_length: Window in bp.
        target_length: Bins to predict, or ``None``.
        key_size: Width of a head's queries and keys.
        filters_divisible_by: Divisor of the tower's filters.
        rates: Dropout rates by argument.
        lora_rank: Rank of low-rank updates, or ``None``.
        tower_pieces: Pieces of the window.
        parts: Lists of parts by argument. Which parts there are, `check_parts` knows.
        switches: True or False by argument.
        name: The model's.

    Raises:
        ValueError: Names the argument, what is allowed and the value.
    """
    positive = {
        "channels": channels,
        "num_heads": num_heads,
        "sequence_length": sequence_length,
        "key_size": key_size,
        "filters_divisible_by": filters_divisible_by,
        "tower_pieces": tower_pieces,
    }
    for argument, value in positive.items():
        check_integer(argument, value)
    check_integer("num_transformer_layers", num_transformer_layers, at_least=0)
    if channels % 2 or channels % filters_divisible_by:
        raise ValueError(
            f"channels={channels} must be even and a multiple of filters_divisible_by={filters_divisible_by}"
        )
    if channels % num_heads or (channels // num_heads) % 6:
        raise ValueError(
            f"channels={channels} with num_heads={num_heads}: channels must be a multiple of "
            f"6 * num_heads = {6 * num_heads}, so that each head gets whole values and positional features"
        )
    if min(tower_filters(channels, filters_divisible_by)) < 1:
        raise ValueError(
            f"filters_divisible_by={filters_divisible_by} rounds the tower's first filters ({channels // 2}) "
            f"to 0; allowed are divisors of channels={channels} below {channels}"
        )
    if pooling_type not in POOLING_TYPES:
        raise ValueError(f"pooling_type must be one of {POOLING_TYPES}, got {pooling_type!r}")
    if sequence_length % BIN_SIZE:
        raise ValueError(f"sequence_length={sequence_length} must be a multiple of {BIN_SIZE} bp")
    if not isinstance(heads, Mapping) or not heads:
        raise ValueError(
            f"heads must map at least one head to its tracks, such as {{'human': 5313}}, got {heads!r}"
        )
    for head, tracks in heads.items():
        if not isinstance(head, str) or not head.isidentifier() or not head.isascii():
            raise ValueError(
                f"heads: {head!r} must be a name of letters, digits and underscores, the letters from a to z"
            )
        if not is_integer(tracks) or tracks < 1:
            raise ValueError(f"heads: {head!r} must have a positive number of tracks, got {tracks!r}")
    if keras.backend.backend() == "tensorflow" and name is not None and not _NAME.fullmatch(name):
        raise ValueError(
            f"name must be of letters from a to z, digits, dots, underscores and hyphens, got {name!r}"
        )
    bins = sequence_length // BIN_SIZE
    if bins % tower_pieces:
        raise ValueError(
            f"tower_pieces={tower_pieces} must divide the {bins} bins of sequence_length={sequence_length}"
        )
    if tower_pieces > 1 and switches["winograd"]:
        raise ValueError(
            f"winograd=True is for CPUs and tower_pieces={tower_pieces} for TPUs: give winograd=False or "
            "tower_pieces=1"
        )
    if target_length is not None and (
        not is_integer(target_length) or not 0 < target_length <= bins or (bins - target_length) % 2
    ):
        raise ValueError(
            f"target_length={target_length!r} cannot be cut from the centre of the {bins} bins of "
            f"sequence_length={sequence_length}: allowed are None and "
            f"{2 - bins % 2}, {4 - bins % 2}, ..., {bins}"
        )
    for argument, rate in rates.items():
        check_rate(argument, rate)
    check_integer("lora_rank", lora_rank, optional=True)
    for argument, value in switches.items():
        check_switch(argument, value)
    for argument, names in parts.items():
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise ValueError(f"{argument} must be a list of parts, such as ['tower'], got {names!r}")


def check_parts(argument: str, parts: Sequence[str], known: Sequence[str]) -> None:
    """Refuse parts that there are not.

    Args:
        argument: Name for the message.
        parts: What the user gave.
        known: The parts that there are.

    Raises:
        ValueError: Names the first that is not known.
    """
    for part in parts:
        if part not in known:
            cure = "" if isinstance(part, str) else "; give names one by one"
            raise ValueError(f"{argument}: {part!r} is not among {known}{cure}")
