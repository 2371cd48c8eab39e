"""Random bits hashed from positions and a step's seed, the same on every backend and any number of replicas."""

import keras
from keras import ops

# Multipliers and shifts of a 32-bit finalizer with low bias (Wellons 2018, "lowbias32"), as signed integers.
_ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32))
_LAST_SHIFT = 16


def position_bits(position: keras.KerasTensor, seed: keras.KerasTensor) -> keras.KerasTensor:
    """Hash positions to bits that look drawn.

    Args:
        position: int32 of any shape.
        seed: What ``keras.random.SeedGenerator.next`` gives, ``[2]``.

    Returns:
        Uniform over all int32, of the same shape.
    """
    first, second = ops.unstack(ops.cast(seed, "int32"), 2)
    # Two keys from the seed: one alone would give some pairs of layers or steps each other's bits, moved by
    # a few positions.
    key = _mix(first ^ _mix(second))
    return _mix(_mix(position ^ key) + _mix(key + second))


def _mix(x: keras.KerasTensor) -> keras.KerasTensor:
    """Permute the int32 numbers so that every input bit moves about half of the output bits."""
    for shift, multiplier in _ROUNDS:
        x = (x ^ _shift_right(x, shift)) * multiplier
    return x ^ _shift_right(x, _LAST_SHIFT)


def _shift_right(x: keras.KerasTensor, bits: int) -> keras.KerasTensor:
    """Shift in zeros; the shift of signed integers copies the sign."""
    return ops.bitwise_and(ops.right_shift(x, bits), (1 << (32 - bits)) - 1)
