"""Record files against the other readers of their format."""

import gzip

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that, equal_to

from components.examples.records import (
    WriteRecords,
    encode_record,
    find_records,
    make_reader,
    read_record,
    shard_pattern,
)

RECORDS = [b"", b"a", b"ACGT" * 1000, np.random.default_rng(0).bytes(100_000)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "records.gz"
    path.write_bytes(b"".join(map(encode_record, RECORDS)))
    return str(path)


def test_other_readers_read_the_same(file, tmp_path):
    assert list(tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator()) == RECORDS
    with tf.io.TFRecordWriter(str(tmp_path / "plain")) as writer:
        for record in RECORDS:
            writer.write(record)
    with gzip.open(file) as inflated:
        assert inflated.read() == (tmp_path / "plain").read_bytes()
    with beam.Pipeline("FnApiRunner") as pipeline:
        assert_that(pipeline | beam.io.ReadFromTFRecord(file), equal_to(RECORDS))


def test_a_record_is_read_without_what_lies_before_it(file, tmp_path):
    places = find_records([file, file])
    assert [read_record(place) for place in places] == RECORDS * 2
    read = tf.function(make_reader(places))
    assert [read(tf.constant(position, tf.int64)).numpy() for position in range(8)] == RECORDS * 2
    third = places[2]
    damaged = tmp_path / "damaged"
    content = bytearray((tmp_path / "records.gz").read_bytes())
    content[30 : third.start] = bytes(third.start - 30)
    damaged.write_bytes(content)
    assert read_record(third._replace(file=str(damaged))) == RECORDS[2]
    read = make_reader([place._replace(file=str(damaged)) for place in places[:4]])
    assert read(tf.constant(2, tf.int64)).numpy() == RECORDS[2]
    with pytest.raises(tf.errors.DataLossError):
        read(tf.constant(1, tf.int64))


def test_damage_is_found(file, tmp_path):
    content = (tmp_path / "records.gz").read_bytes()
    *_, last = find_records([file])
    damaged = tmp_path / "damaged.gz"
    for cut in (last.start + 1, last.start + 30, len(content) - 1):
        damaged.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"damaged\.gz: (is cut: record 3|byte)"):
            find_records([str(damaged)])
    damaged.write_bytes(content[:-200] + bytes(200))
    with pytest.raises(ValueError, match=f"damaged.gz: byte {last.start}: damaged record"):
        read_record(find_records([str(damaged)])[-1])
    damaged.write_bytes(gzip.compress(b"of another writer"))
    with pytest.raises(ValueError, match="byte 0: no record of this project"):
        find_records([str(damaged)])


def test_shards_are_written_whole_and_tell_whose_they_are(tmp_path):
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(RECORDS) | WriteRecords(str(tmp_path / "Split-train"), "ecoli")
    (file,) = (tmp_path / "Split-train").iterdir()
    assert file.name == "ecoli-00000-of-00001.gz"
    assert tf.io.gfile.glob(shard_pattern(str(file.parent), "ecoli")) == [str(file)]
    assert not tf.io.gfile.glob(shard_pattern(str(file.parent), "eco"))
    assert sorted(read_record(place) for place in find_records([str(file)])) == sorted(RECORDS)
