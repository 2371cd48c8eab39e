"""What would stop the work in its middle is found before it begins, by as little reading as that takes."""

import numpy as np
import pytest

from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.datasets.track_reader import TrackReader
from enformer_keras.datasets.window_reader import WindowReader
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.bigwig import BigWig
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from tests.datasets.test_sources import make_track
from tests.datasets.tiny_genome import CONTIGS, write_bigwig

PEAKS = [1010, 2700]


def write_peaks(tiny, value):
    """1 everywhere but on two bp of c1."""
    values = {contig: np.ones(length, np.float32) for contig, length in CONTIGS.items()}
    values["c1"][PEAKS] = value
    write_bigwig(tiny.path.parent / "holes.bw", values)


def check(tiny):
    dataset = load_dataset(tiny.path)
    windows = dataset.plan().windows
    WindowReader(dataset).check(windows, {0: 1.0})
    return windows


@pytest.fixture
def asked(monkeypatch):
    """The intervals that bigWigs are read on."""
    intervals = []
    values = BigWig.values
    monkeypatch.setattr(BigWig, "values", lambda self, span: intervals.append(span) or values(self, span))
    return intervals


def test_bins_above_float16_are_refused_unless_they_are_clipped(tiny, asked):
    write_peaks(tiny, 70_000)
    with pytest.raises(
        DatasetError, match=r"holes.bw: track holes: the sum of c1:\d+-\d+ is 140030, .* set clip"
    ):
        check(tiny)
    assert all(span.start <= PEAKS[0] + 64 and PEAKS[0] - 64 <= span.end for span in asked)
    tiny.edit_row(1, clip="384")
    del asked[:]
    check(tiny)
    assert not asked


def test_bins_above_float16_where_no_window_reads_them(tiny, asked):
    write_peaks(tiny, 70_000)
    (tiny.path.parent / "blacklist.bed").write_text("one\t1000\t1020\none\t2690\t2710\n")
    tiny.edit(blacklist="blacklist.bed")
    check(tiny)
    assert not asked


def test_only_windows_that_may_have_such_a_bin_are_read(tiny, asked, caplog):
    """A bin of nothing but the largest value would be 2 * 16 * 5000."""
    caplog.set_level("INFO")
    write_peaks(tiny, 5000)
    windows = check(tiny)
    peaks = [Interval("c1", peak, peak + 1) for peak in PEAKS]
    near = {window.target for window in windows if any(map(window.target.overlaps, peaks))}
    assert near <= set(asked)
    assert len(asked) < len(windows) / 4
    assert f"in which there is none: holes {len(asked)}" in caplog.text


def test_a_scale_by_the_mean_that_makes_a_bin_too_large(tmp_path):
    """One bp of 2 in 100,000 has 50,000 times the mean of two."""
    values = np.zeros(100_000, np.float32)
    values[[50, 90_000]] = 1
    write_bigwig(tmp_path / "x.bw", {"c1": values})
    track = make_track(tmp_path, file="x.bw", scale="mean", sum_stat="max")
    window = Window(Interval("c1", 0, 160), Interval("c1", 32, 128), "train")
    for length, fits in ((100_000, True), (150_000, False)):
        write_bigwig(tmp_path / "x.bw", {"c1": np.resize(values, length) * (np.arange(length) < 100_000)})
        reader = TrackReader([track], {"c1": length}, {}, 16)
        if fits:
            reader.check_bins([window], {}, lambda _: True)
        else:
            with pytest.raises(DatasetError, match="the max of c1:48-64 is 75000, float16 ends at 65504"):
                reader.check_bins([window], {}, lambda _: True)
            reader.check_bins([window], {}, lambda _: False)
            reader.check_bins([window], {0: 1.0}, lambda _: True)


@pytest.mark.parametrize("letter", ["N", "n", "r"])
def test_a_split_of_nothing_but_n(tiny, letter):
    tiny.edit(splits={"contigs": {"train": ["c1"], "test": ["c2"]}}, stride=32)
    check(tiny)
    fasta = tiny.path.parent / "genome.fa"
    fasta.write_text(f">c1\n{tiny.bases['c1']}\n>c2\n{letter * CONTIGS['c2']}\n")
    with pytest.raises(
        DatasetError, match=r"split test: its \d+ windows hold nothing but N in genome.fa; .*dna_sm"
    ):
        check(tiny)
