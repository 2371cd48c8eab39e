import gzip
import os
import resource

import numpy as np
import pyBigWig
import pytest

from enformer_keras.datasets.binning import limit, pool, rescale
from enformer_keras.datasets.dataset import DatasetError, load_dataset
from enformer_keras.datasets.tracks import Track
from enformer_keras.formats.bigwig import BigWig
from enformer_keras.formats.intervals import Interval
from tests.datasets.tiny_genome import write_bigwig

BIN = 16


def make_track(**fields):
    return Track.model_validate(
        {
            "index": 0,
            "genome": "x",
            "identifier": "t",
            "file": "t.bw",
            "clip": None,
            "scale": 1,
            "sum_stat": "sum",
            "description": "",
            "strand_pair": 0,
        }
        | fields
    )


def summarize(values, track, scale, bin_size, *blacklist):
    """The bins of one track."""
    pooled = pool(values, track.sum_stat, bin_size)
    return limit(rescale(pooled[np.newaxis], [track], [scale], *blacklist), [track])[0]


@pytest.mark.parametrize("contig", ["c1", "c2"])
def test_sequence_is_the_contig_padded_with_n(tiny, contig):
    genome = load_dataset(tiny.path).open_genome()
    length = len(tiny.bases[contig])
    padded = "N" * 70 + tiny.bases[contig] + "N" * 70
    for start, end in [
        (0, 0),
        (0, length),
        (-5, 8),
        (length - 4, length + 6),
        (-70, length + 70),
        (55, 130),
    ]:
        assert genome.sequence(Interval(contig, start, end)).decode() == padded[start + 70 : end + 70]
    assert genome.sequence(Interval(contig, -9, -2)) == b"NNNNNNN"
    assert genome.sequence(Interval(contig, length + 1, length + 3)) == b"NN"


def test_character_that_is_no_base_is_named_with_its_position(tiny):
    fasta = tiny.path.parent / "genome.fa"
    content = fasta.read_bytes()
    at = content.index(b"\r\n") + 2 + 20 * 62 + 9  # the tenth base of the 21st line of c1
    fasta.write_bytes(content[:at] + b"*" + content[at + 1 :])
    genome = load_dataset(tiny.path).open_genome()
    assert genome.sequence(Interval("c1", 1210, 1220)).decode() == tiny.bases["c1"][1210:1220]
    with pytest.raises(
        DatasetError, match=r"genome.fa: c1: position 1210 \(1-based\) is '\*'.*replace it by N"
    ):
        genome.sequence(Interval("c1", 1205, 1220))


def test_index_of_a_replaced_fasta_is_rebuilt(tiny):
    fasta = tiny.path.parent / "genome.fa"
    load_dataset(tiny.path)
    index = fasta.with_name("genome.fa.fai")
    index.write_text(index.read_text().replace("3000", "2000"))
    stat = fasta.stat()
    os.utime(index, (stat.st_atime, stat.st_mtime - 10))
    assert load_dataset(tiny.path).contig_lengths["c1"] == 3000


