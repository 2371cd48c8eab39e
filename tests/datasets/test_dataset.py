import hashlib
import json
import pickle
import time
from pathlib import Path

import pytest

from enformer_keras.datasets import digests
from enformer_keras.datasets.dataset import DatasetError, load_dataset, load_description
from enformer_keras.datasets.digests import FileDigests
from enformer_keras.formats.fasta import Genome


def problems_of(tiny):
    with pytest.raises(DatasetError) as caught:
        load_dataset(tiny.path)
    return caught.value.problems


def test_loads(tiny):
    dataset = load_dataset(tiny.path)
    assert dataset.contig_lengths == {"c1": 3000, "c2": 1500}
    assert [track.identifier for track in dataset.tracks] == ["dense", "holes", "cds_plus", "cds_minus"]
    assert [track.strand_pair for track in dataset.tracks] == [0, 1, 3, 2]
    assert dataset.tracks[0].clip is None
    assert dataset.description.strides == {"train": 32, "valid": 64, "test": 64}
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_the_fasta_file_is_opened_once_however_many_files_are_checked_against_it(tiny, monkeypatch):
    opened = []
    init = Genome.__init__
    monkeypatch.setattr(Genome, "__init__", lambda self, path: opened.append(path) or init(self, path))
    (tiny.path.parent / "some.bed").write_text("c1\t1\t90\n")
    tiny.edit(regions="some.bed", gaps="some.bed", blacklist="some.bed", blacklist_rule="clip")
    assert [load_dataset(tiny.path).fasta] == opened


def test_reads_basenji_targets(tiny):
    """The header as pandas writes it, no optional column, every track unstranded."""
    (tiny.path.parent / "tracks.tsv").write_text(
        "\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription\n"
        "0\t0\tENCFF1\tdense.bw\t32\t2\tmean\tDNASE:5' \"end\n"
        "1\t0\tCNhs1\tdense.bw\t384\t1\tsum\tCAGE:liver\n"
    )
    tracks = load_dataset(tiny.path).tracks
    assert [(track.clip, track.scale, track.sum_stat) for track in tracks] == [
        (32, 2, "mean"),
        (384, 1, "sum"),
    ]
    assert [track.strand_pair for track in tracks] == [0, 1]
    assert tracks[0].description == "DNASE:5' \"end"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"organism": None}, ["organism", "missing", "add it"]),
        ({"windowlength": 4}, ["windowlength", "unknown field"]),
        ({"window_length": -1}, ["window_length", "greater than 0", "-1"]),
        ({"window_length": 120}, ["window_length 120", "bin_size 16", "112 or 128"]),
        ({"target_length": 3}, ["target_length 3", "8 bins", "even"]),
        ({"target_length": 10}, ["target_length 10", "8 bins"]),
        ({"stride": {"train": 16}}, ["stride", "['test', 'train', 'valid']"]),
        ({"splits": {}}, ["splits", "exactly one of blocks and contigs"]),
        ({"splits": {"blocks": {"train": [0.5, 0.2]}}}, ["splits", "train [0.5, 0.2)", "larger"]),
        (
            {"splits": {"blocks": {"test": [0.7, 1.0], "train": [0.0, 0.8]}}},
            ["blocks train and test overlap", "0.8 or later"],
        ),
        ({"splits": {"blocks": {"train": [0.0, 1.5]}}}, ["splits", "less than or equal to 1", "1.5"]),
        ({"splits": {"contigs": {"train": ["c1"], "test": ["c2", "c1"]}}}, ["contig c1", "train", "test"]),
        (
            {"splits": {"contigs": {"train": ["c9"]}}, "stride": 16},
            ["splits.contigs.train", "c9", "c1, c2"],
        ),
        ({"contig_aliases": {"chr1": ["one"]}}, ["contig_aliases", "chr1", "c1, c2"]),
        ({"contig_aliases": {"c1": ["one"], "c2": ["one"]}}, ["one stands for c1 and c2"]),
        (
            {"contig_aliases": {"c1": ["chrom1"]}},
            ["dense.bw", "contig c1 is missing", "one", "contig_aliases"],
        ),
        ({"fasta": "none.fa"}, ["none.fa", "no such FASTA"]),
        ({"fasta": None}, ["fasta", "is missing; add it"]),
        ({"fasta": 38}, ['fasta: 38 is not read as text; put it in quotes: "38"']),
        ({"assembly": 38.5}, ["assembly: 38.5 is not read as text; put it in quotes"]),
        (
            {"splits": {"contigs": {"train": [1, 2], "test": ["c2"]}}},
            ['splits.contigs.train: 1, 2 is not read as text; put it in quotes: "1"'],
        ),
        (
            {"splits": {"folds": {"count": 2, "contigs": [False]}}},
            ["splits.folds.contigs: False is not read as text; put it in quotes (YAML reads the words yes, no"],
        ),
        ({"contig_aliases": {1: ["c1"]}}, ['contig_aliases: 1 is not read as text; put it in quotes: "1"']),
        ({"contig_aliases": {"c1": ["x", 1]}}, ["contig_aliases.c1: 1 is not read as text"]),
        ({"stride": {"train": -1}}, ["stride.train: Input should be greater than 0 (got -1)"]),
        (
            {"splits": {"blocks": {"train": [0, 2]}}},
            ["splits.blocks.train[1]: Input should be less", "(got 2)"],
        ),
        (
            {"fasta": "genes.gff3"},
            ["genes.gff3", "cannot be indexed as FASTA", "line 1: '##gff-version 3'", "give a FASTA file"],
        ),
        ({"tracks": "none.tsv"}, ["none.tsv", "no such file", "correct the path"]),
        ({"tracks": "dense.bw"}, ["dense.bw", "cannot be read", "text file"]),
    ],
)
def test_bad_description_names_field_and_cure(tiny, fields, words):
    tiny.edit(**fields)
    problems = problems_of(tiny)
    assert str(tiny.path.parent) in problems[0]
    assert any(all(word in problem for word in words) for problem in problems), problems


