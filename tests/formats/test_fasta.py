"""FASTA files as they come, and their index: found, written, or refused."""

import gzip
import hashlib
import os
from pathlib import Path

import pysam
import pytest

from enformer_keras.formats import fasta_index
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.fasta_index import FastaIndex, find_index, write_index
from enformer_keras.formats.intervals import Interval

BASES = {"c1": "ACGTTGCAAC" * 30, "c2": "GGCATTTACA" * 12}


def fasta_text(width=60, header=">"):
    lines = []
    for name, bases in BASES.items():
        lines += [f"{header}{name} text", *(bases[at : at + width] for at in range(0, len(bases), width))]
    return ("\n".join(lines) + "\n").encode()


def read_all(path):
    genome = Genome(path)
    return {
        name: genome.sequence(Interval(name, 0, length)).decode()
        for name, length in genome.contig_lengths.items()
    }


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_bytes(fasta_text())
    return path


@pytest.fixture
def linked(fasta):
    """A link to the file, in a folder that not even root may write."""
    with fasta.open() as file:
        yield Path(f"/proc/self/fd/{file.fileno()}")


def make_older(path):
    os.utime(f"{path}.fai", (1e9, 1e9))


def packed(content, folder):
    (folder / "text").write_bytes(content)
    pysam.tabix_compress(str(folder / "text"), str(folder / "packed"))
    return (folder / "packed").read_bytes()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x.fa", lambda text, folder: text.replace(b">", b"> ").replace(b"> c2", b">\t c2")),
        ("x.fa.gz", lambda text, folder: text),
        ("x.fa", packed),
        ("x.fa.bgz", packed),
    ],
)
def test_files_are_what_they_hold_whatever_their_name(tmp_path, name, change):
    path = tmp_path / name
    path.write_bytes(change(fasta_text(), tmp_path))
    assert read_all(path) == BASES
    assert read_all(path) == BASES  # by the index that is there now


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, "line 1: begins with a byte-order mark; remove it"),
        (
            lambda text: text.replace(b"\n", b"\r"),
            "line 1: ends in CR alone, as on old Macs; write the file",
        ),
        (
            lambda text: text.replace(b"\n", b"\r", 3).replace(b"\r", b"\n", 1),
            "line 2: ends in CR alone",
        ),
        (gzip.compress, r"genome\.fa: cannot be indexed .*compressed by bgzip, not by gzip"),
    ],
)
def test_files_that_are_refused_say_what_they_are(fasta, change, words):
    fasta.write_bytes(change(fasta.read_bytes()))
    with pytest.raises(DatasetError, match=words):
        Genome(fasta)


def test_an_index_beside_the_target_of_a_link_is_used(fasta, linked):
    pysam.faidx(str(fasta))
    assert read_all(linked) == BASES


def test_an_older_index_that_fits_is_used_where_none_can_be_written(fasta, linked):
    pysam.faidx(str(fasta))
    make_older(fasta)
    assert read_all(linked) == BASES
    assert find_index(linked, packed=False).fai == fasta.with_name("genome.fa.fai")


# In lines of 61 and 70 bp both contigs have as many as in lines of 60: only where these end tells.
@pytest.mark.parametrize("width", [58, 61, 70])
def test_an_older_index_of_another_file_is_refused_where_none_can_be_written(fasta, linked, width):
    pysam.faidx(str(fasta))
    fasta.write_bytes(fasta_text(width))
    make_older(fasta)
    with pytest.raises(DatasetError, match=r"has no index that fits, and none can be written .*samtools faidx"):
        Genome(linked)
    assert read_all(fasta) == BASES  # here one can be written


def test_without_an_index_where_none_can_be_written(linked):
    with pytest.raises(
        DatasetError, match=r"has no index yet, and none can be written beside it \(.*a link to it"
    ):
        Genome(linked)


def test_a_newer_index_of_other_lines_is_refused(fasta):
    fasta.write_bytes(fasta_text(61))
    pysam.faidx(str(fasta))
    fasta.write_bytes(fasta_text())
    os.utime(fasta, (1e9, 1e9))
    with pytest.raises(
        DatasetError, match=r"contig c1 does not lie in lines of 61 bp, as genome\.fa\.fai says"
    ):
        Genome(fasta)


@pytest.mark.parametrize(
    "change", [lambda index: b"\xef\xbb\xbf" + index, lambda index: index.replace(b"\n", b"\r")]
)
def test_an_index_that_htslib_would_read_wrongly_is_refused(fasta, change):
    pysam.faidx(str(fasta))
    index = fasta.with_name("genome.fa.fai")
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(DatasetError, match=r"genome\.fa.*remove"):
        Genome(fasta)


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_index_appears_whole(tmp_path, monkeypatch, is_packed):
    """Another process that looks while it is written finds none."""
    path = tmp_path / "genome.fa"
    path.write_bytes(packed(fasta_text(), tmp_path) if is_packed else fasta_text())
    index = FastaIndex.beside(path, is_packed)
    seen = []
    faidx = pysam.faidx

    def look(*arguments):
        faidx(*arguments)
        seen.append([file.exists() for file in index.files])

    monkeypatch.setattr(fasta_index.pysam, "faidx", look)
    before = set(tmp_path.iterdir())
    write_index(path, index)
    assert seen == [[False] * len(index.files)]
    assert set(tmp_path.iterdir()) - before == set(index.files)
    assert read_all(path) == BASES


def test_a_file_that_cannot_be_indexed_leaves_nothing(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text("no FASTA\n")
    with pytest.raises(DatasetError, match="stands before any `>` header"):
        Genome(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_digest_is_of_the_sequence_and_not_of_the_file(fasta, tmp_path):
    """What anyone's tools say of a sorted FASTA file in upper case, one line a contig."""
    plain = "".join(f">{name}\n{BASES[name]}\n" for name in sorted(BASES))
    assert Genome(fasta).sha256() == hashlib.sha256(plain.encode()).hexdigest()
    packed = tmp_path / "packed.fa.gz"
    with pysam.BGZFile(packed, "w") as file:
        for name, bases in reversed(BASES.items()):
            file.write(f">{name} other words\n{bases.lower()}\n".encode())
    assert Genome(packed).sha256() == Genome(fasta).sha256()
    changed = tmp_path / "changed.fa"
    changed.write_bytes(fasta_text().replace(b"GGCATTTACA", b"GGCATTTACC", 1))
    assert Genome(changed).sha256() != Genome(fasta).sha256()
