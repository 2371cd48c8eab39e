"""A disk that is full: each HDF5 file of results is an error in a line, and nothing is left of it."""

import resource

import h5py
import numpy as np
import pytest

from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.variants import Variant
from enformer_keras.prediction.allele_track_files import write_allele_tracks
from enformer_keras.prediction.alleles import Status
from enformer_keras.prediction.asking import PredictedTrack, VariantPrediction, VariantScores
from enformer_keras.prediction.background import calibrate
from enformer_keras.prediction.contribution_files import write_contributions, write_mutagenesis
from enformer_keras.prediction.contributions import Contributions
from enformer_keras.prediction.mutagenesis import Mutagenesis
from enformer_keras.prediction.row_files import write_rows
from enformer_keras.prediction.tiling import grid_tiles
from enformer_keras.prediction.track_files import write_tracks
from enformer_keras.prediction.windows import Frame

LIMIT = 50_000  # bytes of a file
TRACKS = [PredictedTrack(0, "a", "", 0), PredictedTrack(1, "b", "", 1)]
FRAME = Frame(1024, 512, 2)
LENGTHS = {"c": 64 * 1024}
REGION = Interval("c", 0, 400)
NUMBERS = np.random.default_rng(0)


def numbers(*shape):
    return NUMBERS.normal(size=shape).astype("float32")


def tiles(folder):
    some = list(grid_tiles([Interval("c", 0, LENGTHS["c"])], LENGTHS, FRAME))
    with write_tracks(folder, ["h5"], TRACKS, FRAME, LENGTHS, len(some), {}) as append:
        for tile in some:
            append(tile, numbers(FRAME.target_length, 2))


def alleles(folder):
    variants = [Variant("c", 2000 + at, "A", "C") for at in range(20)]
    with write_allele_tracks(folder, "h5", variants, TRACKS, FRAME, LENGTHS, {}) as append:
        for variant in variants:
            bins = numbers(2, FRAME.target_length, 2)
            predicted = VariantPrediction(Interval("c", 1488, 2512), *bins, tuple(TRACKS))
            append(
                VariantScores((variant,), (Status.SCORED,), {}, tuple(TRACKS), predictions=(predicted,)),
            )


def contributions(folder):
    with write_contributions(folder, ["h5"], 40, REGION.width, LENGTHS, {}) as append:
        for _ in range(40):
            append(Contributions(REGION, "A" * REGION.width, numbers(4, REGION.width), 1.0))


def mutagenesis(folder):
    with write_mutagenesis(folder, ["h5"], TRACKS, ["SAD"], {}) as append:
        for _ in range(20):
            append(Mutagenesis(REGION, "A" * REGION.width, {"SAD": numbers(REGION.width, 4, 2)}, tuple(TRACKS)))


def rows(folder):
    with write_rows(folder, "genes", ["h5"], {"name": str}, TRACKS, {"sums": "sum(R)"}, {}) as append:
        for _ in range(40):
            append({"name": ["g"] * 500}, {"sums": numbers(500, 2)})


def background(folder):
    folder.mkdir()
    return calibrate(folder.parent / "scores.h5", folder / "background.h5")


@pytest.fixture
def scores(tmp_path):
    with h5py.File(tmp_path / "scores.h5", "w") as file:
        file["target_ids"] = np.array(["a", "b"], dtype=h5py.string_dtype())
        file["SAD"] = numbers(20_000, 2)
        file["SAD"].attrs["formula"] = "sum(A - R)"


@pytest.mark.parametrize("write", [tiles, alleles, contributions, mutagenesis, rows, background])
def test_no_room_is_one_error_and_leaves_nothing(write, scores, tmp_path, capfd):
    write(tmp_path / "enough")
    made = next((tmp_path / "enough").glob("*.h5"))
    assert made.stat().st_size > LIMIT
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: .*{made.name}"):
            write(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "full").iterdir())
    assert capfd.readouterr().err == ""