@pytest.mark.parametrize(
    ("row", "cells", "words"),
    [
        (1, {"index": "5", "strand_pair": "1"}, ["line 3", "index is 5", "renumber"]),
        (1, {"scale": "average"}, ["line 3", "scale", "valid number", "'mean'", "average"]),
        (1, {"scale": ""}, ["line 3", "scale"]),
        (1, {"sum_stat": "peak"}, ["line 3", "sum_stat", "'sum_sqrt'", "peak"]),
        (1, {"identifier": "dense"}, ["line 3", "identifier dense", "line 2", "unique"]),
        (1, {"strand_pair": "0"}, ["line 3", "strand_pair is 0", "name each other"]),
        (1, {"strand_pair": "4"}, ["line 3", "strand_pair 4", "the last is 3"]),
        (1, {"file": "none.bw"}, ["none.bw", "no such file", "holes", "correct the track table"]),
        (1, {"file": "x.sam"}, ["line 3", "x.sam", "unknown kind", ".bw"]),
        (1, {"feature": "CDS"}, ["line 3", "holes.bw is a bigWig file", "leave feature"]),
        (2, {"feature": ""}, ["line 4", "genes.gff3 is GFF3", "feature type"]),
        (2, {"feature": "cds"}, ["genes.gff3", "no cds on strand +", "upper and lower"]),
    ],
)
def test_bad_track_row_names_line_and_cure(tiny, row, cells, words):
    tiny.edit_row(row, **cells)
    problems = problems_of(tiny)
    assert any(all(word in problem for word in words) for problem in problems), problems


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("one\tx\tCDS\t10\t5\t.\t+\t0\tID=z", ["line 3", "'10'", "'5'", "correct"]),
        ("one\tx\tCDS\t10", ["line 3", "4 fields", "tabs"]),
        (
            "one\tx\tCDS\t2990\t3001\t.\t+\t0\tID=z",
            ["line 3", "CDS 2990-3001", "c1 (3000 bp)", "same assembly"],
        ),
        ("c2\tx\tCDS\t1501\t1510\t.\t+\t0\tID=z", ["line 3", "CDS 1501-1510", "c2 (1500 bp, circular)"]),
        ("c2\tx\tCDS\t1401\t2901\t.\t+\t0\tID=z", ["line 3", "CDS 1401-2901", "c2 (1500 bp, circular)"]),
        ("##sequence-region one 1 2999", ["line 3", "one has 2999 bp", "c1 has 3000"]),
    ],
)
def test_bad_gff3_names_line_and_cure(tiny, line, words):
    path = tiny.path.parent / "genes.gff3"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    problems = problems_of(tiny)
    assert len(problems) == 1
    assert all(word in problems[0] for word in ["genes.gff3", *words]), problems


