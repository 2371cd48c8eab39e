import itertools
import json
import re
import zlib

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from enformer_keras.datasets.basenji import count_records  # noqa: E402
from enformer_keras.genome import (  # noqa: E402
    BasenjiFolder,
    BasenjiRecord,
    DatasetError,
    Interval,
    Window,
    basenji_dataset,
    write_basenji,
)
from tests.datasets.tiny_basenji import (  # noqa: E402
    BINS,
    POOL_WIDTH,
    SEQ_LENGTH,
    TRACKS,
    build_tiny_basenji,
    write_records,
)


@pytest.fixture(params=[False, True], ids=["one_hot", "indices"])
def both(request, tmp_path):
    return build_tiny_basenji(tmp_path, indices=request.param)


@pytest.fixture
def tiny(tmp_path):
    return build_tiny_basenji(tmp_path)


def problem_of(*arguments, **keywords):
    """What basenji_dataset says when it is called."""
    with pytest.raises(DatasetError) as caught:
        basenji_dataset(*arguments, **keywords)
    return str(caught.value)


def problem_while_reading(tiny, split, **keywords):
    with pytest.raises(DatasetError) as caught:
        list(BasenjiFolder(tiny.path).records(split, **keywords))
    return str(caught.value)


def test_reads_every_record_in_the_order_of_the_rows(both):
    for split, rows in both.rows.items():
        dataset = basenji_dataset(both.path, split)
        assert dataset.element_spec == {
            "sequence": tf.TensorSpec([SEQ_LENGTH, 4], tf.float32),
            "target": tf.TensorSpec([BINS, TRACKS], tf.float32),
        }
        assert len(dataset) == len(rows)
        for element, (chrom, start, target) in zip(dataset.as_numpy_iterator(), rows, strict=True):
            expected = both.expected(chrom, start, start + SEQ_LENGTH)
            np.testing.assert_array_equal(element["sequence"], expected)
            np.testing.assert_array_equal(element["target"], target.astype(np.float32))


def test_agrees_with_a_plain_parse_by_tensorflow(tiny):
    def parse(serialized):
        features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("sequence", "target")}
        parsed = tf.io.parse_single_example(serialized, features)
        sequence = tf.reshape(tf.io.decode_raw(parsed["sequence"], tf.uint8), [SEQ_LENGTH, 4])
        target = tf.reshape(tf.io.decode_raw(parsed["target"], tf.float16), [BINS, TRACKS])
        return tf.cast(sequence, tf.float32), tf.cast(target, tf.float32)

    names = [str(tiny.file(f"train-{number}.tfr")) for number in range(12)]
    plain = tf.data.TFRecordDataset(names, compression_type="ZLIB").map(parse)
    read = basenji_dataset(tiny.path, "train", tiny.fasta)
    for element, (sequence, target) in zip(read, plain, strict=True):
        np.testing.assert_array_equal(element["sequence"], sequence)
        np.testing.assert_array_equal(element["target"], target)


@pytest.mark.parametrize("length", [40, 96, 160, 200])
def test_other_lengths_share_the_centre(both, length, caplog):
    caplog.set_level("INFO")
    dataset = basenji_dataset(both.path, "train", both.fasta, sequence_length=length)
    padded = []
    for element, (chrom, start, _) in zip(dataset, both.rows["train"], strict=True):
        begin = start + (SEQ_LENGTH - length) // 2
        np.testing.assert_array_equal(element["sequence"], both.expected(chrom, begin, begin + length))
        padded.append(max(0, -begin) + max(0, begin + length - len(both.bases[chrom])))
    counted = f"12 windows of {length} bp, {np.count_nonzero(padded)} of them reach beyond their contig"
    assert f"{counted}, {sum(padded)} bp filled with N" in caplog.text


def test_shorter_needs_no_genome(both):
    for element, (chrom, start, _) in zip(
        basenji_dataset(both.path, "test", sequence_length=64), both.rows["test"], strict=True
    ):
        np.testing.assert_array_equal(element["sequence"], both.expected(chrom, start + 16, start + 80))


