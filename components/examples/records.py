"""Gzipped TFRecord files that can be read from any record on.

A gzip file may consist of members, one after another (RFC 1952, 2.2), and a member may say something of
itself in its header's extra field (2.3.1.1). Here every record is a member of its own that tells its length in
bytes: a reader hops from header to header and inflates what it wants. To every other reader (TensorFlow, Beam,
gzip) it is a gzipped TFRecord file like any other.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, NamedTuple

import apache_beam as beam
import google_crc32c
import tensorflow as tf
from apache_beam.io.filebasedsink import FileBasedSink
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

# Of a shard, about. TensorFlow's operations pass over what lies before a record by reading it (`make_reader`),
# so shards are short: at the paper's size two or three examples.
_SHARD_BYTES = 2**24
# Bases and float16 values repeat little but zeros. Not to search for other repeats, as gzip's default does,
# gives smaller files in a fraction of the time (benchmarks/README.md).
_STRATEGY = zlib.Z_RLE

# RFC 1952, 2.3: magic, deflate, FEXTRA; no time; no flags of the compressor, system unknown; length of the
# extra field, whose only subfield is "EN" with the member's length.
_HEADER = struct.Struct("<4s4s2sH2sHQ")
_FIXED = (b"\x1f\x8b\x08\x04", bytes(4), b"\x00\xff", 12, b"EN", 8)
_MOST_INFLATED = 1032  # times its size: zlib's technical notes
_READ_BYTES = 2**20
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


class Place(NamedTuple):
    """Where a record lies.

    Attributes:
        file: the file.
        start: byte at which its member begins.
        length: bytes of the member.
    """

    file: str
    start: int
    length: int


def encode_record(record: bytes) -> bytes:
    """Wraps a record as TFRecord does, and that in a gzip member that tells its length.

    Args:
        record: any bytes.

    Returns:
        The member.
    """
    length = _LENGTH.pack(len(record))
    framed = b"".join((length, _checksum(length), record, _checksum(record)))
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS, strategy=_STRATEGY)
    body = deflate.compress(framed) + deflate.flush()
    trailer = struct.pack("<II", zlib.crc32(framed), len(framed) % 2**32)
    return _HEADER.pack(*_FIXED, _HEADER.size + len(body) + len(trailer)) + body + trailer


def _checksum(content: bytes) -> bytes:
    """Masked CRC-32C, as TensorFlow's `lib/hash/crc32c.h` defines it."""
    crc = google_crc32c.value(content)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def shard_pattern(folder: str, organism: str) -> str:
    """Names the files of an organism in a split.

    Args:
        folder: of the split.
        organism: name of the head; it holds no hyphen.

    Returns:
        A pattern for glob.
    """
    return f"{folder}/{organism}-*-of-*.gz"


def split_pattern(folder: str) -> str:
    """Names the files of all organisms in a split.

    What else lies there is nobody's example: file managers leave files of their own in the folders that they
    show (`.DS_Store`, `._<name>` for any name, `Thumbs.db`).

    Args:
        folder: of the split.

    Returns:
        A pattern for glob, TensorFlow's and Beam's too.
    """
    return f"{folder}/[A-Za-z]*-of-*.gz"  # as names of heads begin


def find_records(files: Iterable[str]) -> list[Place]:
    """Finds all records without reading them: a header of each is all that is looked at.

    Args:
        files: of this format.

    Returns:
        The places of the records, in the order of the files.

    Raises:
        ValueError: a file is cut, or of another writer.
    """
    places: list[Place] = []
    for file in files:
        start = 0
        with _open(file) as content:
            size = content.seek(0, io.SEEK_END)
            while start < size:
                content.seek(start)
                header = content.read(_HEADER.size)
                if len(header) < _HEADER.size or _HEADER.unpack(header)[:-1] != _FIXED:
                    raise ValueError(
                        f"{file}: byte {start}: no record of this project's ExampleGens: the file is damaged, "
                        "or of another writer; build the examples again"
                    )
                place = Place(file, start, _HEADER.unpack(header)[-1])
                start += place.length
                if not _HEADER.size < place.length <= size - place.start:
                    raise ValueError(
                        f"{file}: is cut: record {len(places)} should end at byte {start}, the file ends at "
                        f"{size}; build the examples again"
                    )
                places.append(place)
    return places