def test_bigwig_of_another_assembly_and_no_bigwig(tiny):
    """Two files are wrong: both are reported."""
    (tiny.path.parent / "dense.bw").write_bytes((tiny.path.parent / "holes.bw").read_bytes()[:100])
    fasta = tiny.path.parent / "genome.fa"
    fasta.write_bytes(fasta.read_bytes().replace(b"\r\n>c2", b"A\r\n>c2").replace(b"\r\n\r\n", b"\r\n"))
    lines = fasta.read_bytes().split(b"\r\n")
    at = lines.index(b">c2 some text")
    lines[at - 1] = lines[at - 1][:-2]  # c1 is now one bp shorter
    fasta.write_bytes(b"\r\n".join(lines))
    (tiny.path.parent / "genes.gff3").write_text(
        "one\tx\tCDS\t1\t9\t.\t+\t0\tx\none\tx\tCDS\t1\t9\t.\t-\t0\tx\n"
    )
    broken, other = problems_of(tiny)
    assert "dense.bw: cannot be opened as bigWig" in broken
    assert "holes.bw: contig c1 (chrom1) has 3000 bp, the FASTA file's has 2999; use files of the same" in other


def test_all_problems_of_a_description_at_once(tiny):
    tiny.edit(window_length="x", target_length=0, colour="red")
    assert len(problems_of(tiny)) == 3


@pytest.mark.parametrize("content", ["a: [1", "- a list", ""])
def test_not_a_yaml_mapping(tiny, content):
    tiny.path.write_text(content)
    with pytest.raises(DatasetError, match="YAML"):
        load_description(tiny.path)


@pytest.mark.parametrize("name", ["dataset.yaml", "tracks.tsv", "genome.fa", "dense.bw", "genes.gff3"])
def test_fingerprint_follows_the_content_of_every_file(tiny, name, tmp_path):
    dataset = load_dataset(tiny.path)
    before = dataset.fingerprint()
    moved = tiny.path.parent.rename(tmp_path.parent / f"{tmp_path.name}_moved")
    assert load_dataset(moved / "dataset.yaml").fingerprint() == before
    path = moved / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    dataset = load_dataset(moved / "dataset.yaml")
    path.write_bytes(content)  # same size: only the content says that it changed
    assert dataset.fingerprint() != before


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    path, cache = tmp_path / "data.bw", tmp_path / "digests.json"
    path.write_bytes(b"content")
    true = hashlib.sha256(b"content").digest()
    assert FileDigests(cache).digest(path) == true
    assert not cache.exists()  # the file is so young that it may yet change unseen

    now = time.time_ns()
    monkeypatch.setattr(digests.time, "time_ns", lambda: now + 3 * 10**9)
    assert FileDigests(cache).digest(path) == true
    # A false digest in the cache tells whether the file is read.
    (remembered,) = json.loads(cache.read_text()).values()
    for field in ("none", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"):
        entry = {name: value + (name == field) for name, value in remembered.items() if name != "sha256"}
        cache.write_text(json.dumps({str(path): entry | {"sha256": "00" * 32}}))
        assert FileDigests(cache).digest(path) == (bytes(32) if field == "none" else true)
    cache.write_text("{")
    with pytest.raises(DatasetError, match=r"digests.json: cannot be read .*; remove it"):
        FileDigests(cache)


def test_a_remembered_fingerprint_is_the_same(tiny, tmp_path, monkeypatch):
    dataset = load_dataset(tiny.path)
    now = time.time_ns()
    monkeypatch.setattr(digests.time, "time_ns", lambda: now + 3 * 10**9)
    cache = tmp_path / "digests.json"
    assert dataset.fingerprint(cache) == dataset.fingerprint(cache) == dataset.fingerprint()
    assert sorted(Path(name).name for name in json.loads(cache.read_text())) == sorted(
        ["dataset.yaml", "tracks.tsv", "genome.fa", "dense.bw", "holes.bw", "genes.gff3"]
    )
