"""The record files of a Basenji folder: their frames, their compression, and what a record's bytes mean.

Records are read by TensorFlow, which is imported where it is used.

Source: https://github.com/calico/basenji, bin/basenji_data_write.py; for the frames of TFRecord files
https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.sequence import ALPHABET, ONE_HOT_TABLE

if TYPE_CHECKING:
    from enformer_keras.datasets.basenji_metadata import Statistics
    from enformer_keras.formats.track_table import Target

LETTERS = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)
_N = ord("N")
# A record of a TFRecord file begins with its length and a checksum of that.
_FRAME_BYTES = 8 + 4
# Read at once of a compressed file; what it holds is up to a thousand times as much.
_CHUNK_BYTES = 1 << 16
# float16 of these bits and more, the sign left out, are infinite or NaN (IEEE 754).
_INFINITE_BITS = 0x7C00
_MINUS_ZERO_BITS = 0x8000  # more, taken as an unsigned number, is less than 0


def _canonical_letters() -> np.ndarray:
    """Letter -> A, C, G, T or N as the one-hot table has them; 0 where the byte is no letter of DNA."""
    canonical = np.zeros(256, dtype=np.uint8)
    canonical[~np.isnan(ONE_HOT_TABLE[:, 0])] = _N
    known, base = np.nonzero(ONE_HOT_TABLE == 1)
    canonical[known] = LETTERS[base]
    return canonical


CANONICAL = _canonical_letters()
# Stored index -> letter, 0 where it is none; basenji writes 4 for N.
_LETTER_OF_INDEX = np.zeros(256, dtype=np.uint8)
_LETTER_OF_INDEX[:5] = [*LETTERS, _N]


def read_records(file: Path) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Reads the records of a file as they are stored.

    Args:
        file: a TFRecord file, ZLIB.

    Yields:
        Of each record the bytes of sequence and target, uint8 [bytes] each, and the number of bytes of umap.

    Raises:
        DatasetError: a record cannot be read.
    """
    with from_extra("tensorflow"):
        import tensorflow as tf

    # A feature that is missing has no bytes, which the checks of sizes then refuse.
    feature = tf.io.FixedLenFeature([], tf.string, default_value="")
    features = dict.fromkeys(("sequence", "target", "umap"), feature)

    def parse() -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        # Prefetching inflates the next records while Python checks this one.
        for serialized in tf.data.TFRecordDataset(str(file), compression_type="ZLIB").prefetch(2):
            parsed = tf.io.parse_single_example(serialized, features)
            sequence, target = (tf.io.decode_raw(parsed[name], tf.uint8) for name in ("sequence", "target"))
            yield sequence.numpy(), target.numpy(), len(parsed["umap"].numpy())

    yield from _guard(parse(), file)


def _guard(records: Iterator[Any], file: Path) -> Iterator[Any]:
    """Passes records on; TensorFlow's errors name neither file nor record, so this does."""
    with from_extra("tensorflow"):
        import tensorflow as tf

    number = 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except (
            tf.errors.OpError,
            UnicodeDecodeError,
        ) as error:  # TensorFlow quotes a record that it cannot parse
            message = getattr(error, "message", "no tf.train.Example").split("}}")[-1].split(" [Op:")[0].strip()
            raise DatasetError(
                f"{file}: record {number}: cannot be read ({message}); fetch or write the file again"
            ) from error
        yield record
        number += 1


def decode_sequence(stored: np.ndarray, statistics: Statistics, where: str) -> np.ndarray:
    """Decodes the bytes of a sequence.

    Args:
        stored: uint8 [bytes].
        statistics: of the folder.
        where: file and record, for messages.

    Returns:
        uint8 [seq_length], letters A, C, G, T and N.

    Raises:
        DatasetError: another number of bytes than `statistics.json` says, or what is no base.
    """
    kind = "one index a bp" if statistics.seq_1hot else "4 bytes a bp"
    size = statistics.seq_length * (1 if statistics.seq_1hot else 4)
    if stored.size != size:
        raise DatasetError(
            f"{where}: sequence has {stored.size} bytes, statistics.json says {size} (seq_length "
            f"{statistics.seq_length}, seq_1hot {str(statistics.seq_1hot).lower()}: {kind}); correct "
            "statistics.json or fetch the file again"
        )
    if statistics.seq_1hot:
        letters: np.ndarray = _LETTER_OF_INDEX[stored]
        wrong = np.flatnonzero(letters == 0)
        if wrong.size:
            raise DatasetError(
                f"{where}: sequence: position {wrong[0]} is {stored[wrong[0]]}, neither the index of a "
                f"base nor 4, which is N ({wrong.size} such positions); fetch the file again"
            )
        return letters
    rows = stored.view("<u4")  # the four bytes of a bp as one number, which is 0 for N
    letters = np.full(rows.size, _N, dtype=np.uint8)
    for column, letter in enumerate(LETTERS):
        letters[rows == 1 << (8 * column)] = letter
    wrong = np.flatnonzero((letters == _N) & (rows != 0))
    if wrong.size:
        row = stored[4 * wrong[0] : 4 * wrong[0] + 4].tolist()
        raise DatasetError(
            f"{where}: sequence: position {wrong[0]} is {row}, neither one-hot nor zeros ({wrong.size} "
            "such positions); correct seq_1hot in statistics.json or fetch the file again"
        )
    return letters


