"""Strings to tensors, inside TensorFlow graphs: the one decode of Transform, Trainer and served model."""

import numpy as np
import tensorflow as tf

from enformer_keras.formats.sequence import ALPHABET, AMBIGUOUS, ONE_HOT_TABLE


def decode_sequences(sequences: tf.Tensor, length: int) -> tf.Tensor:
    """One-hot encodes DNA strings by the table of `enformer_keras.one_hot_encode`.

    Args:
        sequences: strings [batch].
        length: letters that each must have, in bp.

    Returns:
        float32 [batch, length, 4] in the order A, C, G, T.

    Raises:
        tf.errors.InvalidArgumentError: when run, on a string of another length or with a letter that is no
            IUPAC code of DNA; the message gives the example and the position.
    """
    lengths = tf.strings.length(sequences)
    right_length = tf.debugging.Assert(
        tf.reduce_all(tf.equal(lengths, length)),
        [f"each sequence must have {length} letters; these lengths were given:", lengths],
        summarize=16,
    )
    with tf.control_dependencies([right_length]):
        codes = tf.io.decode_raw(sequences, tf.uint8, fixed_length=length)
    # A byte that is no letter of DNA has a row of NaN: if a converter drops the assertion below, the answer is
    # NaN, not a wrong number.
    one_hot = tf.gather(tf.constant(ONE_HOT_TABLE), tf.cast(codes, tf.int32))
    wrong = tf.where(tf.math.is_nan(one_hot[..., 0]))
    letters = tf.debugging.Assert(
        tf.equal(tf.shape(wrong)[0], 0),
        [
            f"sequences may hold {ALPHABET} and {AMBIGUOUS}, in either case; "
            "[example, position] of other letters:",
            wrong[:8],
        ],
        summarize=16,
    )
    with tf.control_dependencies([letters]):
        return tf.ensure_shape(tf.identity(one_hot), [None, length, 4])


def decode_targets(targets: tf.Tensor, target_length: int, tracks: int) -> tf.Tensor:
    """Decodes the `target` bytes of one organism's examples, as the ExampleGens wrote them.

    Args:
        targets: strings [batch] of little-endian float16 in C order.
        target_length: bins of each.
        tracks: tracks of each.

    Returns:
        float32 [batch, target_length, tracks].

    Raises:
        tf.errors.InvalidArgumentError: when run, on a string of another size.
    """
    size = target_length * tracks * np.dtype(np.float16).itemsize
    sizes = tf.strings.length(targets)
    right_size = tf.debugging.Assert(
        tf.reduce_all(tf.equal(sizes, size)),
        [
            f"each target must have {size} bytes, float16 [{target_length}, {tracks}]; these sizes were given:",
            sizes,
        ],
        summarize=16,
    )
    with tf.control_dependencies([right_size]):
        # Without fixed_length: with it, the float16 kernel exports and then fails at inference.
        values = tf.io.decode_raw(targets, tf.float16)
    return tf.cast(tf.reshape(values, [-1, target_length, tracks]), tf.float32)