def read_record(place: Place) -> bytes:
    """Reads one record, and nothing that lies before it.

    Args:
        place: where.

    Returns:
        The record.

    Raises:
        ValueError: what lies there is damaged.
    """
    with _open(place.file) as content:
        content.seek(place.start)
        member = content.read(place.length)
    # A buffer of the right size spares a fifth of the time at 10 MB. The trailer tells it; a damaged one may
    # not ask for more than deflate can reach.
    framed_length = int.from_bytes(member[-4:], "little")
    buffer = max(1, min(framed_length, _MOST_INFLATED * len(member)))
    try:
        # gzip's own checksum and length, which this verifies, cover TFRecord's.
        framed = memoryview(zlib.decompress(member, zlib.MAX_WBITS | 16, buffer))
    except zlib.error as error:
        raise ValueError(f"{place.file}: byte {place.start}: damaged record ({error})") from error
    return bytes(framed[_LENGTH.size + _CHECKSUM.size : -_CHECKSUM.size])


def make_reader(places: Sequence[Place]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes `read_record` for TensorFlow's pipelines, of TensorFlow's operations alone.

    It reads the record's shard up to the record's end, of which it inflates the record alone.

    (A Python function in a pipeline can wait for the interpreter's lock while whoever ends the pipeline holds
    that lock and waits for the function.)

    Args:
        places: of all records.

    Returns:
        A function from a record's position among the places, int64 [], to the record, string []; a damaged one
        is a tf.errors.DataLossError.
    """
    files = list(dict.fromkeys(place.file for place in places))
    number = {file: index for index, file in enumerate(files)}
    sizes = {place.file: place.start + place.length for place in places}  # the last of a file ends it
    table = tf.constant(
        [[number[p.file], p.start, p.length, sizes[p.file] - p.start - p.length] for p in places], tf.int64
    )
    names = tf.constant(files)

    def read(position: tf.Tensor) -> tf.Tensor:
        file, start, length, rest = tf.unstack(table[position])
        member = tf.data.FixedLengthRecordDataset(
            names[file],
            length,
            header_bytes=start,
            footer_bytes=rest,
            buffer_size=tf.minimum(length, _READ_BYTES),  # as much is read, however short the record
        ).get_single_element()
        framed = tf.io.decode_compressed(member, "GZIP")
        frame = _LENGTH.size + 2 * _CHECKSUM.size
        return tf.strings.substr(framed, _LENGTH.size + _CHECKSUM.size, tf.strings.length(framed) - frame)

    return read


def _open(file: str) -> BinaryIO:
    """Opens a file on any of Beam's file systems (TensorFlow's take ten times as long over 10 MB)."""
    return FileSystems.open(file, compression_type=CompressionTypes.UNCOMPRESSED)


class _Sink(FileBasedSink):
    """Shards of members; Beam writes each beside its place and renames it when it is whole."""

    def write_encoded_record(self, file_handle: BinaryIO, encoded_value: bytes) -> None:
        file_handle.write(encode_record(encoded_value))


class WriteRecords(beam.PTransform):
    """Writes an organism's serialized examples to `<folder>/<organism>-SSSSS-of-NNNNN.gz`.

    The files' names tell whose examples they hold (`shard_pattern`): a head's are found without reading the
    others'. Unlike TFX's own writer it does not shuffle what it writes: that would pass gigabytes from worker
    to worker, and hold them in memory on some runners. The Trainer draws an order of its own.

    Args:
        folder: of the split.
        organism: name of the head.
    """

    def __init__(self, folder: str, organism: str) -> None:
        super().__init__()
        self._sink = _Sink(
            f"{folder}/{organism}",
            beam.coders.BytesCoder(),
            file_name_suffix=".gz",
            compression_type=CompressionTypes.UNCOMPRESSED,  # the members are compressed one by one
            max_bytes_per_shard=_SHARD_BYTES,
        )

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """Adds the steps.

        Args:
            records: bytes.

        Returns:
            The files' names.
        """
        return records | beam.io.Write(self._sink)
