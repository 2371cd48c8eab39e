"""Regions by window, and their means whichever way the windows were dealt."""

import dataclasses
import gzip

import numpy as np
import pytest

from components.evaluator.regions import RegionFile
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval

LINES = "chr1\t0\t900\tlong\nchr1\t10\t20\nchr1\t100\t140\nchr2\t5\t6\nchr1\t140\t150\nchr1\t900\t950\n"


@pytest.fixture
def regions(tmp_path):
    with gzip.open(tmp_path / "regions.bed.gz", "wt") as file:
        file.write(LINES)
    return RegionFile.open(tmp_path / "regions.bed.gz", {}).read()


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0, 15), []),
        ((15, 16), [(10, 20)]),  # its end is not in the interval
        ((14, 120), [(10, 20)]),
        ((14, 121), [(10, 20), (100, 140)]),
        ((121, 450), [(140, 150)]),
        ((-50, 999), [(10, 20), (100, 140), (140, 150), (0, 900), (900, 950)]),
    ],
)
def test_a_window_measures_the_regions_whose_middle_it_holds(regions, interval, expected):
    assert regions.centred_in(Interval("chr1", *interval)) == expected
    assert regions.centred_in(Interval("chr3", *interval)) == []
    assert len(regions) == 6


def test_regions_in_several_windows_are_counted_once(regions):
    windows = [
        Interval("chr1", 0, 130),
        Interval("chr1", 100, 200),
        Interval("chr2", 0, 9),
        Interval("chr3", 0, 9),
    ]
    assert regions.count_in(windows) == 4


def test_means_are_over_the_bins_of_the_window_that_share_a_bp_and_constants_stay_so(regions):
    rng = np.random.default_rng(0)
    target, prediction = rng.gamma(2, 1, (2, 12, 3)).astype(np.float32)
    target = target.astype(np.float16)
    prediction[:, 1] = 0.1
    for start, of_region in (
        (395, [slice(0, 12)]),  # of (0, 900) what the window has
        (105, [slice(0, 4), slice(3, 5)]),  # of (100, 140) the last bin only in part, and that counts wholly
        (300, []),
    ):
        means = regions.mean_signals(Interval("chr1", start, start + 120), 10, target, prediction)
        for found, rows in zip(means, (target, prediction), strict=True):
            expected = [rows[part].astype(float).mean(axis=0) for part in of_region]
            np.testing.assert_allclose(found, np.reshape(expected, (-1, 3)), rtol=1e-6)
            assert found.dtype == np.float32
        assert (means[1][:, 1] == np.float32(0.1)).all()


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
