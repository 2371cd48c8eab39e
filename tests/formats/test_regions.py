import gzip

import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.regions import find_regions

LENGTHS = {"1": 5000, "HLA:1": 300, "MT": 40}


def test_regions_come_in_the_order_in_which_they_were_named(tmp_path):
    rows = "track name=x\n1\t30\t40\tname\nchrM\t0\t9\n1\t7\t8\n1\t30\t40\n"
    (tmp_path / "x.bed").write_text(rows)
    (tmp_path / "x.bed.gz").write_bytes(gzip.compress(rows.encode()))
    lines = [("1", 30, 40), ("MT", 0, 9), ("1", 7, 8), ("1", 30, 40)]
    texts = ["HLA:1:5-9", str(tmp_path / "x.bed"), "1", "1:1,001-2,000", "HLA:1", str(tmp_path / "x.bed.gz")]
    expected = [
        *(("HLA:1", 4, 9), *lines, ("1", 0, 5000), ("1", 1000, 2000), ("HLA:1", 0, 300)),
        *lines,
    ]
    assert find_regions(texts, LENGTHS, {"MT": ("chrM",)}) == [Interval(*row) for row in expected]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chr1", r"chr1: is no contig of the genome \(1, HLA:1, MT\).*give --alias 1=chr1"),
        ("chr1:5-9", r"chr1:5-9: chr1 is no contig.*give --alias 1=chr1"),
        ("X:5-9", r"X:5-9: X is no contig of the genome \(1, HLA:1, MT\); use its names$"),
        ("no.bed", r"no\.bed: is no contig .* and no file"),
        ("1:0-9", "1:0-9: must begin at 1"),
        ("1:9-8", "1:9-8: must begin at 1 or later and not end before"),
        ("1:9-5001", "1:9-5001: ends past the contig's end at 5000"),
    ],
)
def test_what_is_no_region_is_said(text, problem):
    with pytest.raises(DatasetError, match=problem):
        find_regions([text], LENGTHS, {})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1\t5\t9\nchrM\t1\t2\n", r"x\.bed: line 2: chrM is no contig .*leave it out \(give --alias MT=chrM"),
        ("1\t5\t9\n1\t1\t5001\n", r"x\.bed: line 2: 1:1-5001 ends past the contig's end at 5000 bp"),
        ("1\t9\t5\n", r"x\.bed: line 1: start '9' and end '5'"),
        ("1 5 9\n", r"x\.bed: line 1: has 1 fields"),
        ("# nothing\n", r"x\.bed: holds no interval"),
        (b"\x1f\x8bx", r"x\.bed: cannot be read"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(tmp_path, content, problem):
    (tmp_path / "x.bed").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=problem):
        find_regions([str(tmp_path / "x.bed")], LENGTHS, {})
