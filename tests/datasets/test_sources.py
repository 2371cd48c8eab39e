"""Every kind of track file against a plain statement of what its bins hold."""

import gzip
import itertools

import numpy as np
import pysam
import pytest

from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.datasets.segments import Segments
from enformer_keras.datasets.track_reader import TrackReader
from enformer_keras.datasets.tracks import Track
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from tests.datasets.tiny_genome import CONTIGS, build_tiny_genome, write_bigwig

BIN = 16
ALIASES = {"c1": ["one"]}
# c1's lines overlap (10-40 and 30-50 and 35-45), touch (50-60) and nest; one of c2 ends where the contig does.
INTERVALS = [
    ("one", 10, 40, 3.5, "+"),
    ("one", 30, 50, 9.0, "-"),
    ("one", 35, 45, 1.25, "+"),
    ("one", 50, 60, 2.0, "+"),
    ("one", 700, 1700, 40.0, "-"),
    ("one", 800, 900, 7.0, "+"),
    ("plasmid", 0, 9000, 1.0, "+"),
    ("c2", 1400, 1500, 5.0, "+"),
]
ATTRIBUTES = 'gene_id "G"; transcript_id ""; level 2;'


def write_intervals(folder):
    """The same intervals in each format."""
    lines = {
        "x.bed": "{0}\t{1}\t{2}\tname\t{3}\t{4}",
        "x.narrowPeak": "{0}\t{1}\t{2}\t.\t0\t{4}\t{3}\t-1\t-1\t5",
        "x.broadPeak.gz": "{0}\t{1}\t{2}\t.\t0\t{4}\t{3}\t-1\t-1",
        "x.bedgraph": "{0}\t{1}\t{2}\t{3}",
        "x.gtf": "{0}\tx\texon\t{5}\t{2}\t.\t{4}\t.\t" + ATTRIBUTES,
        "x.gff3.gz": "{0}\tx\texon\t{5}\t{2}\t.\t{4}\t.\tID=a",
    }
    for name, line in lines.items():
        text = "#comment\ntrack name=x\n" if "bed" in name else "#comment\n"
        text += "\n".join(line.format(*i, i[1] + 1) for i in INTERVALS) + "\n"
        content = text.encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    pysam.tabix_compress(str(folder / "x.bed"), str(folder / "y.bed.gz"))  # blocks, as bgzip writes them


def per_bp(strand=".", value=False):
    """The statement: each bp has the largest value of the intervals that cover it."""
    signal = {name: np.zeros(length) for name, length in CONTIGS.items()}
    for name, start, end, height, on in INTERVALS:
        if name != "plasmid" and strand in (".", on):
            stretch = signal["c1" if name == "one" else name][start:end]
            np.maximum(stretch, height if value else 1, out=stretch)
    return signal


def make_track(folder, index=0, **fields):
    return Track.model_validate(
        {
            "index": index,
            "genome": "x",
            "identifier": f"t{index}",
            "clip": None,
            "scale": 1,
            "sum_stat": "mean",
            "description": "",
            "strand_pair": index,
        }
        | fields
        | {"file": folder / fields["file"]}
    )


def read(tracks, interval):
    return TrackReader(tracks, CONTIGS, ALIASES, BIN).read(interval, {})[0]


@pytest.mark.parametrize(
    ("fields", "strand", "value"),
    [
        ({"file": "x.bed"}, ".", False),
        ({"file": "x.bed", "strand": "+"}, "+", False),
        ({"file": "y.bed.gz", "value": "score"}, ".", True),
        ({"file": "x.bed", "value": "5", "strand": "-"}, "-", True),
        ({"file": "x.narrowPeak"}, ".", False),
        ({"file": "x.narrowPeak", "value": "signalValue"}, ".", True),
        ({"file": "x.broadPeak.gz", "value": "signalValue", "strand": "+"}, "+", True),
        ({"file": "x.bedgraph"}, ".", True),
        ({"file": "x.gtf", "feature": "exon"}, ".", False),
        ({"file": "x.gtf", "feature": "exon", "strand": "-"}, "-", False),
        ({"file": "x.gff3.gz", "feature": "exon", "strand": "+"}, "+", False),
    ],
)
def test_bins_of_every_format(tmp_path, fields, strand, value):
    write_intervals(tmp_path)
    expected = per_bp(strand, value)
    for interval in (
        Interval("c1", 0, 128),
        Interval("c1", 32, 48),
        Interval("c1", 600, 1800),
        Interval("c2", 1404, 1500),
    ):
        bins = expected[interval.chrom][interval.start : interval.end].reshape(-1, BIN).mean(axis=1)
        found = read([make_track(tmp_path, **fields)], interval)[:, 0]
        np.testing.assert_array_equal(found, bins.astype(np.float16))


