import numpy as np
import pytest

from enformer_keras.formats.genes import Gene
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.contributions import Contributions
from enformer_keras.prediction.locus_plot import plot_locus


def gene(name, start, end, strand="+", chrom="c1"):
    return Gene(name, name, chrom, strand, start, end, start, (start,), ((start, end),), "exon")


HERE = Interval("c1", 1000, 1800)
RNG = np.random.default_rng(2)
R, A = RNG.random((2, 8, 2))


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_bins_stand_at_their_places_and_the_difference_below_them():
    figure = plot_locus(HERE, ["first", "second"], R, A, marked=Interval("c1", 1400, 1401))
    assert [panel.get_ylabel() for panel in figure.axes] == ["first", "ALT - REF", "second", "ALT - REF"]
    reference, alternate = figure.axes[2].patches
    np.testing.assert_array_equal(reference.get_data().values, R[:, 1])
    np.testing.assert_array_equal(alternate.get_data().values, A[:, 1])
    np.testing.assert_array_equal(reference.get_data().edges, np.arange(1000, 1801, 100))
    more, less = figure.axes[3].patches
    np.testing.assert_allclose(more.get_data().values + less.get_data().values, (A - R)[:, 1])
    assert all(panel.get_xlim() == (1000, 1800) for panel in figure.axes)


def test_genes_that_overlap_have_rows_of_their_own_and_none_is_lost_silently():
    genes = [gene("one", 900, 1300), gene("two", 1200, 1500, "-"), gene("three", 1600, 1900)]
    genes += [gene("elsewhere", 1200, 1300, chrom="c2"), gene("beyond", 1800, 1900)]
    figure = plot_locus(HERE, ["first"], R[:, :1], genes=genes)
    assert texts(figure.axes[-1]) == ["one >", "three >", "< two"]
    assert figure.axes[-1].get_ylabel() == "genes"
    crowded = plot_locus(HERE, ["first"], R[:, :1], genes=[gene(str(n), 1000, 1800) for n in range(9)])
    assert crowded.axes[-1].get_ylabel() == "genes\n(3 not drawn)"


@pytest.mark.parametrize("width", [5, 9])
def test_names_of_genes_stay_in_the_panel_and_off_one_another(width):
    genes = [
        gene("AAA" * length, start, start + 40, "-") for start in (970, 1500, 1760) for length in (1, 2, 4)
    ]
    genes += [gene("AAAA", 1650, 1700), gene("AA", 1790, 1900)]
    figure = plot_locus(HERE, ["first"], R[:, :1], genes=genes, width=width)
    figure.canvas.draw()
    panel = figure.axes[-1]
    boxes = [text.get_window_extent() for text in panel.texts]
    assert len(boxes) == len(genes)
    assert min(box.x0 for box in boxes) >= panel.bbox.x0 - 1
    assert max(box.x1 for box in boxes) <= panel.bbox.x1 + 1
    for number, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:number])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 tracks"):
        plot_locus(HERE, ["first"], R)
    with pytest.raises(ValueError, match="1 tracks"):
        plot_locus(HERE, ["first"], R[:, :1], A)


def test_contributions_stand_as_letters_at_their_positions():
    region = Interval("c1", 1390, 1400)
    hypothetical = RNG.normal(size=(4, 10)).astype("float32")
    explained = Contributions(region, "ACGTNACGTA", hypothetical, value=1.0)
    marked = Interval("c1", 1395, 1396)
    figure = plot_locus(HERE, ["first"], R[:, :1], marked=marked, contributions=explained)
    panel = figure.axes[-1]
    assert panel.get_xlim() == (1390.5, 1400.5)
    letters = [
        patch.get_path().get_extents() for patch in panel.patches if patch.get_facecolor()[:3] != (0.9,) * 3
    ]
    assert len(letters) == 9  # the N contributes nothing
    heights = explained.projected.sum(axis=0)
    np.testing.assert_allclose(
        sorted(box.height for box in letters), sorted(np.abs(heights[heights != 0])), rtol=1e-5
    )
    assert min(box.x0 for box in letters) > 1390.5
    assert max(box.x1 for box in letters) < 1400.5
