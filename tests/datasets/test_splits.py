import pytest

from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.datasets.splits import Folds
from enformer_keras.formats.errors import DatasetError

BED = {"file": "splits.bed", "names": ["train", "test"]}


def test_contigs_are_dealt_to_the_emptiest_fold_the_longest_first():
    lengths = {"c": 50, "a": 90, "e": 20, "b": 50, "d": 30}
    folds = Folds(count=3, valid=0, test=[2])
    assert folds.deal(lengths) == {"a": 0, "b": 1, "c": 2, "d": 1, "e": 2}
    assert folds.deal(dict(sorted(lengths.items()))) == folds.deal(lengths)
    assert [folds.split_of(fold) for fold in range(3)] == ["valid", "train", "test"]
    assert folds.names == ("train", "valid", "test")


@pytest.mark.parametrize(
    ("fields", "split_of"),
    [
        ({"count": 2, "test": 0}, {"c1": "test", "c2": "train"}),
        ({"count": 2, "test": 1}, {"c1": "train", "c2": "test"}),
    ],
)
def test_windows_of_folds_lie_on_their_contigs(tiny, fields, split_of):
    tiny.edit(splits={"folds": fields}, stride=32)
    windows = load_dataset(tiny.path).plan().windows
    assert {(w.interval.chrom, w.split) for w in windows} == set(split_of.items())


def test_windows_of_a_bed_file_lie_inside_its_stretches(tiny):
    lines = [("one", 100, 600, "train"), ("one", 600, 1000, "train"), ("one", 1000, 1400, "test")]
    write(tiny, lines)
    tiny.edit(splits={"bed": BED}, stride=32)
    dataset = load_dataset(tiny.path)
    assert dataset.contig_lengths == {"c1": 3000}  # c2 has no line: its tracks are not asked for
    windows = dataset.plan().windows
    starts = {
        split: [w.interval.start for w in windows if w.split == split]
        for split in dataset.description.splits.names
    }
    assert starts == {"train": list(range(103, 997 - 127, 32)), "test": list(range(1003, 1397 - 127, 32))}


def write(tiny, lines):
    text = "".join("\t".join(map(str, line)) + "\n" for line in lines)
    (tiny.path.parent / "splits.bed").write_text(text)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([("one", 0, 9, "train"), ("one", 9, 20, "dev")], ["line 2", "'dev'", "['train', 'test']"]),
        (
            [("one", 0, 900, "train"), ("one", 899, 2000, "test")],
            ["line 2", "overlaps a stretch of split train"],
        ),
        ([("one", 0, 900, "train")], ["no line has split test", "splits.bed.names"]),
        ([("one", 0, 900)], ["line 1", "3 fields instead of at least 4"]),
    ],
)
def test_bad_split_files_name_the_line(tiny, lines, words):
    write(tiny, lines)
    tiny.edit(splits={"bed": BED}, stride=32)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tiny.path)
    assert all(word in str(caught.value) for word in ["splits.bed", *words]), caught.value


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ({"count": 3, "test": 0}, ["3 folds of 2 contigs"]),
        ({"count": 2, "test": 0, "valid": 0}, ["fold 0 is in valid and in test"]),
        ({"count": 2, "test": 2}, ["no fold 2; the last of 2 is 1"]),
        ({"count": 2, "test": [0, 1]}, ["no fold is left for train"]),
        ({"count": 2, "test": 0, "contigs": ["c1", "c7"]}, ["splits.folds.contigs: c7", "c1, c2"]),
    ],
)
def test_folds_that_cannot_work(tiny, folds, words):
    tiny.edit(splits={"folds": folds}, stride=32)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tiny.path)
    assert all(word in str(caught.value) for word in [str(tiny.path), *words]), caught.value
