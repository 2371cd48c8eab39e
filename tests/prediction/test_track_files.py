"""Files of predictions read back, bigWigs also by their bytes (Kent et al. 2010, tables 5 to 7)."""

import gzip
import json
import resource
import struct

import h5py
import numpy as np
import pyBigWig
import pysam
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction import track_files
from enformer_keras.prediction.predictor import PredictedTrack
from enformer_keras.prediction.tiling import centred_tiles, grid_tiles
from enformer_keras.prediction.track_files import FORMATS, file_names, write_tracks
from enformer_keras.prediction.windows import Frame

FRAME = Frame(512, 8, 32)
# The genome's order is not that of names.
LENGTHS = {"z": 32 * 8 * 100 + 45, "a": 300, "empty": 10}
TRACKS = [PredictedTrack(4, "CAGE:x", "first", 4), PredictedTrack(7, "cage x", "second", 7)]
REGIONS = [
    Interval("a", 290, 300),
    Interval("z", 0, 32 * 8 * 99 + 3),
    Interval("z", LENGTHS["z"] - 50, LENGTHS["z"]),
]


def predicted(tiles):
    for number, tile in enumerate(tiles):
        yield tile, np.random.default_rng(number).gamma(1, 3, (FRAME.target_length, 2)).astype(np.float32)


def write(folder, formats=FORMATS, tiles=None):
    tiles = list(predicted(tiles or grid_tiles(REGIONS, LENGTHS, FRAME)))
    about = {"model": "m", "shifts": [0]}
    with write_tracks(folder, formats, TRACKS, FRAME, LENGTHS, len(tiles), about) as append:
        for tile, bins in tiles:
            append(tile, bins)
    return tiles


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks") / "new"
    return folder, write(folder)


