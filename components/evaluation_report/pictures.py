"""The report's pictures, as PNG."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import figure as mpl_figure

from components.evaluation_report.curves import Curves
from components.evaluation_report.signal import Signal

WIDTH = 10  # inches
# Assays that get a histogram of their own: matplotlib draws no picture of any height.
MOST_ASSAYS = 12


def _png(figure: mpl_figure.Figure) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def draw_curves(curves: Curves) -> bytes:
    """Draws a panel for each curve, with a line for each phase."""
    figure = mpl_figure.Figure(figsize=(WIDTH, 2.2 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for panel, (name, phases) in zip(panels, sorted(curves.items()), strict=True):
        for phase, points in sorted(phases.items()):
            panel.plot(points[:, 0], points[:, 1], marker=".", label=phase)
        panel.set_ylabel(name)
        panel.legend(frameon=False)
    panels[-1].set_xlabel("step")
    return _png(figure)


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
    figure = mpl_figure.Figure(figsize=(WIDTH, 1.5 * len(names) + 0.4), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    defined = values[~np.isnan(values)]
    edges = np.histogram_bin_edges(defined, bins=40) if defined.size else 1
    for panel, assay in zip(panels, names, strict=True):
        own = values[np.array(assays) == assay]
        panel.hist(own[~np.isnan(own)], bins=edges, color="tab:blue")
        panel.set_ylabel(f"{assay}\ntracks", parse_math=False)
        panel.yaxis.get_major_locator().set_params(integer=True)
    panels[-1].set_xlabel(metric)
    return _png(figure)


def draw_signals(signals: Sequence[Signal], titles: Mapping[int, str]) -> bytes:
    """Draws measured and predicted signal, a panel for each.

    Args:
        signals: of some tracks.
        titles: track -> title of its panel.
    """
    figure = mpl_figure.Figure(figsize=(WIDTH, 1.7 * len(signals)), layout="constrained")
    for panel, signal in zip(figure.subplots(len(signals), 1, squeeze=False)[:, 0], signals, strict=True):
        panel.stairs(signal.measured, fill=True, color="0.75", label="measured")
        panel.plot(np.arange(len(signal.predicted)) + 0.5, signal.predicted, color="tab:red", label="predicted")
        panel.set_title(
            f"{titles[signal.track]}, bins of {signal.window}", fontsize=9, loc="left", parse_math=False
        )
        panel.margins(x=0)
    figure.axes[0].legend(frameon=False, ncols=2)
    return _png(figure)