def test_a_dataset_can_be_read_twice_and_in_part(tiny):
    dataset = basenji_dataset(tiny.path, "train").batch(5)
    assert next(iter(dataset))["sequence"].shape == (5, SEQ_LENGTH, 4)
    for _ in range(2):
        assert [len(batch["target"]) for batch in dataset] == [5, 5, 2]


def test_records_say_where_they_lie(tiny):
    folder = BasenjiFolder(tiny.path)
    assert folder.splits == ("train", "valid", "test")
    assert folder.strand_pairs == [0, 2, 1]
    assert folder.targets[0].description == "DNASE:5' \"end"
    assert folder.targets[1].index == 5314
    for one, (chrom, start, target) in zip(folder.records("valid"), tiny.rows["valid"], strict=True):
        stored = Interval(chrom, start, start + SEQ_LENGTH)
        assert one.window == Window(stored, stored.resize(BINS * POOL_WIDTH), "valid")
        assert one.sequence.decode() == tiny.letters(chrom, start, start + SEQ_LENGTH)
        np.testing.assert_array_equal(one.target, target)


def test_folds_are_splits(tmp_path):
    tiny = build_tiny_basenji(tmp_path, split_names=("fold0", "fold1", "fold10"))
    assert len(list(basenji_dataset(tiny.path, "fold10"))) == len(tiny.rows["fold10"])
    assert "'train' is not among those of sequences.bed: fold0, fold1, fold10" in problem_of(tiny.path, "train")


def test_rows_may_span_the_sequences(tiny):
    """With a crop basenji's rows span the targets; other writers' span the sequences."""
    rows = [
        f"{chrom}\t{max(start, 0)}\t{max(start, 0) + SEQ_LENGTH}\t{split}\n"
        for split, rows in tiny.rows.items()
        for chrom, start, _ in rows
    ]
    (tiny.path / "sequences.bed").write_text("".join(rows))
    assert len(list(basenji_dataset(tiny.path, "valid", tiny.fasta, 200))) == 3


def test_a_genome_that_disagrees(tiny):
    """Two of the three windows hold another base; the second window's is changed twice."""
    bases = dict(tiny.bases)
    changed = set()
    for number, offset in ((1, 7), (1, 50), (2, 95)):
        chrom, start, _ = tiny.rows["valid"][number]
        at = start + offset
        changed.add(at)
        bases[chrom] = bases[chrom][:at] + ("A" if bases[chrom][at] in "CN" else "C") + bases[chrom][at + 1 :]
    overlapping = sum(
        any(start <= at < start + SEQ_LENGTH for at in changed) for _, start, _ in tiny.rows["valid"]
    )
    assert overlapping == 2
    write_records(tiny.file("valid-0.tfr"), [tiny.record("valid", n) for n in range(3)])
    tiny.file("valid-1.tfr").unlink()
    tiny.fasta.write_text("".join(f">{name}\n{text}\n" for name, text in bases.items()))
    chrom, start, _ = tiny.rows["valid"][1]
    for length in (64, 96, 200):
        problem = problem_while_reading(tiny, "valid", fasta=tiny.fasta, sequence_length=length)
        stored, new = tiny.bases[chrom][start + 7], bases[chrom][start + 7]
        assert "valid-0.tfr: record 1" in problem
        assert f"first at {chrom}:{start + 7} (from 0) {stored} is stored, the FASTA has {new}" in problem
        assert "2 windows of this file disagree" in problem
        assert "give the FASTA of the data's assembly" in problem
    with pytest.raises(tf.errors.InvalidArgumentError, match="2 windows of this file disagree"):
        list(basenji_dataset(tiny.path, "valid", tiny.fasta))


def test_the_first_record_is_checked_at_the_call(tmp_path):
    tiny, other = (build_tiny_basenji(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert "2 windows of this file disagree" in problem_of(tiny.path, "test", other.fasta)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"sequence_length": 97}, ["sequence_length 97", "96 bp", "even number"]),
        ({"sequence_length": 0}, ["sequence_length 0", "positive"]),
        ({"sequence_length": 98}, ["98 is longer than the stored 96", "give the FASTA"]),
        ({"fasta": "none.fa"}, ["none.fa", "no such FASTA file"]),
    ],
)
def test_lengths_and_genomes_that_cannot_be_had(tiny, keywords, words):
    problem = problem_of(tiny.path, "train", **keywords)
    assert all(word in problem for word in words), problem