@pytest.fixture(scope="module")
def entries(written):
    """Of each track (contig, start, end, value), by nothing but the tiles' bins."""
    rows = ([], [])
    asked = {"z": {*range(793), *range((LENGTHS["z"] - 50) // 32, 802)}, "a": {9}}
    for contig, numbers in asked.items():
        for tile, bins in written[1]:
            for at in range(8):
                start = tile.target.start + 32 * at
                if tile.target.chrom == contig and start // 32 in numbers:
                    for track in range(2):
                        end = min(start + 32, LENGTHS[contig])
                        rows[track].append((contig, start, end, bins[at, track]))
    assert len(rows[0]) == 793 + 3 + 1
    return rows


NAMES = ["CAGE_x_4", "cage_x_7"]


@pytest.mark.parametrize("track", [0, 1])
def test_bigwigs_hold_each_bin_once_and_gaps_elsewhere(written, entries, track):
    with pyBigWig.open(str(written[0] / f"{NAMES[track]}.bw")) as file:
        assert list(file.chroms().items()) == list(LENGTHS.items())
        found = [(contig, *entry) for contig in ("z", "a") for entry in file.intervals(contig)]
        assert found == entries[track]
        assert file.intervals("empty") is None
        gap = 32 * 8 * 99 + 5 * 32
        assert np.isnan(file.values("z", gap, gap + 64)).all()
        covered = sum(end - start for _, start, end, _ in entries[track])
        assert file.header()["nBasesCovered"] == covered


def test_bigwigs_have_the_zoom_levels_that_browsers_need(written):
    content = (written[0] / f"{NAMES[0]}.bw").read_bytes()
    magic, version, levels, _, data, index = struct.unpack_from("<IHHQQQ", content)
    assert (magic, version) == (0x888FFC26, 4)
    assert levels >= 1
    reductions = [struct.unpack_from("<IIQQ", content, 64 + 24 * level) for level in range(levels)]
    for reduction, _, _, tree in reductions:
        assert reduction > 32
        assert struct.unpack_from("<I", content, tree) == (0x2468ACE0,)
    assert struct.unpack_from("<I", content, index) == (0x2468ACE0,)
    assert data < index
    with pyBigWig.open(str(written[0] / f"{NAMES[0]}.bw")) as file:
        exact = file.stats("z", 0, 8192, exact=True)[0]
        assert file.stats("z", 0, 8192)[0] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("track", [0, 1])
def test_bedgraphs_are_plain_or_of_bgzip(written, entries, track):
    lines = [f"{contig}\t{start}\t{end}\t{value:.9g}\n" for contig, start, end, value in entries[track]]
    assert (written[0] / f"{NAMES[track]}.bedGraph").read_text() == "".join(lines)
    packed = written[0] / f"{NAMES[track]}.bedGraph.gz"
    assert gzip.decompress(packed.read_bytes()).decode() == "".join(lines)
    pysam.tabix_index(str(packed), preset="bed", force=True)
    with pysam.TabixFile(str(packed)) as file:
        assert [row.split("\t")[1] for row in file.fetch("z", 40, 70)] == ["32", "64"]
    values = [np.float32(line.split("\t")[3]) for line in lines]
    assert values == [row[3] for row in entries[track]]


def test_arrays_hold_whole_windows_with_nan_beyond_the_contig(written):
    folder, tiles = written
    with h5py.File(folder / "predict.h5") as file, np.load(folder / "predict.npz") as arrays:
        for found, text in ((file, lambda values: [value.decode() for value in values[:]]), (arrays, list)):
            assert found["preds"].shape == (len(tiles), 8, 2)
            for row, (tile, bins) in enumerate(tiles):
                inside = -(-min(256, LENGTHS[tile.target.chrom] - tile.target.start) // 32)
                np.testing.assert_array_equal(found["preds"][row][:inside], bins[:inside])
                assert np.isnan(found["preds"][row][inside:]).all()
            assert text(found["chrom"]) == [tile.target.chrom for tile, _ in tiles]
            assert found["start"][:3].tolist() == [0, 256, 512]
            assert found["end"][-2:].tolist() == [LENGTHS["z"], LENGTHS["a"]]
            assert text(found["target_ids"]) == ["CAGE:x", "cage x"]
            assert text(found["target_labels"]) == ["first", "second"]
        assert file.attrs["model"] == "m"
        assert file.attrs["shifts"] == "[0]"
        assert json.loads(str(arrays["about"])) == {"model": "m", "shifts": [0], "bin_size": 32}
        assert np.isnan(file["preds"][:]).any()


def test_what_cannot_say_it_has_a_description_beside(written):
    folder = written[0]
    said = json.loads((folder / "predict.json").read_text())
    assert said["model"] == "m"
    assert said["tracks"][1]["identifier"] == "cage x"
    assert said["tracks"][1]["files"] == [f"cage_x_7{end}" for end in (".bw", ".bedGraph", ".bedGraph.gz")]
    assert {path.name for path in folder.iterdir()} >= {name for t in said["tracks"] for name in t["files"]}
    assert not [path for path in folder.iterdir() if path.name.startswith(".partial")]
    names = file_names(FORMATS, None)
    assert names["h5"] == ["predict.h5"]
    assert names["bigwig"] == []
    assert "description" not in file_names(["h5"], TRACKS)


def test_rows_about_centres_are_as_predicted_also_beyond_contigs(tmp_path):
    tiles = write(tmp_path, ["h5"], list(centred_tiles([Interval("a", 0, 1), Interval("a", 0, 1)], FRAME)))
    with h5py.File(tmp_path / "predict.h5") as file:
        np.testing.assert_array_equal(file["preds"][:], [bins for _, bins in tiles])
        assert file["start"][:].tolist() == [-128, -128]
        assert file["end"][:].tolist() == [128, 128]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_error_leaves_nothing_and_what_was_there_stays(tmp_path, kind):
    write(tmp_path, [kind])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    tile, bins = next(predicted(grid_tiles(REGIONS, LENGTHS, FRAME)))

    def write_half():
        with write_tracks(tmp_path, [kind], TRACKS, FRAME, LENGTHS, 9, {}) as append:
            append(tile, bins)
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("room", [100, 1500])
def test_a_full_disk_is_no_success(tmp_path, room):
    """libBigWig tells nothing of one when it closes a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(DatasetError, match="disk"):
            write(tmp_path, ["bigwig"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_more_files_than_can_be_open_are_refused_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 200))
    with pytest.raises(DatasetError, match=r"200; raise it .* or choose fewer --tracks, or h5"):
        write(tmp_path, ["bigwig"])
    with pytest.raises(DatasetError, match="readers of bigWig take 32767; choose h5"):
        track_files.BigWigs([tmp_path / "x.bw"], dict.fromkeys(map(str, range(40_000)), 9), 32)
