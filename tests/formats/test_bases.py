import numpy as np
import pytest

from enformer_keras.formats.sequence import AMBIGUOUS, CODE_TABLE, encode_bases, one_hot_encode


def test_codes_are_the_one_hot_rows_in_a_byte():
    sequences = ["ACGTacgtN" + AMBIGUOUS, "T" * (9 + len(AMBIGUOUS))]
    codes = encode_bases(sequences)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(CODE_TABLE[codes], one_hot_encode(sequences))


def test_no_letter_of_dna_is_refused_by_its_place():
    with pytest.raises(ValueError, match="'U' at position 2 of sequence 1 is no letter of DNA"):
        encode_bases(["ACGT", "ACUT"])
