"""Files that are empty, cut, replaced or of other content are refused by name, or warned of, at load."""

import gzip
import os

import numpy as np
import pyBigWig
import pysam
import pytest

from enformer_keras.datasets import track_reader
from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from tests.datasets.tiny_genome import CONTIGS, write_bigwig


def problem_of(tiny):
    with pytest.raises(DatasetError) as caught:
        load_dataset(tiny.path)
    return str(caught.value)


def compress(tiny):
    """Replaces the FASTA file by one in blocks of bgzip, with its indices."""
    packed = tiny.path.parent / "genome.fa.gz"
    pysam.tabix_compress(str(tiny.path.parent / "genome.fa"), str(packed))
    pysam.faidx(str(packed))
    tiny.edit(fasta="genome.fa.gz")
    return packed


def write_holes(tiny, entries):
    """Writes holes.bw from (contig, start, end, value)."""
    file = pyBigWig.open(str(tiny.path.parent / "holes.bw"), "w")
    file.addHeader(list(CONTIGS.items()))
    for contig, start, end, value in entries:
        file.addEntries([contig], [start], ends=[end], values=[value])
    file.close()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b"", ["is empty"]),
        (lambda text: text.rstrip() + b"\r\n>c1 again\r\nACGT\r\n", ["contig c1 comes twice", "remove one"]),
        (lambda text: b">c2\nAC\n" + text, ["contig c2 comes twice"]),
        (lambda text: b">c0\n" + text, ["line 2: contig c0", "has no sequence"]),
        (lambda text: text.rstrip() + b"\r\n>c9\r\n", ["contig c9 has no sequence"]),
        (lambda text: text.rstrip() + b"\r\n>\r\nACGT\r\n", ["line 78: a header without a name"]),
        (lambda text: text[:60] + text[70:], ["line 3: of contig c1", "lines of one length"]),
        (lambda text: b"organism: tiny\n", ["line 1: 'organism: tiny' stands before", "give a FASTA file"]),
        (lambda text: b">c1\n" + b"MKLV" * 750, ["c1: position 3 (1-based) is 'L'"]),
    ],
)
def test_fasta_that_is_wrong(tiny, packed, change, words):
    fasta = tiny.path.parent / "genome.fa"
    fasta.write_bytes(change(fasta.read_bytes()))
    if packed:
        pysam.tabix_compress(str(fasta), str(fasta) + ".gz")
        tiny.edit(fasta="genome.fa.gz")
    problem = problem_of(tiny)
    assert all(word in problem for word in ["genome.fa", *words]), problem


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        bytes.rstrip,
        lambda text: b"\n" + text.replace(b"\r", b"") + b"\n\n",
        lambda text: text.replace(b"\r\n", b"").replace(b"some text", b"x\n").replace(b">c2", b"\n>c2"),
        lambda text: text.rstrip() + b"\r\n>unused\r\n" + b"ACGT" * 40000 + b"\r\n>last\r\nA",
    ],
)
def test_fasta_of_every_layout_fits_its_index(tiny, packed, change):
    fasta = tiny.path.parent / "genome.fa"
    fasta.write_bytes(change(fasta.read_bytes()))
    if packed:
        compress(tiny)
    tiny.edit(splits={"contigs": {"train": ["c1"], "test": ["c2"]}}, stride=32)
    genome = load_dataset(tiny.path).open_genome()
    assert genome.sequence(Interval("c2", 0, 1500)).decode() == tiny.bases["c2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: index.replace("1500", "1400"), ["is not what genome.fa.fai was made of", "last contig"]),
        (lambda index: index.replace("1500", "1900"), ["c2 ends before the 1900 bp", "remove its indices"]),
        (lambda index: index.replace("3000\t15", "3000\t25"), ["contig c1 is not where it says"]),
        (lambda index: index.split("\n")[0], ["the last contig is longer"]),
        (lambda index: "garbage", ["genome.fa.fai: line 1: 'garbage'", "remove the file"]),
        (lambda index: "", ["genome.fa.fai: is empty; remove it"]),
    ],
)
def test_index_of_another_fasta(tiny, change, words):
    """It is newer than the file, so that only the content tells."""
    fasta = tiny.path.parent / "genome.fa"
    pysam.faidx(str(fasta))
    index = fasta.with_name("genome.fa.fai")
    index.write_text(change(index.read_text()))
    problem = problem_of(tiny)
    assert all(word in problem for word in words), problem


def test_fasta_that_is_cut_after_it_was_indexed(tiny):
    fasta = tiny.path.parent / "genome.fa"
    pysam.faidx(str(fasta))
    genome = load_dataset(tiny.path).open_genome()
    os.truncate(fasta, 4000)
    os.utime(fasta, (0, 1))
    assert "genome.fa: contig c2 ends before the 1500 bp" in problem_of(tiny)
    with pytest.raises(DatasetError, match=r"genome.fa: c2:1000-1500 .*fetch"):
        genome.sequence(Interval("c2", 1000, 1500))  # through a handle from before the cut


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-28], ["is cut", "empty block"]),
        (lambda content: content[: len(content) // 2], ["is cut", "empty block"]),
        (lambda content: content[:400] + bytes(20) + content[420:], ["does not fit its index", "fetch"]),
    ],
)
def test_bgzip_that_is_cut_or_damaged(tiny, damage, words):
    packed = compress(tiny)
    packed.write_bytes(damage(packed.read_bytes()))
    os.utime(packed, (0, 1))
    problem = problem_of(tiny)
    assert all(word in problem for word in ["genome.fa.gz", *words]), problem


