"""Tracks along the genome: what was measured as grey bins, what is predicted as a red line.

A picture has a panel for each track, one below the other. No state of matplotlib's is shared or changed.
"""

from __future__ import annotations

import io
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.position_axis import lay_out

_NAME_WIDTH, _NAME_LINES = 16, 3  # of a panel's name, which stands beside it


def make_panels(panels: int, width: float, height: float, genes: float = 0) -> tuple[Figure, list[Axes]]:
    """Makes an empty picture.

    Args:
        panels: their number, at least 1.
        width: of the picture, in inches.
        height: of a panel, in inches.
        genes: height of one more panel for genes, below the others; 0: there is none.

    Returns:
        The picture, and its panels from above.
    """
    heights = [height] * panels + [genes] * bool(genes)
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    rows = list(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    for row in rows:
        row.spines[["top", "right"]].set_visible(False)
        row.tick_params(labelsize=8)
    return figure, rows


def draw_bins(
    panel: Axes, edges: np.ndarray, measured: np.ndarray, predicted: np.ndarray | None = None
) -> None:
    """Draws bins side by side.

    Args:
        panel: where.
        edges: of the bins, [bins + 1].
        measured: [bins].
        predicted: [bins], at the bins' centres; none where nothing is predicted.
    """
    panel.stairs(measured, edges, fill=True, color="0.75", label="measured")
    if predicted is not None:
        centres = (edges[1:] + edges[:-1]) / 2
        panel.plot(centres, predicted, color="tab:red", linewidth=1.2, label="predicted")


def draw_interval(
    panel: Axes, interval: Interval, measured: np.ndarray, predicted: np.ndarray | None = None
) -> None:
    """Draws the bins that an interval is divided into, at their places in the genome.

    Args:
        panel: where.
        interval: what the bins cover.
        measured: [bins].
        predicted: as for `draw_bins`.
    """
    draw_bins(panel, np.linspace(interval.start, interval.end, len(measured) + 1), measured, predicted)
    lay_out(panel, interval)


def name_panel(panel: Axes, name: str, unit: str = "") -> None:
    """Writes a name beside a panel, a long one in several lines, so that it is not cut off.

    Args:
        panel: whose.
        name: any text.
        unit: of the values, below it.
    """
    lines = textwrap.wrap(name, _NAME_WIDTH, max_lines=_NAME_LINES, placeholder=" ...")
    panel.set_ylabel("\n".join([*lines, *([unit] if unit else [])]), fontsize=8, parse_math=False)


def encode_png(figure: Figure, dpi: int) -> bytes:
    """Returns a picture as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