def test_a_genome_without_the_contigs(tiny):
    tiny.fasta.write_text(f">chr1\n{tiny.bases['c1']}\n")
    problem = problem_of(tiny.path, "train", tiny.fasta)
    assert "sequences.bed: c2, c1 (2 contigs of split train) are not in" in problem
    assert "which has chr1" in problem
    tiny.fasta.write_text(f">c1\n{tiny.bases['c1'][:200]}\n>c2\n{tiny.bases['c2']}\n")
    assert "end beyond their contig in" in problem_of(tiny.path, "train", tiny.fasta)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_targets": None}, ["num_targets", "is missing", "add it"]),
        ({"num_targets": 4}, ["targets.txt", "has 3 tracks", "num_targets 4"]),
        ({"seq_length": 98}, ["statistics.json", "is 96, seq_length is 98"]),
        ({"target_length": 5}, ["5 x pool_width 16 + 2 x crop_bp 16 is 112, seq_length is 96"]),
        ({"crop_bp": 8, "seq_length": 80}, ["train-0.tfr: record 0: sequence has 384 bytes", "says 320"]),
        ({"crop_bp": 0, "target_length": 6}, ["sequences.bed: line 1: spans 64 bp", "span 96"]),
        ({"pool_width": 32, "target_length": 2}, ["record 0: target has 24 bytes", "says 12", "[2, 3]"]),
        ({"seq_1hot": True}, ["record 0: sequence has 384 bytes", "says 96", "one index a bp"]),
        ({"seq_depth": 5}, ["seq_depth is 5", "A, C, G and T"]),
        ({"train_seqs": 13}, ["train_seqs is 13, but sequences.bed has 12 rows"]),
        ({"valid_seqs": None}, ["valid_seqs is missing", "3 rows"]),
    ],
)
def test_statistics_that_disagree(tiny, fields, words):
    tiny.edit_statistics(**fields)
    problem = problem_of(tiny.path, "train")
    assert all(word in problem for word in words), problem


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("statistics.json", "{", "", ["statistics.json: is not JSON"]),
        ("targets.txt", "\tidentifier", "\tname", ["targets.txt: column identifier is missing"]),
        ("targets.txt", "CNhs1+\t", "", ["targets.txt: line 3: has 9 fields, the header 10"]),
        ("targets.txt", "5314\t1", "5313\t1", ["line 3: index 5313 is also on line 2"]),
        ("targets.txt", "\t5315\t", "\t5313\t", ["line 3: strand_pair is 5313", "name each other"]),
        ("targets.txt", "\t5315\t", "\t\t", ["line 4: strand_pair is 5314, but that track's is None"]),
        ("targets.txt", "\t5315\t", "\t5316\t", ["line 3: strand_pair 5316 is no track; the last is 5315"]),
        ("targets.txt", "ENCFF1", "", ["line 2: identifier", "is missing"]),
        ("sequences.bed", "\ttrain", "", ["sequences.bed: line 1:", "contig, start, end and split"]),
        ("sequences.bed", "\ttrain", "\ttest", ["train_seqs is 12", "11 rows", "test_seqs is 2"]),
        ("sequences.bed", "c2\t616\t680", "c2\t6\t70", ["line 2: c2:6-70 is also on line 1"]),
        ("sequences.bed", "c2\t6\t70", "c2\t6\t71", ["sequences.bed: line 1: spans 65 bp", "span 64"]),
    ],
)
def test_tables_that_are_wrong(tiny, name, old, new, words):
    tiny.edit(name, old, new)
    problem = problem_of(tiny.path, "train")
    assert all(word in problem for word in words), problem