def test_bed_that_is_cut_between_blocks_or_damaged(tiny):
    bed = tiny.path.parent / "x.bed"
    bed.write_text("one\t1\t90\n" * 500)
    packed = tiny.path.parent / "x.bed.gz"
    pysam.tabix_compress(str(bed), str(packed))
    packed.write_bytes(packed.read_bytes()[:-28])
    tiny.edit_row(1, file="x.bed.gz")
    assert "x.bed.gz: is cut" in problem_of(tiny)
    content = gzip.compress(bed.read_bytes())
    packed.write_bytes(content[:20] + b"\xff" * 10 + content[30:])
    assert "x.bed.gz: cannot be read" in problem_of(tiny)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.97])
def test_bigwig_that_is_cut_is_found_at_load(tiny, fraction):
    path = tiny.path.parent / "dense.bw"
    os.truncate(path, int(fraction * path.stat().st_size))
    problem = problem_of(tiny)
    assert "dense.bw: " in problem
    assert "whole bigWig file" in problem or "cut or damaged" in problem


def test_bigwig_with_a_damaged_block_is_named_with_the_interval(tiny):
    path = tiny.path.parent / "holes.bw"
    content = bytearray(path.read_bytes())
    at = len(content) // 3
    content[at : at + 200] = bytes(200)
    path.write_bytes(content)
    reader = load_dataset(tiny.path).open_tracks()
    with pytest.raises(DatasetError, match=r"holes.bw: c1:32-96 cannot be read; the file is cut or damaged"):
        reader.read(Interval("c1", 32, 96), {0: 1.0})


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_named_with_their_place_whatever_the_clip(tiny, value):
    write_holes(tiny, [("c1", 0, 100, 1.0), ("c1", 200, 300, value), ("c2", 0, 50, np.nan)])
    tiny.edit_row(1, clip="5")
    problem = problem_of(tiny)
    assert f"holes.bw: c1:200 (from 0) is {value}, one of 100 such bp" in problem


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "track holes has no value on c1, c2"),
        ([("c1", 0, 3000, 0.0), ("c2", 0, 1500, 0.0)], "track holes is 0 everywhere"),
        ([("c1", 0, 3000, 1.0)], "without a value on a whole contig: 2: holes (c2); cds_minus (c2)"),
        ([("c1", 0, 9, np.nan), ("c2", 0, 1500, 1.0)], "track holes holds NaN"),
    ],
)
def test_tracks_without_signal_are_warned_of(tiny, caplog, entries, words):
    write_holes(tiny, entries)
    reader = load_dataset(tiny.path).open_tracks()
    assert words in caplog.text
    target, missing = reader.read(Interval("c1", 0, 32), {0: 1.0})
    assert np.isfinite(target).all()
    assert missing[1] == 32 - sum(min(end, 32) for c, _, end, value in entries if c == "c1" and value == value)


def test_contigs_that_are_not_looked_at_for_values_are_counted(tiny, caplog, monkeypatch):
    """With the limits of a real assembly made small: of two contigs and four tracks the longest one is left."""
    caplog.set_level("INFO")
    write_holes(tiny, [("c1", 0, 3000, 1.0)])
    load_dataset(tiny.path)
    assert "not looked at" not in caplog.text
    assert "holes (c2)" in caplog.text
    caplog.clear()
    monkeypatch.setattr(track_reader, "_QUESTIONS", 7)
    monkeypatch.setattr(track_reader, "_LEAST_CONTIGS", 1)
    load_dataset(tiny.path)
    assert "4 tracks: of 2 contigs the 1 shortest, 33% of all bp, were not looked at for values" in caplog.text
    assert "holes (c2)" not in caplog.text


@pytest.mark.parametrize("interval", [("c1", -16, 16), ("c1", 2992, 3008), ("c9", 0, 16)])
def test_windows_off_the_end(tiny, interval):
    dataset = load_dataset(tiny.path)
    with pytest.raises(DatasetError, match="does not lie inside a contig in use"):
        dataset.open_tracks().read(Interval(*interval), {0: 1.0})
    if interval[0] == "c9":
        with pytest.raises(DatasetError, match="c9:0-16 lies on none of its contigs, c1, c2"):
            dataset.open_genome().sequence(Interval(*interval))


