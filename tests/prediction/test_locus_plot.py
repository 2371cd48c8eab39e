import dataclasses

import numpy as np
import pytest

from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.locus_plot import plot_locus


@dataclasses.dataclass(frozen=True)
class Gene:
    name: str
    strand: str
    span: Interval
    exons: tuple[Interval, ...]


def gene(name, start, end, strand="+", chrom="c1"):
    span = Interval(chrom, start, end)
    return Gene(name, strand, span, (span,))


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


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 tracks"):
        plot_locus(HERE, ["first"], R)
    with pytest.raises(ValueError, match="1 tracks"):
        plot_locus(HERE, ["first"], R[:, :1], A)
    with pytest.raises(ValueError, match="come together"):
        plot_locus(HERE, ["first"], R[:, :1], contributions=np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"not \[6, 4\]"):
        plot_locus(HERE, ["first"], R[:, :1], contributions=np.zeros((5, 4)), explained=Interval("c1", 0, 6))