def test_files_that_are_missing(tiny, tmp_path, caplog):
    assert "nowhere: no such folder" in problem_of(tmp_path / "nowhere", "train")
    tiny.file("train-3.tfr").rename(tiny.file("train-12.tfr"))
    assert "tfrecords: train-3.tfr (1 files of split train) missing" in problem_of(tiny.path, "train")
    tiny.file("train-12.tfr").rename(tiny.file("train-9999999999.tfr"))
    first = "train-3.tfr, train-12.tfr, train-13.tfr"
    assert f"tfrecords: {first}" in problem_of(tiny.path, "train")
    assert "(9999999988 files of split train) missing" in problem_of(tiny.path, "train")
    tiny.file("train-9999999999.tfr").rename(tiny.file("train-03.tfr"))
    assert len(list(basenji_dataset(tiny.path, "train"))) == 12
    tiny.file("train-3.tfr").write_bytes(b"x")
    assert "train-3.tfr: has the number of train-03.tfr" in problem_of(tiny.path, "train")
    tiny.file("train-3.tfr").rename(tiny.file("x.tfr"))
    assert "x.tfr: is not named <split>-<number>.tfr" in problem_of(tiny.path, "train")
    tiny.file("x.tfr").rename(tiny.file("more-0.tfr"))
    assert "sequences.bed: has no row of split more" in problem_of(tiny.path, "train")
    tiny.file("more-0.tfr").unlink()
    tiny.file("test-0.tfr").unlink()
    assert len(list(basenji_dataset(tiny.path, "train"))) == 12  # a part of the data may be all one has
    assert "split test has no file" in caplog.text
    assert "test-0.tfr is missing" in problem_of(tiny.path, "test")
    for name in ("statistics.json", "targets.txt", "sequences.bed"):
        (tiny.path / name).rename(tmp_path / name)
        assert f"{name}: no such file" in problem_of(tiny.path, "train")
        (tmp_path / name).rename(tiny.path / name)
    for file in (tiny.path / "tfrecords").iterdir():
        file.unlink()
    assert "holds no .tfr file" in problem_of(tiny.path, "train")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tiny, stored: stored[:1], ["hold 2 records, sequences.bed has 3 rows", "fetch"]),
        (lambda tiny, stored: [*stored, stored[0]], ["hold at least 4 records, sequences.bed has 3 rows"]),
        (lambda tiny, stored: [stored[0], b"\x0ano"], ["valid-0.tfr: record 1: cannot be read"]),
        (
            lambda tiny, stored: [stored[0], tiny.record("valid", 1, sequence=b"")],
            ["record 1: sequence has 0 bytes, statistics.json says 384"],
        ),
        (
            lambda tiny, stored: [stored[0], tiny.record("valid", 1, target=b"\0" * 23)],
            ["record 1: target has 23 bytes, statistics.json says 24"],
        ),
        (
            lambda tiny, stored: [stored[0], tiny.record("valid", 1, sequence=b"\1\1\0\0" * SEQ_LENGTH)],
            ["record 1: sequence: position 0 is [1, 1, 0, 0], neither one-hot nor zeros (96 such"],
        ),
    ],
)
def test_records_that_are_wrong(tiny, make, words):
    stored = [tiny.record("valid", 0), tiny.record("valid", 1)]
    write_records(tiny.file("valid-0.tfr"), make(tiny, stored))
    problem = problem_while_reading(tiny, "valid")
    assert all(word in problem for word in words), problem


def test_an_index_of_no_base(tmp_path):
    tiny = build_tiny_basenji(tmp_path, indices=True)
    wrong = bytes([0, 1, 2, 3, 4, 5]) + bytes(SEQ_LENGTH - 6)
    write_records(tiny.file("test-0.tfr"), [tiny.record("test", 0, sequence=wrong), tiny.record("test", 1)])
    problem = problem_while_reading(tiny, "test")
    assert "test-0.tfr: record 0: sequence: position 5 is 5, neither the index of a base nor 4" in problem
    assert "(1 such positions)" in problem


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5])
def test_targets_that_are_not_finite_or_below_0(tiny, value):
    chrom, start, target = tiny.rows["valid"][1]
    wrong = target.copy()
    wrong[2, 1] = value
    tiny.rows["valid"][1] = (chrom, start, wrong)
    write_records(tiny.file("valid-0.tfr"), [tiny.record("valid", 0), tiny.record("valid", 1)])
    problem = problem_while_reading(tiny, "valid")
    assert f"valid-0.tfr: record 1: target: bin 2 of track CNhs1+ is {value} (1 such values)" in problem


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-40], ["valid-0.tfr: record ", "cannot be read"]),
        (lambda content: content[:60] + b"?" + content[61:], ["valid-0.tfr: record 0: cannot be read"]),
        (lambda content: b"", ["valid-0.tfr: is empty; fetch it again"]),
    ],
)
def test_files_that_are_damaged(tiny, damage, words):
    file = tiny.file("valid-0.tfr")
    file.write_bytes(damage(file.read_bytes()))
    problem = problem_while_reading(tiny, "valid")
    assert all(word in problem for word in words), problem


