import numpy as np
import pytest

from enformer_keras import open_model
from enformer_keras.prediction.asking import PredictedTrack
from enformer_keras.prediction.strand_pairs import SummedPairs
from enformer_keras.prediction.transformation import Transformation
from tests.prediction.test_opening import BASES, model, run  # noqa: F401 (fixtures)

TRACKS = [
    PredictedTrack(0, "cage+", "CAGE", 3, Transformation(scale=2.0)),
    PredictedTrack(1, "dnase", "DNASE", 1, Transformation(scale=3.0)),
    PredictedTrack(2, "rna-", "RNA -", 4),
    PredictedTrack(3, "cage-", "CAGE", 0, Transformation(scale=2.0)),
    PredictedTrack(4, "rna+", "RNA +", 2),
]


def test_pairs_become_one_track_in_the_place_of_their_first():
    summed = SummedPairs(TRACKS)
    values = np.arange(10.0, dtype="float32").reshape(2, 5)
    np.testing.assert_array_equal(summed(values), [[3, 1, 6], [13, 6, 16]])
    assert [
        (track.index, track.identifier, track.description, track.strand_pair) for track in summed.tracks
    ] == [
        (0, "cage++cage-", "CAGE", 0),
        (1, "dnase", "DNASE", 1),
        (2, "rna-+rna+", "RNA - + RNA +", 2),
    ]
    assert [track.transformation.scale for track in summed.tracks] == [2, 3, None]


def test_an_opened_model_adds_them_before_all_else(model, run, tmp_path):  # noqa: F811
    kept = open_model(run, head="ecoli")
    summed = open_model(run, head="ecoli", sum_strand_pairs=True)
    assert [track.identifier for track in summed.tracks] == ["chip_1", "chip_2", "cds++cds-"]
    by_track = kept.predict([BASES])[0]
    expected = np.stack([by_track[:, 0], by_track[:, 1], by_track[:, 2] + by_track[:, 3]], axis=1)
    np.testing.assert_allclose(summed.predict([BASES])[0], expected, rtol=1e-6)


def test_sizes_are_not_said_twice(run):  # noqa: F811
    for path in (run, run / "pushed/10/assets.extra/model.keras"):
        with pytest.raises(ValueError, match="says its own sizes"):
            open_model(path, head="ecoli", preset="tiny")