def test_root_of_a_negative_value(tiny):
    tiny.edit_row(1, sum_stat="mean_sqrt")
    dataset = load_dataset(tiny.path)
    write_holes(tiny, [("c1", 0, 3000, -100.0), ("c2", 0, 1500, 1.0)])  # load_dataset would refuse it
    reader = dataset.open_tracks()
    with pytest.raises(DatasetError, match="mean_sqrt of c1:0-16 is nan, the root of a number below 0"):
        reader.read(Interval("c1", 0, 32), {0: 1.0})


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [("c1", 0, 50, 2.0), ("c1", 60, 90, -0.5), ("c2", 3, 4, -7.0)],
            "on c1 down to -0.5; the Poisson loss",
        ),
        ([("c1", 0, 50, np.nan), ("c2", 3, 4, -7.0), ("c2", 8, 9, np.nan)], "on c2 down to -7"),
    ],
)
def test_negative_values_are_refused_with_the_smallest(tiny, entries, words):
    write_holes(tiny, entries)
    problem = problem_of(tiny)
    assert f"holes.bw: track holes has negative values, {words}" in problem
    assert "absolute values" in problem


def test_negative_values_of_a_bedgraph_and_of_a_file_without_summary(tiny):
    (tiny.path.parent / "x.bedGraph").write_text("one\t5\t9\t2\none\t9\t12\t-3\n")
    tiny.edit_row(0, file="x.bedGraph", scale="1")
    write_holes(tiny, [("c1", 0, 3000, -1.0), ("c2", 0, 1500, 1.0)])
    path = tiny.path.parent / "holes.bw"
    path.write_bytes(
        path.read_bytes()[:44] + bytes(8) + path.read_bytes()[52:]
    )  # as the oldest writers left it
    problem = problem_of(tiny)
    assert "x.bedGraph: track dense has negative values, on c1 down to -3" in problem
    assert "holes.bw: track holes has negative values, on c1 down to -1" in problem


def test_negative_values_on_contigs_not_in_use(tiny):
    write_bigwig(
        tiny.path.parent / "holes.bw",
        {name: np.full(length, sign, np.float32) for name, length, sign in [
            ("c1", 3000, 1), ("c2", 1500, 0), ("plasmid", 80, -1)]},
    )  # fmt: skip
    load_dataset(tiny.path)


def test_contig_under_two_of_its_names(tiny):
    values = np.ones(3000, np.float32)
    write_bigwig(
        tiny.path.parent / "holes.bw", {"c1": values, "chrom1": values, "c2": np.ones(1500, np.float32)}
    )
    assert "holes.bw: contig c1 is there as c1 and as chrom1; keep one" in problem_of(tiny)


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("genes.gff3", "one\tx\tCDS\t1\t9\t.\tplus\t0\tx", "genes.gff3: line 1: strand 'plus'"),
        ("genes.gff3", "one\tx\tCDS\t²\t9\t.\t+\t0\tx", "genes.gff3: line 1: start '²'"),
        ("x.bed", "one\t1\t9\tn\t0\tplus", "x.bed: line 1: strand 'plus'"),
    ],
)
def test_strands_and_numbers_that_are_none(tiny, file, line, words):
    (tiny.path.parent / file).write_text(line + "\n", encoding="utf-8")
    if file == "x.bed":
        tiny.edit_row(1, file=file, strand="+")
    assert words in problem_of(tiny)


def test_table_with_a_column_twice_blanks_and_other_case(tiny, caplog):
    table = tiny.path.parent / "tracks.tsv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())  # as spreadsheets write it
    tiny_text = table.read_text(encoding="utf-8-sig")
    load_dataset(tiny.path)
    table.write_text(tiny_text.replace("\tholes\t", "\tDense\t"))
    load_dataset(tiny.path)
    assert "tracks.tsv: line 3: identifiers dense and Dense differ by case only" in caplog.text
    table.write_text(tiny_text.replace("\tholes\t", "\tholes \t"))
    assert "line 3: identifier 'holes ' has blanks at an end" in problem_of(tiny)
    table.write_text("\n".join(f"{line}\tclip" for line in tiny_text.split("\n")))
    assert "tracks.tsv: column clip comes 2 times; keep one" in problem_of(tiny)


def test_description_with_a_field_twice_or_a_file_for_two_things(tiny):
    text = tiny.path.read_text()
    tiny.path.write_text(text + "window_length: 256\n")
    assert "field window_length is given twice" in problem_of(tiny)
    tiny.path.write_text(text)
    tiny.edit(tracks="genome.fa")
    assert "fasta and tracks both name genome.fa" in problem_of(tiny)
    tiny.path.write_text(text)
    tiny.edit(contig_aliases={"c1": ["one", "chrom1", "c2"]})
    assert "contig_aliases.c1: c2 is another contig of genome.fa; remove it" in problem_of(tiny)


def test_contigs_too_short_for_a_window_are_warned_of(tiny, caplog):
    tiny.edit(window_length=2048, splits={"contigs": {"train": ["c1", "c2"]}}, stride=32)
    assert {window.interval.chrom for window in load_dataset(tiny.path).plan().windows} == {"c1"}
    assert "1 of 2 contigs in use are too short for any window: c2" in caplog.text