def test_targets_equal_pybigwig_stats_and_a_count_of_covered_bp(tiny):
    dataset = load_dataset(tiny.path)
    reader = dataset.open_tracks()
    # The plasmid (1e6 per bp) is in the bigWig, but no contig of the dataset.
    mean = reader.genome_mean(dataset.tracks[0])
    np.testing.assert_allclose(
        mean, np.concatenate(list(tiny.dense.values())).mean(dtype=np.float64), rtol=1e-12
    )
    holes_mean = np.nansum(np.concatenate(list(tiny.holes.values())), dtype=np.float64) / 4500
    np.testing.assert_allclose(reader.genome_mean(dataset.tracks[1]), holes_mean, rtol=1e-12)
    bigwig = pyBigWig.open(str(tiny.path.parent / "dense.bw"))
    plus = {"c1": np.zeros(3000), "c2": np.zeros(1500)}
    plus["c1"][100:230] = 1
    plus["c2"][1400:1500] = 1  # across the origin: its last 30 bp are the first of the circle
    plus["c2"][:30] = 1
    minus = {"c1": np.zeros(3000), "c2": np.zeros(1500)}
    minus["c1"][199:1200] = 1
    for contig, name, start in [
        ("c1", "one", 0),
        ("c1", "one", 100),
        ("c1", "one", 490),
        ("c2", "c2", 0),
        ("c2", "c2", 1500 - 640),
    ]:
        interval = Interval(contig, start, start + 40 * BIN)
        target, missing = reader.read(interval, {0: 1 / mean})
        assert target.dtype == np.float16
        assert target.shape == (40, 4)
        expected = np.array(
            [
                bigwig.stats(name, at, at + BIN, type="mean", exact=True)[0]
                for at in range(interval.start, interval.end, BIN)
            ]
        )
        np.testing.assert_array_equal(target[:, 0], (expected / mean).astype(np.float16))
        holes = tiny.holes[contig][interval.start : interval.end]
        binned = np.nansum(holes.reshape(40, BIN), axis=1, dtype=np.float64)
        np.testing.assert_array_equal(target[:, 1], (2 * binned).astype(np.float16))
        np.testing.assert_array_equal(missing, [0, np.isnan(holes).sum(), 0, 0])
        for column, covered in [(2, plus), (3, minus)]:
            bins = covered[contig][interval.start : interval.end].reshape(40, BIN).mean(axis=1)
            np.testing.assert_array_equal(target[:, column], bins.astype(np.float16))


def test_features_of_both_strands_and_from_gzip(tiny):
    gff3 = tiny.path.parent / "genes.gff3"
    gff3.with_name("genes.gff3.gz").write_bytes(gzip.compress(gff3.read_bytes()))
    tiny.edit_row(2, strand=".", file="genes.gff3.gz")
    target, _ = load_dataset(tiny.path).open_tracks().read(Interval("c1", 96, 240), {0: 1.0})
    both = np.zeros(3000)
    both[100:1200] = 1
    np.testing.assert_array_equal(target[:, 2], both[96:240].reshape(-1, BIN).mean(axis=1))


