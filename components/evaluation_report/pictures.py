"""The report's pictures, as PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker

from components.evaluation_report.curves import Curves
from components.evaluation_report.signal import Signal
from components.track_plot.draw import draw_interval, encode_png, make_panels, name_panel

# Of a page's pictures: in a column of 900 pixels the letters are as large as the text's.
WIDTH = 7.5  # inches
DPI = 120
# Assays that get a histogram of their own: matplotlib draws no picture of any height.
MOST_ASSAYS = 12


def draw_curves(curves: Curves) -> bytes:
    """Draws a panel for each curve, with a line for each phase."""
    figure, panels = make_panels(len(curves), WIDTH, 1.6)
    for panel, (name, phases) in zip(panels, sorted(curves.items()), strict=True):
        for phase, points in sorted(phases.items()):
            panel.plot(points[:, 0], points[:, 1], marker=".", label=phase)
        name_panel(panel, name)
        panel.legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel("step", fontsize=8)
    return encode_png(figure, DPI)


def draw_histograms(values: np.ndarray, assays: Sequence[str], metric: str) -> bytes:
    """Draws how a figure is spread over the tracks of each assay, of those with the most tracks.

    Args:
        values: [tracks]; NaN is left out.
        assays: assay of each track; the tracks of those beyond `MOST_ASSAYS` are drawn together.
        metric: name of the figure.
    """
    tracks = Counter(assays)
    if len(tracks) > MOST_ASSAYS:
        shown = {assay for assay, _ in tracks.most_common(MOST_ASSAYS - 1)}
        assays = [assay if assay in shown else f"{len(tracks) - len(shown)} others" for assay in assays]
    names = list(dict.fromkeys(assays))
    figure, panels = make_panels(len(names), WIDTH, 1.1 + 0.4 / len(names))
    defined = values[~np.isnan(values)]
    edges: list[float] | int = np.histogram_bin_edges(defined, bins=40).tolist() if defined.size else 1
    for panel, assay in zip(panels, names, strict=True):
        own = values[np.array(assays) == assay]
        panel.hist(own[~np.isnan(own)], bins=edges, color="tab:blue")
        if panel is not panels[-1]:
            panel.sharex(panels[-1])
            panel.tick_params(labelbottom=False)
        name_panel(panel, assay, "tracks")
        panel.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panels[-1].set_xlabel(metric, fontsize=8)
    return encode_png(figure, DPI)


def draw_signals(signals: Sequence[Signal], titles: Mapping[int, str]) -> bytes:
    """Draws measured and predicted signal at its place in the genome, a panel for each.

    Args:
        signals: of some tracks.
        titles: track -> title of its panel.
    """
    figure, panels = make_panels(len(signals), WIDTH, 1.5)
    for panel, signal in zip(panels, signals, strict=True):
        draw_interval(panel, signal.target, signal.measured, signal.predicted)
        panel.set_title(
            f"{titles[signal.track]}, over {signal.target}", fontsize=8, loc="left", parse_math=False
        )
    panels[0].legend(frameon=False, fontsize=8, ncols=2)
    return encode_png(figure, DPI)
