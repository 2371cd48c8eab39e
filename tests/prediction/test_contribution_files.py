"""Files of contributions, read back by other readers than wrote them where there are some."""

import json

import h5py
import numpy as np
import pyBigWig
import pytest

from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.sequence import one_hot_encode
from enformer_keras.prediction.asking import PredictedTrack
from enformer_keras.prediction.contribution_files import write_contributions, write_mutagenesis
from enformer_keras.prediction.contributions import Contributions
from enformer_keras.prediction.mutagenesis import Mutagenesis

CONTIGS = {"b": 100, "a": 60}  # the file's order, not the alphabet's
ABOUT = {"model": "m", "shifts": [0]}


def made(chrom, start, sequence="ACGTNACGTA", **values):
    rng = np.random.default_rng(start + 100)
    hypothetical = rng.normal(size=(4, len(sequence))).astype(np.float32)
    return Contributions(
        Interval(chrom, start, start + len(sequence)), sequence, hypothetical, value=1.5, **values
    )


REGIONS = [made("a", 3), made("b", 40), made("b", 4), made("b", 9, "TTTTTTTTTT"), made("a", -6, "NNNNNNACGT")]


def write(folder, formats, regions=REGIONS, count=None):
    with write_contributions(
        folder, formats, len(regions) if count is None else count, 10, CONTIGS, ABOUT
    ) as append:
        for region in regions:
            append(region)


def test_the_tree_has_the_keys_that_others_read(tmp_path):
    write(tmp_path, ["h5"])
    with h5py.File(tmp_path / "contributions.h5") as file:
        assert file["raw/seq"].dtype == np.int8
        for row, region in enumerate(REGIONS):
            one_hot = one_hot_encode(region.sequence).T
            np.testing.assert_array_equal(file["raw/seq"][row], one_hot)
            np.testing.assert_array_equal(file["shap/seq"][row], region.hypothetical)
            np.testing.assert_array_equal(file["projected_shap/seq"][row], region.hypothetical * one_hot)
        assert [name.decode() for name in file["chrom"][:]] == ["a", "b", "b", "b", "a"]
        assert file["start"][:].tolist() == [3, 40, 4, 9, -6]
        assert file.attrs["model"] == "m"
    rows = [line.split("\t") for line in (tmp_path / "regions.bed").read_text().splitlines()]
    assert rows[1] == ["b", "40", "50", "region_2", "0", ".", "1.5", "-1", "-1", "5"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "contributions.h5",
        "contributions.json",
        "regions.bed",
    }


def test_npz_is_what_numpy_writes(tmp_path):
    write(tmp_path, ["npz"])
    np.testing.assert_array_equal(
        np.load(tmp_path / "sequences.npz")["arr_0"], [one_hot_encode(r.sequence).T for r in REGIONS]
    )
    found = np.load(tmp_path / "contributions.npz")
    assert found.files == ["arr_0"]
    np.testing.assert_array_equal(found["arr_0"], [region.hypothetical for region in REGIONS])


def test_a_bigwig_has_each_base_once_and_gaps_where_nothing_is(tmp_path):
    """The region that begins first wins; N is a gap; contigs are in the genome's order."""
    write(tmp_path, ["bigwig"])
    expected = {contig: np.full(length, np.nan, np.float32) for contig, length in CONTIGS.items()}
    for region in (REGIONS[1], REGIONS[3], REGIONS[2], REGIONS[0], REGIONS[4]):  # the winners last
        for at, base in enumerate(region.sequence):
            if base != "N":
                value = region.hypothetical["ACGT".index(base), at]
                expected[region.interval.chrom][region.interval.start + at] = value
    # where the winner has N, no other counts
    expected["b"][8] = expected["a"][7] = np.nan
    expected["a"][3] = REGIONS[4].hypothetical[3, 9]
    with pyBigWig.open(str(tmp_path / "contributions.bw")) as file:
        assert file.chroms() == CONTIGS
        for contig, values in expected.items():
            np.testing.assert_array_equal(file.values(contig, 0, CONTIGS[contig], numpy=True), values)
    said = json.loads((tmp_path / "contributions.json").read_text())
    assert said == {**ABOUT, "regions": 5, "bases_of_overlaps_passed_over_in_bigwig": 5 + 1}


