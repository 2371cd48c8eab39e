"""Where tracks are drawn, and what is written beside them."""

import numpy as np
import pytest

from components.track_plot.draw import draw_bins, draw_interval, encode_png, make_panels, name_panel
from enformer_keras.formats.intervals import Interval


@pytest.mark.parametrize(
    ("start", "bins", "bin_size", "unit", "label"),
    [
        (4_612_000, 112, 128, "kb", "4,614"),
        (-50, 6, 8, "bp", "-40"),
        (12_000_000, 1_000, 3_000, "Mb", "12.5"),
    ],
)
def test_bins_lie_where_they_are_in_the_genome(start, bins, bin_size, unit, label):
    figure, (panel,) = make_panels(1, 10, 2)
    interval = Interval("chr_$1$", start, start + bins * bin_size)
    values = np.arange(bins)
    draw_interval(panel, interval, values, values / 2)
    (steps,), (line,) = panel.patches, panel.lines
    np.testing.assert_allclose(steps.get_data().edges, start + bin_size * np.arange(bins + 1))
    np.testing.assert_allclose(line.get_xdata(), start + bin_size * (np.arange(bins) + 0.5))
    assert panel.get_xlim() == (interval.start, interval.end)
    assert panel.get_xlabel() == f"chr_$1$, {unit}"
    assert encode_png(figure, 50).startswith(b"\x89PNG")
    assert label in [text.get_text().replace("\u2212", "-") for text in panel.get_xticklabels()]


def test_genes_have_a_panel_of_their_height():
    figure, panels = make_panels(2, 10, 1.5, genes=0.5)
    encode_png(figure, 50)
    assert len(panels) == 3
    assert figure.get_figheight() == 3.5
    assert panels[2].bbox.height < panels[1].bbox.height


def test_what_is_not_predicted_is_not_drawn():
    _, (panel, _) = make_panels(2, 10, 2)
    draw_bins(panel, np.arange(4), np.ones(3))
    assert not panel.lines


def test_a_long_name_is_wholly_within_the_picture():
    figure, (panel, other) = make_panels(2, 10, 1.5)
    name_panel(panel, "ENCFF833POA_" * 5, "tracks")
    name_panel(other, "x")
    encode_png(figure, 100)  # matplotlib's own resolution, in whose pixels it tells places
    box = panel.yaxis.label.get_window_extent()
    assert box.x0 >= 0
    assert figure.bbox.height / 2 - 5 <= box.y0
    assert box.y1 <= figure.bbox.height
    assert panel.get_ylabel().endswith("...\ntracks")
    assert other.get_ylabel() == "x"
