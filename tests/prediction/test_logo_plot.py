"""Logos: which letters stand where and how high, not how they look."""

import numpy as np
import pytest

from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.asking import PredictedTrack
from enformer_keras.prediction.contributions import Contributions
from enformer_keras.prediction.logo_plot import COLORS, draw_letters, plot_logo
from enformer_keras.prediction.mutagenesis import Mutagenesis

matplotlib = pytest.importorskip("matplotlib")

REGION = Interval("c1", 100, 104)
HYPOTHETICAL = np.array([[2, 0, 0, -1], [0, 0.5, 1, 0.25], [-1, -0.5, 0, 0.75], [-1, 0, -1, 0]], np.float32)
MADE = Contributions(REGION, "AGNA", HYPOTHETICAL, value=1.0)


def boxes(axis):
    """(letter, left, bottom, top) of all letters."""
    names = {matplotlib.colors.to_rgba(color): letter for letter, color in COLORS.items()}
    found = []
    for patch in axis.patches:
        extents = patch.get_path().get_extents()
        left = round(extents.x0 - 0.03, 3)
        found.append((names[patch.get_facecolor()], left, *np.round([extents.y0, extents.y1], 3).tolist()))
    return sorted(found, key=lambda box: box[1:])


def test_letters_are_as_high_as_contributions_and_stand_at_positions_from_1():
    (axis,) = plot_logo(MADE).axes
    assert boxes(axis) == [("A", 100.5, 0, 2), ("G", 101.5, -0.5, 0), ("A", 103.5, -1, 0)]
    assert axis.get_xlim() == (100.5, 104.5)
    assert "c1" in axis.get_xlabel()


def test_stacks_grow_from_0_both_ways_the_smallest_first():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    draw_letters(axis, HYPOTHETICAL)
    last = [box for box in boxes(axis) if box[1] == 3.5]
    assert last == [("A", 3.5, -1, 0), ("C", 3.5, 0, 0.25), ("G", 3.5, 0.25, 1.0)]
    assert axis.get_ylim()[0] < -2 < 2 < axis.get_ylim()[1]


def test_long_regions_are_bars_of_the_same_heights():
    long = Contributions(
        Interval("c1", 0, 500), "A" * 500, np.repeat(HYPOTHETICAL[:, :1], 500, axis=1), value=1.0
    )
    (axis,) = plot_logo(long).axes
    assert not axis.patches
    (bars,) = axis.collections
    assert len(bars.get_paths()) == 500
    assert bars.get_paths()[7].get_extents().bounds == (7.5, 0, 1, 2)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_rows_and_a_map_of_substitutions_are_saved(tmp_path, kind):
    effects = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4, 1)
    effects[2] = np.nan
    mutated = Mutagenesis(REGION, "AGNA", {"SAD": effects}, (PredictedTrack(0, "chip", "", 0),))
    figure = plot_logo([MADE, MADE], labels=["one", "other"], effects=mutated)
    assert [axis.get_ylabel() for axis in figure.axes[:3]] == ["one", "other", "put there"]
    image = figure.axes[2].images[0]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), effects[:, :, 0].T)
    figure.savefig(tmp_path / f"logo.{kind}")
    assert (tmp_path / f"logo.{kind}").stat().st_size > 1000


def test_what_cannot_be_drawn():
    other = Contributions(Interval("c1", 0, 4), "AGNA", HYPOTHETICAL, value=1.0)
    for rows, options, problem in (
        ([], {}, "at least one"),
        ([MADE, other], {}, "one region"),
        (MADE, {"labels": ["a", "b"]}, "2 labels"),
    ):
        with pytest.raises(ValueError, match=problem):
            plot_logo(rows, **options)
