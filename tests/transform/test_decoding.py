"""The graph's decode against the library's, letter by letter."""

import numpy as np
import pytest
import tensorflow as tf

from components.transform.decoding import decode_sequences, decode_targets
from enformer_keras import one_hot_encode

LETTERS = "ACGTacgtNnRYSWKMBDHVryswkmbdhv"


def test_sequences_decode_as_the_library_encodes():
    sequences = [LETTERS, LETTERS[::-1]]
    decoded = tf.function(decode_sequences)(tf.constant(sequences), len(LETTERS))
    np.testing.assert_array_equal(decoded, one_hot_encode(sequences))
    assert decoded.dtype == tf.float32


def test_every_other_byte_is_an_error_in_both():
    decode = tf.function(decode_sequences)
    for code in range(256):
        if chr(code) in LETTERS:
            continue
        sequence = b"AC" + bytes([code]) + b"T"
        with pytest.raises(ValueError, match="at position 2 "):
            one_hot_encode(sequence)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[1 2\]"):
            decode(tf.constant([b"ACGT", sequence]), 4)


@pytest.mark.parametrize("sequence", ["ACG", "ACGTA", ""])
def test_another_length_is_an_error(sequence):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have 4 letters"):
        decode_sequences(tf.constant(["ACGT", sequence]), 4)


def test_errors_survive_export(tmp_path):
    module = tf.Module()
    module.decode = tf.function(
        lambda sequences: decode_sequences(sequences, 4), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path))
    decode = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for sequence in ("ACG", "ACGX"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(tf.constant([sequence]))


def test_targets():
    target = np.arange(12, dtype="<f2").reshape(2, 3, 2) / 7
    decoded = decode_targets(tf.constant([one.tobytes() for one in target]), 3, 2)
    np.testing.assert_array_equal(decoded, target.astype(np.float32))


def test_a_target_of_another_size_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"12 bytes, float16 \[3, 2\]"):
        decode_targets(tf.constant([b"\0" * 12, b"\0" * 10]), 3, 2)
