"""Values in the units of the files, against what the datasets do to make them."""

import keras
import numpy as np
import pytest

from enformer_keras.datasets.binning import limit, rescale
from enformer_keras.datasets.tracks import Track
from enformer_keras.prediction import Transformation
from enformer_keras.prediction.transformation import FileUnits

HOW = [
    {"scale": 2.0, "sum_stat": "mean"},
    {"scale": 0.25, "sum_stat": "sum", "clip_soft": 32.0},
    {"scale": 3.0, "sum_stat": "sum_sqrt"},
    {"scale": 0.5, "sum_stat": "mean_sqrt", "clip_soft": 4.0, "clip": 8.0},
]


def test_what_the_datasets_do_is_undone_but_for_hard_clips():
    pooled = np.random.default_rng(0).gamma(0.5, 100, (4, 50))
    pooled[3, 0] = 1e6  # clipped to 8
    tracks = [
        Track(index=at, genome="x", identifier=f"t{at}", file="x.bw", **how) for at, how in enumerate(HOW)
    ]
    made = limit(rescale(pooled, tracks, [track.scale for track in tracks]), tracks)
    assert (made[3] == 8).sum() == 1
    undo = FileUnits([Transformation(**how) for how in HOW])
    found = keras.ops.convert_to_numpy(undo(made.T[np.newaxis].astype(np.float32)))[0].T
    free = made != 8
    np.testing.assert_allclose(found[free], pooled[free], rtol=1e-5)
    assert found[3, 0] < pooled[3, 0]


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ({}, "scale is not known"),
        ({"scale": 0.0}, "scale is 0"),
        ({"scale": 1.0, "sum_stat": "peak"}, "sum_stat is peak"),
        ({"scale": 1.0, "clip": 2.0}, None),
    ],
)
def test_what_cannot_be_undone_is_said(how, fault):
    found = Transformation(**how).find_fault()
    assert found is None if fault is None else fault in found