@pytest.mark.parametrize("fields", [{"file": "x.bed"}, {"file": "x.gff3.gz", "feature": "exon"}])
def test_lines_on_contigs_not_in_use_are_counted(tmp_path, caplog, fields):
    caplog.set_level("INFO")
    write_intervals(tmp_path)
    read([make_track(tmp_path, **fields)], Interval("c1", 0, 128))
    assert f"{fields['file']}: 1 lines on contigs not in use: plasmid" in caplog.text


def test_contigs_that_a_bigwig_leaves_out_are_counted(tmp_path, caplog):
    write_bigwig(tmp_path / "x.bw", {"c1": np.ones(3000, np.float32)})
    contigs = {"c1": 3000} | {f"scaffold_{number}": 25 for number in range(40)}
    reader = TrackReader([make_track(tmp_path, file="x.bw")], contigs, {}, BIN)
    reader.check_signal()
    assert "scaffold_0, scaffold_1, scaffold_2, scaffold_3, ...: 40 contigs, 25% of all bp" in caplog.text
    target, missing = reader.read(Interval("scaffold_9", 0, 16), {})
    assert (target.tolist(), missing.tolist()) == ([[0]], [16])


def test_the_last_suffix_says_what_a_file_is(tmp_path):
    """GFF3 made from GTF, whose attributes GTF's check would refuse."""
    write_intervals(tmp_path)
    (tmp_path / "x.gff3.gz").rename(tmp_path / "x.gtf.gff3.gz")
    assert read([make_track(tmp_path, file="x.gtf.gff3.gz", feature="exon")], Interval("c1", 0, 128)).any()


def test_totals_are_those_of_all_bp():
    stretches = np.array([0, 10, 50]), np.array([4, 20, 51]), np.array([2.0, -1.5, 3.0], dtype=np.float32)
    segments = Segments({"c1": stretches, "c2": stretches})
    signal = segments.values(Interval("c1", 0, 100))[0].astype(float)
    assert segments.totals() == (2 * signal.sum(), 2 * (signal**2).sum())


