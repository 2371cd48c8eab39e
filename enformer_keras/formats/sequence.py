"""DNA letters as numbers: the one table that every decoder of the project uses."""

from collections.abc import Sequence

import numpy as np

ALPHABET = "ACGT"
# IUPAC-IUB codes of more than one base (NC-IUB 1984): no single base is known, so they encode as zeros.
AMBIGUOUS = "NRYSWKMBDHV"


def _one_hot_table() -> np.ndarray:
    table = np.full((256, 4), np.nan, dtype=np.float32)
    for letter in AMBIGUOUS + AMBIGUOUS.lower():
        table[ord(letter)] = 0.0
    for index, base in enumerate(ALPHABET):
        for letter in (base, base.lower()):
            table[ord(letter)] = np.eye(4, dtype=np.float32)[index]
    table.flags.writeable = False
    return table


ONE_HOT_TABLE = _one_hot_table()
"""float32 ``[256, 4]``: the one-hot row of every byte, NaN where the byte is no letter of DNA."""


CODE_TABLE = np.concatenate([np.eye(4, dtype=np.float32), np.zeros((1, 4), dtype=np.float32)])
"""float32 ``[5, 4]``: the one-hot row of every code of `encode_bases`."""


def encode_bases(sequences: Sequence[str]) -> np.ndarray:
    """Encode DNA as a byte a base, a sixteenth of its one-hot rows, which `CODE_TABLE` has.

    Args:
        sequences: Of the same length.

    Returns:
        uint8 array ``[batch, length]``: 0, 1, 2, 3 for A, C, G, T, and 4 for N and the other ambiguous codes.

    Raises:
        ValueError: As `one_hot_encode`.
    """
    codes: np.ndarray = _CODES[np.stack([_letters(one) for one in sequences])]
    if codes.max(initial=0) == _NO_LETTER:
        one_hot_encode(sequences)  # says which letter
    return codes


_NO_LETTER = 255
_CODES = np.full(256, _NO_LETTER, dtype=np.uint8)
_CODES[~np.isnan(ONE_HOT_TABLE[:, 0])] = len(ALPHABET)
_CODES[ONE_HOT_TABLE.sum(axis=1) == 1] = ONE_HOT_TABLE[ONE_HOT_TABLE.sum(axis=1) == 1].argmax(axis=1)


def one_hot_encode(sequence: str | bytes | Sequence[str | bytes]) -> np.ndarray:
    """Encode DNA as one-hot rows in the order A, C, G, T.

    Lower case (soft-masked) bases encode as their upper case. N and the other ambiguous IUPAC codes encode
    as four zeros.

    Args:
        sequence: One sequence of ``length`` letters, or several of the same length.

    Returns:
        float32 array ``[length, 4]``, or ``[batch, length, 4]`` for several sequences.

    Raises:
        ValueError: A letter is no IUPAC code of DNA (the message gives its position, counted from 0; ``U`` is
            refused too, as RNA), or the sequences differ in length.

    Source: Enformer, Methods ("one-hot encoded: A = [1,0,0,0], C = [0,1,0,0], G = [0,0,1,0], T = [0,0,0,1]").
    """
    if isinstance(sequence, str | bytes):
        return _encode(sequence, "")
    encoded = [_encode(one, f" of sequence {index}") for index, one in enumerate(sequence)]
    lengths = {len(one) for one in encoded}
    if len(lengths) > 1:
        raise ValueError(f"sequences of one batch must have one length, got lengths {sorted(lengths)}")
    return np.stack(encoded) if encoded else np.zeros((0, 0, 4), np.float32)


def _letters(sequence: str | bytes) -> np.ndarray:
    if isinstance(sequence, str):
        # A letter outside Latin-1 becomes one "?", so positions stay those of the string.
        sequence = sequence.encode("latin-1", errors="replace")
    letters: np.ndarray = np.frombuffer(sequence, dtype=np.uint8)
    return letters


def _encode(sequence: str | bytes, where: str) -> np.ndarray:
    encoded: np.ndarray = ONE_HOT_TABLE[_letters(sequence)]
    invalid = np.flatnonzero(np.isnan(encoded[:, 0]))
    if invalid.size:
        position = int(invalid[0])
        letter = sequence[position : position + 1]
        raise ValueError(
            f"{letter!r} at position {position}{where} is no letter of DNA ({invalid.size} such positions); "
            f"allowed are {ALPHABET} and the ambiguous codes {AMBIGUOUS}, in either case"
        )
    return encoded
