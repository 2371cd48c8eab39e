"""The two strands of a window: its flanks, and the tracks that change places."""

from collections.abc import Sequence

import keras
from keras import ops


def flank_of(sequence: keras.KerasTensor, window_length: int) -> int:
    """Return the bp on either side of a window.

    Args:
        sequence: One-hot ``[batch, window_length + 2 * flank, 4]``.
        window_length: bp of the window.

    Raises:
        ValueError: The sequence is shorter than the window, or the flanks differ in length.
    """
    length: int = sequence.shape[1]
    flank, rest = divmod(length - window_length, 2)
    if flank < 0 or rest:
        raise ValueError(
            f"a sequence of {sequence.shape[1]} bp does not hold window_length={window_length} bp with two "
            "flanks of the same length"
        )
    return flank


def check_strand_pairs(strand_pairs: Sequence[int], tracks: int) -> None:
    """Check that strand pairs pair all tracks.

    Args:
        strand_pairs: For each track the index of its partner on the other strand, itself if it has none.
        tracks: Number of tracks.

    Raises:
        ValueError: They do not.
    """
    if sorted(strand_pairs) != list(range(tracks)) or any(
        strand_pairs[pair] != track for track, pair in enumerate(strand_pairs)
    ):
        raise ValueError(
            f"strand_pairs={list(strand_pairs)} must give each of {tracks} tracks a partner whose partner it is"
        )


def turn_strand(target: keras.KerasTensor, strand_pairs: Sequence[int]) -> keras.KerasTensor:
    """Return what a target or a prediction is on the other strand.

    Args:
        target: ``[batch, target_length, tracks]``.
        strand_pairs: For each track the index of its partner on the other strand.

    Returns:
        ``[batch, target_length, tracks]``, backwards, the tracks of strand pairs in each other's places.
    """
    return _swap_strands(ops.flip(target, axis=1), strand_pairs)


def _swap_strands(target: keras.KerasTensor, strand_pairs: Sequence[int]) -> keras.KerasTensor:
    """Gathers the tracks by `strand_pairs`, between the first that has a partner and the last alone."""
    paired = [track for track, pair in enumerate(strand_pairs) if pair != track]
    if not paired:
        return target
    first, end = paired[0], paired[-1] + 1
    swapped = ops.take(target, list(strand_pairs[first:end]), axis=2)
    return ops.concatenate([target[..., :first], swapped, target[..., end:]], axis=2)