def plain_rule(signal, scale, sum_stat, clip_soft, clip):
    """The documented order, bin by bin."""
    bins = []
    for at in range(0, len(signal), BIN):
        x = [scale * float(value) for value in signal[at : at + BIN]]
        x = {
            "sum": sum(x),
            "mean": sum(x) / BIN,
            "max": max(x),
            "median": (sorted(x)[BIN // 2 - 1] + sorted(x)[BIN // 2]) / 2,
            "sum_sqrt": (1 + sum(x)) ** 0.5 - 1,
            "mean_sqrt": (1 + sum(x) / BIN) ** 0.5 - 1,
        }[sum_stat]
        if clip_soft is not None and x > clip_soft:
            x = clip_soft - 1 + (x - clip_soft + 1) ** 0.5
        bins.append(x if clip is None else min(x, clip))
    return np.array(bins)


def test_every_rule_on_every_kind_of_file(tmp_path):
    tiny = build_tiny_genome(tmp_path)
    write_intervals(tmp_path)
    interval = Interval("c1", 16, 16 + 60 * BIN)
    files = {
        "holes.bw": ({}, np.nan_to_num(tiny.holes["c1"])),
        "x.narrowPeak": ({"value": "signalValue"}, per_bp(value=True)["c1"]),
        "x.bed": ({"strand": "-"}, per_bp("-")["c1"]),
        "x.gtf": ({"feature": "exon"}, per_bp()["c1"]),
    }
    rules = list(
        itertools.product(
            (1.0, 0.3, 7.0), ("sum", "mean", "max", "median", "sum_sqrt", "mean_sqrt"), (None, 4.0), (None, 6.0)
        )
    )
    for file, (fields, signal) in files.items():
        tracks = [
            make_track(tmp_path, i, file=file, **fields, scale=scale, sum_stat=stat, clip_soft=soft, clip=clip)
            for i, (scale, stat, soft, clip) in enumerate(rules)
        ]
        reader = TrackReader(tracks, CONTIGS, {"c1": ["one", "chrom1"]}, BIN)
        found, _ = reader.read(interval, {})
        inside = signal[interval.start : interval.end]
        for column, rule in enumerate(rules):
            expected = plain_rule(inside, *rule)
            np.testing.assert_allclose(found[:, column], expected, rtol=2**-11, atol=1e-7, err_msg=f"{rule}")
            assert expected.any()


@pytest.mark.parametrize(
    ("name", "lines", "fields", "words"),
    [
        ("x.bed", ["one 5"], {}, ["line 1", "2 fields", "at least 3", "tabs"]),
        ("x.narrowPeak", ["one 1 5", "c2 1 2"], {}, ["line 1", "3 fields instead of 10"]),
        ("x.bed", ["one 1 5 n 1"], {"strand": "+"}, ["line 1", "5 fields", "at least 6"]),
        ("x.bed", ["one 5 9", "one 9 7"], {}, ["line 2", "'7'", "0-based half-open"]),
        ("x.bed", ["one -1 9"], {}, ["line 1", "'-1'", "correct"]),
        ("x.bed", ["", "one 2990 3001"], {}, ["line 2", "one:2990-3001", "3000 bp", "same assembly"]),
        ("x.bed", ["one 5 9", "c2 1 2", "one 4 9"], {}, ["line 3", "start 4", "5 of line 1", "sort -k1,1"]),
        ("x.bed", ["chr1 5 9"], {}, ["no line lies on a used contig", "chr1", "contig_aliases"]),
        ("x.bed", [], {}, ["no line lies", "it is empty"]),
        ("x.bed", ["one 5 9 n 1 -"], {"strand": "+"}, ["no interval on strand +", "but on - (1); correct"]),
        ("x.bed", ["one 5 9 n high"], {"value": "score"}, ["line 1", "column 5 is 'high'", "no number"]),
        ("x.bedgraph", ["one 5 9 nan"], {}, ["line 1", "column 4 is 'nan'"]),
        ("x.gtf", ["one x exon 5 9 . + . ID=a"], {"feature": "exon"}, ["line 1", "'ID=a'", "GTF's", ".gff3"]),
        ("x.gtf", ["one x exon 5"], {"feature": "exon"}, ["line 1", "4 fields", "GTF has 9"]),
        ("x.gtf", ["one x CDS 2990 3001 . + . a"], {"feature": "exon"}, ["no exon on strand ."]),
    ],
)
def test_bad_lines_name_the_line_and_the_cure(tmp_path, name, lines, fields, words):
    (tmp_path / name).write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    with pytest.raises(DatasetError) as caught:
        TrackReader([make_track(tmp_path, file=name, **fields)], CONTIGS, ALIASES, BIN)
    assert all(word in str(caught.value) for word in [name, *words]), caught.value


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file": "x.bed", "value": "signalValue"}, "value signalValue is no column of BED; use score"),
        ({"file": "x.bed", "value": "3"}, "value 3 is no column"),
        ({"file": "x.narrowPeak", "value": "11"}, "narrowPeak, which has 10"),
        ({"file": "x.bw", "value": "score"}, "x.bw is a bigWig file: leave value empty"),
        ({"file": "x.bedgraph", "strand": "+"}, "without strands"),
        ({"file": "x.bed", "feature": "CDS"}, "without feature types"),
        ({"file": "x.bw.gz"}, "unknown kind of file"),
    ],
)
def test_columns_that_do_not_fit_the_format(tmp_path, fields, words):
    with pytest.raises(ValueError, match=words):
        make_track(tmp_path, **fields)


def test_bgzip_fasta_is_read_through_its_two_indices(tmp_path):
    tiny = build_tiny_genome(tmp_path)
    plain = tmp_path / "genome.fa"
    pysam.tabix_compress(str(plain), str(tmp_path / "genome.fa.gz"))
    plain.unlink()
    tiny.edit(fasta="genome.fa.gz")
    genome = load_dataset(tiny.path).open_genome()
    assert (tmp_path / "genome.fa.gz.gzi").is_file()
    assert genome.contig_lengths == CONTIGS
    assert genome.sequence(Interval("c1", 100, 2000)).decode() == tiny.bases["c1"][100:2000]
    (tmp_path / "genome.fa.gz.gzi").unlink()
    assert load_dataset(tiny.path).open_genome().contig_lengths == CONTIGS


def test_gzip_fasta_is_refused_with_the_cure(tmp_path):
    tiny = build_tiny_genome(tmp_path)
    (tmp_path / "genome.fa.gz").write_bytes(gzip.compress((tmp_path / "genome.fa").read_bytes()))
    tiny.edit(fasta="genome.fa.gz")
    with pytest.raises(DatasetError, match="compressed by bgzip, not by gzip"):
        load_dataset(tiny.path)