@pytest.mark.parametrize(
    ("sum_stat", "statistic"),
    [
        ("sum", lambda x: x.sum()),
        ("mean", lambda x: x.mean()),
        ("max", lambda x: x.max()),
        ("median", np.median),
        ("sum_sqrt", lambda x: (1 + x.sum()) ** 0.5 - 1),
        ("mean_sqrt", lambda x: (1 + x.mean()) ** 0.5 - 1),
    ],
)
def test_summary_statistics_bin_by_bin(sum_stat, statistic):
    values = np.random.default_rng(1).gamma(1, 4, 5 * BIN).astype(np.float32)
    found = summarize(values, make_track(sum_stat=sum_stat), 3.0, BIN)
    expected = [statistic(3.0 * values[i : i + BIN].astype(float)) for i in range(0, 5 * BIN, BIN)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_soft_clip_comes_after_the_sum_and_before_the_clip():
    bins = np.repeat([[1.0], [10.0], [13.0], [34.0], [1009.0], [-1009.0]], 1, axis=1)
    values = (bins / BIN).repeat(BIN, axis=1).ravel().astype(np.float32)
    track = make_track(clip_soft=10, clip=30)
    # Above 10: 9 + sqrt(x - 9), so that the curve and its slope at 10 are continuous but for a factor 1/2.
    expected = [1, 10, 11, 14, 30, -30]
    np.testing.assert_allclose(summarize(values, track, 1.0, BIN), expected, rtol=1e-6)


def test_each_track_has_limits_of_its_own():
    bins = np.tile([1.0, 10.0, 13.0, 1009.0, -1009.0], (3, 1))
    tracks = [make_track(clip_soft=10, clip=30), make_track(), make_track(clip=12)]
    limited = limit(bins, tracks)
    expected = [[1, 10, 11, 30, -30], [1, 10, 13, 1009, -1009], [1, 10, 12, 12, -12]]
    np.testing.assert_allclose(limited, expected, rtol=1e-6)
    np.testing.assert_array_equal(bins, np.tile([1, 10, 13, 1009, -1009], (3, 1)))


def test_clipped_bins_are_counted_by_track(tiny):
    tiny.edit_row(1, clip="200")
    interval = Interval("c1", 96, 480)
    found = load_dataset(tiny.path).open_tracks().read_bins(interval, {0: 1.0})
    sums = 2 * tiny.holes["c1"][96:480].astype(float).reshape(-1, BIN).sum(axis=1)
    assert 0 < (sums > 200).sum() < len(sums)
    np.testing.assert_array_equal(found.clipped, [0, (sums > 200).sum(), 0, 0])


def test_a_run_of_intervals_is_read_once_and_gives_what_each_gives_alone(tiny, monkeypatch):
    tiny.edit_row(1, clip="200")
    reader = load_dataset(tiny.path).open_tracks()
    # They touch, overlap by half a bin, leave a gap, and lie one in the other. 500 to 700 have no value.
    stretches = [(32, 96), (96, 160), (152, 536), (600, 1000), (640, 720)]
    intervals = [Interval("c1", start, end) for start, end in stretches]
    alone = [reader.read_bins(interval, {0: 0.5}) for interval in intervals]
    asked = []
    values = BigWig.values
    monkeypatch.setattr(BigWig, "values", lambda self, span: asked.append(span) or values(self, span))
    together = reader.read_run(intervals, {0: 0.5})
    assert asked == [Interval("c1", 32, 1000)] * 2  # one read of each bigWig
    for (start, end), bins, one in zip(stretches, together, alone, strict=True):
        for found, expected in zip(bins, one, strict=True):
            np.testing.assert_array_equal(found, expected)
        sums = 2 * np.nansum(tiny.holes["c1"][start:end].reshape(-1, BIN), axis=1, dtype=np.float64)
        np.testing.assert_array_equal(bins.values[:, 1], np.minimum(sums, 200).astype(np.float16))
        assert bins.missing[1] == np.isnan(tiny.holes["c1"][start:end]).sum()
        assert bins.clipped[1] == (sums > 200).sum()


def test_sums_are_not_rounded_before_the_cast():
    """2048 + 1 is 2048 in float16, and 2**24 + 1 is 2**24 in float32."""
    values = np.array([2048.0] + [1.0] * 15, np.float32)
    assert summarize(values, make_track(), 1.0, BIN)[0] == 2063
    values = np.array([2.0**24] + [1.0] * 15, np.float32)
    assert summarize(values, make_track(), 1.0, BIN)[0] == 2**24 + 15


@pytest.mark.parametrize(
    ("peak", "clip", "fits"), [(65504, "", True), (65536, "", False), (65536, "100", True)]
)
def test_float16_overflow_is_an_error(tiny, peak, clip, fits):
    values = np.zeros(3000, np.float32)
    values[32 + BIN] = peak
    write_bigwig(tiny.path.parent / "holes.bw", {"c1": values, "c2": np.zeros(1500, np.float32)})
    tiny.edit_row(1, scale="1", clip=clip)
    reader = load_dataset(tiny.path).open_tracks()
    if fits:
        target, _ = reader.read(Interval("c1", 32, 96), {0: 1.0})
        assert target[1, 1] == min(peak, float(clip or "inf"))
    else:
        with pytest.raises(
            DatasetError, match=r"holes.bw: track holes: the sum of c1:48-64 is 65536.*set clip"
        ):
            reader.read(Interval("c1", 32, 96), {0: 1.0})


def test_mean_of_an_empty_track_is_an_error(tiny):
    write_bigwig(
        tiny.path.parent / "dense.bw",
        {name: np.zeros(n, np.float32) for name, n in [("c1", 3000), ("c2", 1500)]},
    )
    dataset = load_dataset(tiny.path)
    with pytest.raises(
        DatasetError, match=r"dense.bw: track dense: its mean over the genome is 0.*give a number"
    ):
        dataset.open_tracks().genome_mean(dataset.tracks[0])


def test_more_bigwigs_than_open_files_allowed(tiny):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        load_dataset(tiny.path)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
