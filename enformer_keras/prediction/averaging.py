"""Predictions averaged over shifts and both strands."""

from collections.abc import Callable, Mapping, Sequence

import keras
from keras import ops

from enformer_keras.model.arguments import is_integer
from enformer_keras.model.strands import check_strand_pairs, flank_of, turn_strand


def average_predictions(
    predict: Callable[[keras.KerasTensor], Mapping[str, keras.KerasTensor]],
    sequence: keras.KerasTensor,
    *,
    strand_pairs: Mapping[str, Sequence[int]],
    window_length: int,
    shifts: Sequence[int] = (0,),
    strands: bool = True,
) -> dict[str, keras.KerasTensor]:
    """Predict each window shifted and on both strands, and average (test-time augmentation).

    One variant is predicted after the other, in their number of times as long. Called outside of a compiled
    function, they take the memory of one.

    Args:
        predict: Gives head -> ``[batch, target_length, tracks]`` for one-hot ``[batch, window_length, 4]``, as
            an `Enformer` does.
        sequence: One-hot ``[batch, window_length + 2 * flank, 4]``, as `augment` takes it.
        strand_pairs: Head -> for each track the index of its partner on the other strand, itself if it has
            none.
        window_length: bp of the window.
        shifts: bp by which the window moves to the right along the forward strand, from ``-flank`` to
            ``flank``. The predictions stay where they are: shifts are far below a bin.
        strands: Whether to ask about the other strand too; its answers are turned back, and the tracks of
            strand pairs change places.

    Returns:
        Head -> ``[batch, target_length, tracks]``.

    Raises:
        ValueError: There is no shift, or one longer than the flanks; the flanks differ in length; or
            ``strand_pairs`` does not pair a head's tracks.
    """
    flank = flank_of(sequence, window_length)
    if not shifts or not all(is_integer(shift) and abs(shift) <= flank for shift in shifts):
        raise ValueError(
            f"shifts={list(shifts)} must be at least one integer, and none longer than the flanks of {flank} bp"
        )
    total: dict[str, keras.KerasTensor] = {}
    for shift in shifts:
        window = sequence[:, flank + shift : flank + shift + window_length]
        for other_strand in (False, True) if strands else (False,):
            # A, C, G, T backwards is T, G, C, A: their complements.
            predicted = predict(ops.flip(window, axis=(1, 2)) if other_strand else window)
            for head, values in predicted.items():
                if other_strand:
                    check_strand_pairs(strand_pairs[head], values.shape[2])
                    values = turn_strand(values, strand_pairs[head])
                total[head] = total[head] + values if head in total else values
    count = len(shifts) * (1 + strands)
    return {head: values / count for head, values in total.items()}