def decode_target(
    stored: np.ndarray, statistics: Statistics, targets: Sequence[Target], where: str
) -> np.ndarray:
    """Decodes the bytes of a target.

    Args:
        stored: uint8 [bytes].
        statistics: of the folder.
        targets: its tracks, for messages.
        where: file and record, for messages.

    Returns:
        float16 [target_length, num_targets].

    Raises:
        DatasetError: another number of bytes than `statistics.json` says, or a value that is not finite or
            below 0.
    """
    shape = (statistics.target_length, statistics.num_targets)
    size = 2 * shape[0] * shape[1]
    if stored.size != size:
        raise DatasetError(
            f"{where}: target has {stored.size} bytes, statistics.json says {size} (float16 "
            f"[target_length, num_targets] {list(shape)}); correct statistics.json or fetch the file again"
        )
    bits = stored.view("<u2")
    # The largest of the bits decides: one pass over millions of values, without a temporary of floats.
    if (bits & 0x7FFF).max() >= _INFINITE_BITS:
        wrong = np.flatnonzero((bits & 0x7FFF) >= _INFINITE_BITS)
        row, column = divmod(int(wrong[0]), statistics.num_targets)
        raise DatasetError(
            f"{where}: target: bin {row} of track {targets[column].identifier} is "
            f"{stored.view('<f2')[wrong[0]]} ({wrong.size} such values); make the data with clip, or "
            "without NaN"
        )
    if bits.max() > _MINUS_ZERO_BITS:
        wrong = np.flatnonzero(bits > _MINUS_ZERO_BITS)
        row, column = divmod(int(wrong[0]), statistics.num_targets)
        raise DatasetError(
            f"{where}: target: bin {row} of track {targets[column].identifier} is "
            f"{stored.view('<f2')[wrong[0]]} ({wrong.size} such values); the Poisson loss needs values of "
            "at least 0: make the data of absolute values, or of coverage in place of a log ratio"
        )
    return stored.view("<f2").reshape(shape)


def count_records(file: Path) -> int:
    """Counts the records of a file, which is read in full: nothing in the format tells their number.

    TensorFlow, which reads the records, does not mind a ZLIB stream without its end, and passes over whatever
    follows the first stream. Both are refused here.

    Args:
        file: a TFRecord file, ZLIB.

    Returns:
        The number.

    Raises:
        DatasetError: the file is cut or damaged, or bytes follow its records.
    """
    count, body, header = 0, 0, b""  # of a record: the bytes still to come; of the next: what is there so far
    for text in _inflate(file):
        at = 0
        while at < len(text):
            if body:
                step = min(body, len(text) - at)
                body -= step
            else:
                step = min(_FRAME_BYTES - len(header), len(text) - at)
                header += text[at : at + step]
                if len(header) == _FRAME_BYTES:
                    body = int.from_bytes(header[:8], "little") + 4  # a checksum follows, too
                    header = b""
                    count += 1
            at += step
    if body or header:
        raise DatasetError(f"{file}: is cut in record {count - bool(body)}; fetch or write the file again")
    return count


def _inflate(file: Path) -> Iterator[bytes]:
    """Yields what a ZLIB stream holds, and refuses a file that is not one whole stream."""
    stream = zlib.decompressobj()
    with file.open("rb") as packed:
        while chunk := packed.read(_CHUNK_BYTES):
            if stream.eof:
                break
            try:
                yield stream.decompress(chunk)
            except zlib.error as error:
                raise DatasetError(f"{file}: is damaged ({error}); fetch or write the file again") from error
        if not stream.eof:
            raise DatasetError(f"{file}: is cut: its ZLIB stream has no end; fetch or write the file again")
        if chunk or stream.unused_data:
            raise DatasetError(
                f"{file}: bytes follow the end of its ZLIB stream; fetch the file again, or take files apart "
                "that were put together"
            )
