"""The report's pictures, as PNG."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from components.evaluation_report.pictures import DPI, MOST_ASSAYS, WIDTH
from components.track_plot.draw import encode_png, make_panels, name_panel
from components.variant_scorer.reading import EDGES, RANKED_BY, Spread

# Of the bins that scores are counted in, so many are drawn as one.
_DRAWN_TOGETHER = 5


def draw_spreads(spreads: Mapping[str, Spread]) -> bytes:
    """Draws how large scores are, a panel for each assay, of those with the most tracks.

    Args:
        spreads: assay -> its tracks' scores.

    Returns:
        PNG.
    """
    shown = sorted(spreads, key=lambda assay: -spreads[assay].tracks)[:MOST_ASSAYS]
    figure, panels = make_panels(len(shown), WIDTH, 1.2 + 0.5 / len(shown))
    edges = EDGES[::_DRAWN_TOGETHER]
    drawn = {
        assay: [
            np.add.reduceat(counts, np.arange(0, len(counts), _DRAWN_TOGETHER))
            for counts in (spreads[assay].more, spreads[assay].less)
        ]
        for assay in shown
    }
    used = np.flatnonzero(np.sum([more + less for more, less in drawn.values()], axis=0))
    for panel, (assay, (more, less)) in zip(panels, drawn.items(), strict=True):
        panel.stairs(more, edges, color="#d55e00", linewidth=1.4, label="ALT raises the signal")
        panel.stairs(less, edges, color="#0072b2", linewidth=1.4, label="ALT lowers it")
        panel.set_xscale("log")
        if used.size:
            panel.set_xlim(edges[used[0]], edges[used[-1] + 1])
        if panel is not panels[-1]:
            panel.tick_params(labelbottom=False)
        name_panel(panel, assay, "scores")
    panels[0].legend(frameon=False, fontsize=8, loc="upper left")
    panels[-1].set_xlabel(f"|{RANKED_BY}| of a variant and a track", fontsize=8)
    return encode_png(figure, DPI)
