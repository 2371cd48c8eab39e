"""Regions are held against the data before anything runs."""

import logging

import pytest

from components.evaluator.regions import RegionFile
from enformer_keras.formats.errors import DatasetError
from pipeline.data import check_regions
from tests.pipeline.conftest import write_genome


@pytest.fixture
def check(tmp_path):
    dataset = write_genome(tmp_path)

    def check(content):
        bed = tmp_path / "regions.bed"
        bed.write_text(content)
        check_regions(dataset, {"tiny": RegionFile.open(bed, {})}, "test")

    return check


def test_regions_without_a_target_are_counted(check, caplog):
    with caplog.at_level(logging.INFO):
        check("chrom\t0\t100\nchrom\t32000\t33000\nchrom\t35000\t35001\nother\t35000\t35001\n")
    assert (
        "regions.bed: the middle of 2 of 4 regions lies in a target of split test; the other 2" in caplog.text
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # The first target of the test block begins at 32,259 bp.
        (
            "chrom\t32000\t32517\n",
            r"regions\.bed: none of its 1 regions has its middle in a target of split test of tiny; they lie "
            "on chrom, the targets on chrom: give",
        ),
        ("chrom\t35000\t40001\n", r"regions\.bed: line 1: .* ends past the contig's end at 40000 bp"),
        ("chr1\t0\t100\n", r"regions\.bed: no line lies on a used contig \(chrom\); it names chr1"),
    ],
)
def test_regions_that_do_not_fit_the_data_are_refused(check, content, message):
    with pytest.raises(DatasetError, match=message):
        check(content)
