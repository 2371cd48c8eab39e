"""Regions by window, and their means whichever way the windows were dealt."""

import dataclasses
import functools
import gzip

import numpy as np
import pytest

from components.evaluator.regions import RegionFile, RegionMeans
from enformer_keras.genome.errors import DatasetError
from enformer_keras.genome.intervals import Interval

LINES = "chr1\t0\t900\tlong\nchr1\t10\t20\nchr1\t100\t140\nchr2\t5\t6\nchr1\t140\t150\nchr1\t900\t950\n"


@pytest.fixture
def regions(tmp_path):
    with gzip.open(tmp_path / "regions.bed.gz", "wt") as file:
        file.write(LINES)
    return RegionFile.open(tmp_path / "regions.bed.gz", {}).read()


@pytest.mark.parametrize(
    "interval", [(0, 5), (15, 101), (139, 140), (140, 141), (899, 901), (-50, 11), (950, 999)]
)
def test_regions_of_a_window_are_those_that_share_a_bp(regions, interval):
    start, end = interval
    expected = [
        line.split("\t")[:3]
        for line in LINES.splitlines()
        if line.startswith("chr1") and int(line.split("\t")[1]) < end and int(line.split("\t")[2]) > start
    ]
    found = [["chr1", str(a), str(b)] for _, a, b in regions.overlapping(Interval("chr1", start, end))]
    assert found == expected
    assert len(regions) == 6


def test_means_do_not_depend_on_the_order_of_windows_and_constants_stay_so(regions):
    rng = np.random.default_rng(0)
    windows = []
    for start in range(0, 960, 60):  # every second bin is that of two windows
        target, prediction = rng.gamma(2, 1, (2, 12, 3)).astype(np.float32)
        prediction[:, 1] = 0.1
        span = Interval("chr1", start, start + 120)
        windows.append(RegionMeans.of_window(regions, span, 10, target.astype(np.float16), prediction))
    expected = functools.reduce(RegionMeans.merge, windows)
    # All 16 windows with their 12 bins lie on the first region, but for the last ones' ends.
    assert expected.means["chr1", 0][0] == 12 * 14 + 6
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(windows))
        halves = [
            functools.reduce(RegionMeans.merge, [windows[i] for i in half]) for half in np.split(order, 4)
        ]
        (merged,), (known,) = (
            means.by_contig().values() for means in (functools.reduce(RegionMeans.merge, halves), expected)
        )
        np.testing.assert_allclose(merged, known, rtol=1e-6)
        assert merged[0].shape == (5, 3)
    assert (known[1][:, 1] == np.float32(0.1)).all()


def test_a_file_that_changed_or_is_wrong_is_named(tmp_path):
    bed = tmp_path / "regions.bed"
    bed.write_text(LINES)
    regions = RegionFile.open(bed, {"chr1": ["1"]})
    assert RegionFile(**dataclasses.asdict(regions)) == regions
    bed.write_text(LINES.replace("\t950", "\t951"))
    with pytest.raises(DatasetError, match=r"regions\.bed: has changed since the pipeline was laid out"):
        regions.read()
    bed.write_text("# nothing\n")
    with pytest.raises(DatasetError, match=r"regions\.bed: holds no interval; give another file"):
        RegionFile.open(bed, {})
    with pytest.raises(DatasetError, match=r"nowhere\.bed: cannot be read"):
        RegionFile.open(tmp_path / "nowhere.bed", {})