def test_completeness_is_told(tmp_path):
    regions = [made("a", 3, baseline=0.5, total=1.1), made("a", 4, baseline=0.5, total=0.7)]
    write(tmp_path, ["h5"], regions)
    said = json.loads((tmp_path / "contributions.json").read_text())
    assert said["completeness_error"] == pytest.approx({"mean": 0.2, "largest": 0.3})
    with h5py.File(tmp_path / "contributions.h5") as file:
        np.testing.assert_allclose(file["total"][:], [1.1, 0.7])


@pytest.mark.parametrize(
    ("regions", "count", "problem"),
    [([*REGIONS, made("a", 3, "ACG")], 6, "of one length"), (REGIONS[:2], 3, "2 regions came instead of 3")],
)
def test_an_error_leaves_no_file(tmp_path, regions, count, problem):
    with pytest.raises(ValueError, match=problem):
        write(tmp_path, ["h5", "npz", "bigwig"], regions, count)
    assert list(tmp_path.iterdir()) == []


TRACKS = [PredictedTrack(0, "t0", "first", 0), PredictedTrack(1, "t1", "second", 1)]


def mutated(start, sequence):
    effects = np.random.default_rng(start).normal(size=(len(sequence), 4, 2)).astype(np.float32)
    for at, base in enumerate(sequence):
        if base == "N":
            effects[at] = np.nan
        else:
            effects[at, "ACGT".index(base)] = 0
    return Mutagenesis(Interval("a", start, start + len(sequence)), sequence, {"SAD": effects}, tuple(TRACKS))


def test_mutagenesis_in_both_formats(tmp_path):
    regions = [mutated(3, "ACN"), mutated(30, "GTT")]
    with write_mutagenesis(tmp_path, ["h5", "tsv"], TRACKS, ["SAD"], ABOUT) as append:
        for region in regions:
            append(region)
    with h5py.File(tmp_path / "ism.h5") as file:
        np.testing.assert_array_equal(file["SAD"][:], [region.effects["SAD"] for region in regions])
        assert file["SAD"].attrs["formula"] == "sum(A - R)"
        assert [text.decode() for text in file["sequence"][:]] == ["ACN", "GTT"]
        assert [text.decode() for text in file["target_ids"][:]] == ["t0", "t1"]
    lines = (tmp_path / "ism.tsv").read_text().splitlines()
    assert lines[:3] == ["##model=m", "##shifts=[0]", "##SAD=sum(A - R)"]
    header, *rows = [line.split("\t") for line in lines[3:]]
    assert header == ["region", "chrom", "pos", "ref", "alt", "SAD:t0", "SAD:t1"]
    assert len(rows) == 3 + 3 + 4 + 9
    assert [row[1:5] for row in rows[:2]] == [["a", "4", "A", "C"], ["a", "4", "A", "G"]]
    np.testing.assert_array_equal(np.array(rows[0][5:], np.float32), regions[0].effects["SAD"][0, 1])
    assert rows[6][3:] == ["N", "A", "", ""]


def test_deletions_in_both_formats(tmp_path):
    effects = np.array([[1, 2], [np.nan, np.nan]], np.float32)
    region = Mutagenesis(Interval("a", 3, 6), "ACN", {"D1": effects}, tuple(TRACKS))
    with write_mutagenesis(tmp_path, ["h5", "tsv"], TRACKS, ["D1"], {}, deletion=2) as append:
        append(region)
    with h5py.File(tmp_path / "ism.h5") as file:
        np.testing.assert_array_equal(file["D1"][:], effects[None])
    rows = [line.split("\t") for line in (tmp_path / "ism.tsv").read_text().splitlines()[2:]]
    assert rows == [["a:4-6", "a", "4", "AC", "-", "1", "2"], ["a:4-6", "a", "5", "CN", "-", "", ""]]
