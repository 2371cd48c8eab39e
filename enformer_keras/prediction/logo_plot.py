"""Pictures of contributions: letters as high as what their bases contribute, and maps of substitutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.sequence import ALPHABET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

    from enformer_keras.prediction.contributions import Contributions
    from enformer_keras.prediction.mutagenesis import Mutagenesis

# The usual hues (A green, C blue, G orange, T red), in shades for the colour-blind (Okabe and Ito).
COLORS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}
# Inches of the figure for a base, and the figure's narrowest and widest.
_INCHES_PER_BASE = 0.14
_WIDTHS = (5.0, 22.0)
# Bp above which letters are too small to be read; what they are is seen by colour.
_MOST_READABLE = 400


def plot_logo(
    contributions: Contributions | Sequence[Contributions],
    *,
    labels: Sequence[str] = (),
    hypothetical: bool = False,
    effects: Mutagenesis | None = None,
    track: int = 0,
    width: float | None = None,
) -> Figure:
    """Draws contributions as letters, a row for each method or track, over the coordinates of the genome.

    Args:
        contributions: of one region; several are rows over one another, which share the height's scale only if
            they explain the same.
        labels: of the y axes, for each row; else `contribution`.
        hypothetical: whether all four letters stand in each place, as high as what they would contribute.
        effects: of the same region: a map of substitutions is drawn below.
        track: of `effects`, its place among their tracks.
        width: inches of the figure; `None`: by the region's length.

    Returns:
        The figure, for `savefig` (PNG, SVG, PDF).

    Raises:
        ValueError: there is nothing to draw, the regions differ, or not each row has its label.
    """
    with from_extra("command"):
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

    rows = [contributions] if not isinstance(contributions, Sequence) else list(contributions)
    if not rows:
        raise ValueError("contributions=[]: give those of at least one region")
    region = rows[0].interval
    others = [made.interval for made in rows] + ([] if effects is None else [effects.interval])
    if any(other != region for other in others):
        raise ValueError(f"rows are of one region, got {', '.join(sorted({str(other) for other in others}))}")
    if labels and len(labels) != len(rows):
        raise ValueError(f"{len(labels)} labels were given for {len(rows)} rows; give one for each")
    inches = np.clip(_INCHES_PER_BASE * region.width, *_WIDTHS) if width is None else width
    heights = [2.0] * len(rows) + ([1.3] if effects is not None else [])
    figure = Figure(figsize=(float(inches), sum(heights) + 0.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(heights), sharex=True, height_ratios=heights))
    for number, (made, axis) in enumerate(zip(rows, axes, strict=False)):
        drawn = made.hypothetical if hypothetical else made.projected
        draw_letters(axis, drawn, start=region.start)
        axis.set_ylabel(labels[number] if labels else "contribution")
    if effects is not None:
        _draw_effects(figure, axes[-1], effects, track)
    axes[-1].set_xlabel(f"{region.chrom}, position (bp, from 1)")
    for axis in axes:
        axis.set_xlim(region.start + 0.5, region.end + 0.5)
        axis.spines[["top", "right"]].set_visible(False)
    # Whole positions, as many as have room for ten digits.
    axes[-1].xaxis.set_major_locator(MaxNLocator(max(2, int(inches)), integer=True))
    axes[-1].xaxis.set_major_formatter(lambda position, _: f"{position:,.0f}")
    return figure


def draw_letters(axis: Axes, heights: np.ndarray, start: int = 0) -> None:
    """Draws letters on an axis, those above 0 upwards and those below downwards, the smallest next to 0.

    Args:
        axis: where.
        heights: [4, bp], of A, C, G and T.
        start: 0-based position of the first; letters stand about their 1-based positions.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    readable = heights.shape[1] <= _MOST_READABLE
    shapes = _letters() if readable else {}
    bars: dict[str, list[list[tuple[float, float]]]] = {letter: [] for letter in ALPHABET}
    for at in range(heights.shape[1]):
        for sign in (1, -1):
            bottom = 0.0
            for letter in np.argsort(sign * heights[:, at], kind="stable"):
                height = float(heights[letter, at])
                if sign * height <= 0:
                    continue
                left, base = start + at + 0.5, ALPHABET[letter]
                if readable:
                    # A letter below 0 stands upright, its foot farther from 0.
                    foot = bottom if sign > 0 else bottom + height
                    place = Affine2D().scale(1.0, abs(height)).translate(left, foot)
                    axis.add_patch(
                        PathPatch(shapes[base].transformed(place), facecolor=COLORS[base], linewidth=0)
                    )
                else:
                    top = bottom + height
                    bars[base].append([(left, bottom), (left, top), (left + 1, top), (left + 1, bottom)])
                bottom += height
    for base, boxes in bars.items():
        if boxes:
            axis.add_collection(PolyCollection(boxes, facecolors=COLORS[base], linewidths=0, label=base))
    if not readable:
        axis.legend(loc="upper right", ncols=4, frameon=False)
    axis.axhline(0, color="0.3", linewidth=0.6)
    low = float(np.minimum(heights, 0).sum(axis=0).min(initial=0))
    high = float(np.maximum(heights, 0).sum(axis=0).max(initial=0))
    room = 0.05 * (high - low) or 1.0
    axis.set_ylim(low - room if low < 0 else 0, high + room)
    axis.set_xlim(start + 0.5, start + heights.shape[1] + 0.5)


def _letters() -> dict[str, Path]:
    """Returns outlines of the letters that fill a box of 1 by 1, but for a little room on either side."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    shapes = {}
    for letter in ALPHABET:
        outline = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
        box = outline.get_extents()
        fit = Affine2D().translate(-box.x0, -box.y0).scale(0.94 / box.width, 1 / box.height).translate(0.03, 0)
        shapes[letter] = outline.transformed(fit)
    return shapes


def _draw_effects(figure: Figure, axis: Axes, effects: Mutagenesis, track: int) -> None:
    """Draws substitutions as a map, white where nothing changes, grey where the genome has N."""
    from matplotlib import colormaps

    name, values = next(iter(effects.effects.items()))
    shown = values[:, :, track].T
    limit = float(np.nanmax(np.abs(shown), initial=0)) or 1.0
    colors = colormaps["RdBu_r"].with_extremes(bad="0.8")
    region = effects.interval
    image = axis.imshow(
        shown,
        aspect="auto",
        cmap=colors,
        vmin=-limit,
        vmax=limit,
        extent=(region.start + 0.5, region.end + 0.5, 3.5, -0.5),
        interpolation="nearest",
    )
    own = [(at, ALPHABET.index(base)) for at, base in enumerate(effects.sequence) if base in ALPHABET]
    axis.plot(
        [region.start + 1 + at for at, _ in own],
        [letter for _, letter in own],
        linestyle="none",
        marker=".",
        markersize=2,
        color="0.4",
    )
    axis.set_yticks(range(4), list(ALPHABET))
    axis.set_ylabel("put there")
    figure.colorbar(image, ax=axis, pad=0.01, label=f"{name}, {effects.tracks[track].identifier}")
