"""Contigs that a bigWig leaves out."""

import numpy as np
import pyBigWig
import pytest

from enformer_keras.formats.bigwig import BigWig
from enformer_keras.formats.errors import MOST_PROBLEMS, DatasetError
from enformer_keras.formats.intervals import Interval

SCAFFOLDS = {f"s{number}": 5 for number in range(50)}
LENGTHS = {"1": 900, "MT": 90} | SCAFFOLDS


def write(tmp_path, lengths):
    path = tmp_path / "x.bw"
    file = pyBigWig.open(str(path), "w")
    file.addHeader(list(lengths.items()))
    file.addEntries([next(iter(lengths))], [0], ends=[9], values=[2.0])
    file.close()
    return path


def test_contigs_left_out_have_no_value(tmp_path):
    bigwig = BigWig(write(tmp_path, {"1": 900, "MT": 90, "other": 5}), LENGTHS, {})
    values, absent = bigwig.values(Interval("s3", 1, 4))
    np.testing.assert_array_equal(values, np.zeros(3, np.float32))
    assert absent.tolist() == [True] * 3
    assert not bigwig.has_values("s3")
    assert bigwig.has_values("1")


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (
            {"MT": 90},
            "contig 1 is missing, one of 51 of the 52 in use, 93% of their bp; the file has MT: name what",
        ),
        (
            {"1": 900, "chrM": 90},
            'contig MT is missing, .*contig_aliases: {"MT": ["chrM"]}, or use fewer contigs',
        ),
        (
            {"1": 900} | {f"CHRs{n}": 5 for n in range(50)},
            "contig s0 is missing, one of 51 .*splits.folds.contigs",
        ),
    ],
)
def test_files_of_other_names_are_refused_in_a_line(tmp_path, lengths, words):
    with pytest.raises(DatasetError, match=words.replace("[", r"\[")) as caught:
        BigWig(write(tmp_path, lengths), LENGTHS, {})
    assert len(caught.value.problems) == 1


def test_a_likely_name_of_another_length_is_another_contig(tmp_path):
    BigWig(write(tmp_path, {"1": 900, "chrM": 91}), LENGTHS, {})


def test_of_many_problems_the_first_ones_are_told(tmp_path):
    with pytest.raises(DatasetError, match=r"s0 .* has 6 bp, the FASTA file's has 5") as caught:
        BigWig(write(tmp_path, {"1": 900} | dict.fromkeys(SCAFFOLDS, 6)), LENGTHS, {})
    assert len(caught.value.problems) == MOST_PROBLEMS