def reframed(change):
    """Changes what a ZLIB stream holds."""
    return lambda content: zlib.compress(change(zlib.decompress(content)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "is cut: its ZLIB stream has no end"),
        (lambda content: content[:-4], "is cut: its ZLIB stream has no end"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is damaged"),
        (lambda content: content + b"x", "bytes follow the end of its ZLIB stream"),
        (lambda content: content + content, "bytes follow the end of its ZLIB stream"),
        (lambda content: content + bytes(1 << 17), "bytes follow the end of its ZLIB stream"),
        (reframed(lambda text: text[:-1]), "is cut in record 1"),
        (reframed(lambda text: text + b"abc"), "is cut in record 2"),
    ],
)
def test_damage_that_tensorflow_does_not_see_is_found_where_records_are_counted(tiny, damage, words):
    file = tiny.file("valid-0.tfr")
    assert count_records(file) == 2
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DatasetError, match=f"valid-0.tfr: {words}"):
        count_records(file)


def test_a_record_that_is_no_example(tiny):
    write_records(tiny.file("valid-0.tfr"), [b"\xff\xffnot one"])
    assert "valid-0.tfr: record 0: cannot be read" in problem_while_reading(tiny, "valid")


@pytest.mark.parametrize("count", ["NaN", "Infinity", "12.5", '"12"'])
def test_a_number_of_records_that_is_none(tiny, count):
    tiny.edit("statistics.json", '"train_seqs": 12', f'"train_seqs": {count}')
    assert "train_seqs is missing; add it" in problem_of(tiny.path, "train")


def test_targets_of_one_identifier_are_warned_of_and_columns_of_one_name_refused(tiny, caplog):
    tiny.edit("targets.txt", "CNhs1-", "CNhs1+")
    BasenjiFolder(tiny.path)
    assert "targets.txt: identifier CNhs1+ is that of 2 tracks" in caplog.text
    tiny.edit("targets.txt", "clip_soft", "clip")
    assert "targets.txt: column clip comes 2 times; keep one" in problem_of(tiny.path, "train")
    tiny.edit("sequences.bed", "c2\t6", "c2\t²")
    assert "sequences.bed: line 1: " in problem_of(tiny.path, "train")


def test_only_line_ends_end_a_row(tiny):
    """A line separator of Unicode in a description, the line ends of DOS, and blank lines at the end."""
    tiny.edit("targets.txt", "CAGE:liver", "CAGE:li\u2028ver")
    path = tiny.path / "targets.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    targets = BasenjiFolder(tiny.path).targets
    assert [target.description for target in targets][1:] == ["CAGE:li\u2028ver", "CAGE:liver"]


def test_umap_is_counted_and_not_read(tiny, caplog):
    caplog.set_level("INFO")
    write_records(tiny.file("test-0.tfr"), [tiny.record("test", n, umap=b"\1" * BINS) for n in range(2)])
    assert len(list(BasenjiFolder(tiny.path).records("test"))) == 2
    assert "test-0.tfr: 2 records hold a umap, which is not read" in caplog.text


@pytest.mark.parametrize("one_hot", [False, True])
def test_what_is_written_is_what_was_read(tiny, tmp_path, one_hot):
    folder = BasenjiFolder(tiny.path)
    copy = tmp_path / "copy"
    # Splits may come mixed; the order within each is kept.
    rounds = itertools.zip_longest(*(folder.records(split) for split in folder.splits))
    records = (one for each in rounds for one in each if one is not None)
    write_basenji(copy, records, folder.targets, pool_width=POOL_WIDTH, one_hot=one_hot, records_per_file=5)
    assert sorted(path.name for path in copy.iterdir()) == sorted(path.name for path in tiny.path.iterdir())
    again = BasenjiFolder(copy)
    assert again.targets == folder.targets
    assert again.windows == folder.windows
    assert [path.name for path in again.files("train")] == [f"train-{n}.tfr" for n in range(3)]
    assert json.loads((copy / "statistics.json").read_text()) == json.loads(
        (tiny.path / "statistics.json").read_text()
    ) | ({} if one_hot else {"seq_1hot": True})
    for split in folder.splits:
        for one, other in zip(again.records(split, tiny.fasta), folder.records(split), strict=True):
            assert one.window == other.window
            assert one.sequence == other.sequence
            np.testing.assert_array_equal(one.target, other.target)
    if one_hot:  # byte for byte what the oracle wrote
        names = [str(path) for path in again.files("train")]
        stored = list(tf.data.TFRecordDataset(names, "ZLIB").as_numpy_iterator())
        written = [tf.train.Example.FromString(one) for one in stored]
        assert written == [tf.train.Example.FromString(tiny.record("train", n)) for n in range(12)]


def a_record(sequence=b"ACGTNryk", target=((1,), (2,)), start=4, split="train", width=None):
    interval = Interval("c1", start, start + (width or len(sequence)))
    return BasenjiRecord(Window(interval, interval.resize(4), split), sequence, np.array(target))


def test_tables_may_be_written_from_mappings(tmp_path):
    path = tmp_path / "new" / "data"
    write_basenji(path, [a_record()], [{"identifier": "x", "sum_stat": "mean"}], pool_width=2)
    folder = BasenjiFolder(path)
    assert (folder.targets[0].index, folder.targets[0].sum_stat) == (0, "mean")
    assert folder.statistics.crop_bp == 2
    assert next(folder.records("train")).sequence == b"ACGTNNNN"
    assert (path / "sequences.bed").read_text() == "c1\t6\t10\ttrain\n"


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], ["no record to write"]),
        ([a_record(), a_record(sequence=b"ACGT")], ["record 1 (train c1:4-8)", "4 letters", "record's 8"]),
        ([a_record(width=10)], ["8 letters", "width of the window"]),
        ([a_record(sequence=b"ACGTACGU")], ["b'U' at position 7 is no letter of DNA", "by N"]),
        ([a_record(target=np.ones((2, 2)))], ["shape [2, 2]", "[2, 1]"]),
        ([a_record(target=np.full((2, 1), 7e4))], ["bin 0 of track 0 is 70000.0", "65504"]),
        ([a_record(target=np.full((2, 1), np.nan))], ["bin 0 of track 0 is nan"]),
        ([a_record(target=np.ones((3, 1)), sequence=b"ACGTA")], ["3 bins of 2 bp", "5 bp", "pool_width"]),
        ([a_record(start=-4)], ["starts before its contig"]),
        ([a_record(), a_record(split="test")], ["record 1 (test c1:4-12)", "place of an earlier record"]),
        ([a_record(split="a/b")], ["'a/b' cannot be part of a file's name"]),
    ],
)
def test_a_folder_appears_whole_or_not_at_all(tmp_path, records, words):
    with pytest.raises(DatasetError) as caught:
        write_basenji(tmp_path / "new", iter(records), [{"identifier": "x"}], pool_width=2)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tiny):
    with pytest.raises(DatasetError, match="exists already; remove it"):
        write_basenji(tiny.path, [a_record()], [{"identifier": "x"}], pool_width=2)


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        ([{}], {}, "targets[0]: identifier: is missing"),
        ([{"identifier": "a", "description": "two\nlines"}], {}, "target 'a': has a tab or a line end in it"),
        ([{"identifier": "a", "strand_pair": 1}], {}, "new/targets.txt: line 2: strand_pair 1 is no track"),
        ([{"identifier": "a"}], {"pool_width": 0}, "pool_width must be at least 1, got 0"),
        ([{"identifier": "a"}], {"records_per_file": 0}, "records_per_file must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_record_is_asked_for(tmp_path, targets, options, words):
    def records():
        pytest.fail("a record was asked for")
        yield

    with pytest.raises(ValueError, match=re.escape(words)):
        write_basenji(tmp_path / "new", records(), targets, **({"pool_width": 2} | options))
    assert not list(tmp_path.iterdir())
