"""Pictures of a locus: predictions of reference and alternative allele, genes, contributions as letters."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.genes import Gene
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.gene_plot import draw_genes, gene_rows
from enformer_keras.prediction.position_axis import lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from enformer_keras.prediction.contributions import Contributions

# Told apart by people who do not see red or green, and in grey print.
_REFERENCE, _ALTERNATE = "0.72", "#0b3c6f"
_MORE, _LESS = "#d55e00", "#0072b2"
# Heights of panels, in inches.
_TRACK, _DIFFERENCE, _LETTERS = 1.15, 0.7, 1.3
_NAME_WIDTH = 18
# Of the track's largest value, the least that a panel of differences shows.
_LEAST_DIFFERENCE = 0.05


def plot_locus(
    interval: Interval,
    tracks: Sequence[str],
    reference: np.ndarray,
    alternate: np.ndarray | None = None,
    *,
    marked: Interval | None = None,
    genes: Sequence[Gene] = (),
    contributions: Contributions | None = None,
    title: str = "",
    width: float = 9.0,
) -> Figure:
    """Draws predictions along the genome, a panel for each track, and below it the difference.

    Args:
        interval: what the bins cover.
        tracks: name of each track.
        reference: predictions, float [bins, tracks].
        alternate: those of the other allele; `None`: there is none, and no difference.
        marked: the variant; drawn as a line through all panels.
        genes: drawn where they overlap the interval, their exons thick.
        contributions: of the bases of a region, drawn as letters along an axis of its own.
        title: above all.
        width: of the picture, in inches.

    Returns:
        A matplotlib figure (`savefig`); no global state of matplotlib's is used.

    Raises:
        ValueError: shapes do not fit one another.
    """
    if reference.shape[1:] != (len(tracks),) or (alternate is not None and alternate.shape != reference.shape):
        shapes = [reference.shape, *([] if alternate is None else [alternate.shape])]
        raise ValueError(f"predictions of {shapes} are not [bins, tracks] of {len(tracks)} tracks")
    with from_extra("command"):
        from matplotlib.figure import Figure

    found = gene_rows(genes, interval, width)
    heights: list[float] = []
    draws: list[Callable[[Axes], None]] = []
    edges = np.linspace(interval.start, interval.end, len(reference) + 1)
    for number, name in enumerate(tracks):
        r, a = reference[:, number], None if alternate is None else alternate[:, number]
        heights.append(_TRACK)
        draws.append(functools.partial(_draw_track, edges=edges, r=r, a=a, name=name))
        if a is not None:
            heights.append(_DIFFERENCE)
            draws.append(
                functools.partial(_draw_difference, edges=edges, difference=a - r, size=float(r.max()))
            )
    if found.rows:
        heights.append(found.height)
        draws.append(functools.partial(draw_genes, found=found))
    along_genome = len(draws)
    if contributions is not None:
        heights.append(_LETTERS)

    figure = Figure(figsize=(width, sum(heights) + 0.75), layout="constrained")
    panels = list(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    for panel, draw in zip(panels, draws, strict=False):
        draw(panel)
    for number, panel in enumerate(panels):
        panel.spines[["top", "right"]].set_visible(False)
        if number < along_genome:
            lay_out(panel, interval, named=number == along_genome - 1)
            if marked is not None:
                middle = (marked.start + marked.end) / 2
                panel.axvline(middle, color="0.2", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    if contributions is not None:
        from enformer_keras.prediction.logo_plot import draw_letters

        region = contributions.interval
        draw_letters(panels[-1], contributions.projected, region.start)
        if marked is not None:  # letters stand about their positions, counted from 1
            panels[-1].axvspan(marked.start + 0.5, marked.end + 0.5, color="0.9", linewidth=0, zorder=0)
        panels[-1].set_ylabel("contribution", fontsize=8)
        lay_out(panels[-1], region, named=True)
        panels[-1].set_xlim(region.start + 0.5, region.end + 0.5)
    if alternate is not None:
        panels[0].legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.1
        )
    if title:
        figure.suptitle(title, fontsize=10, x=0.01, ha="left", parse_math=False)
    return figure


def _draw_track(panel: Axes, edges: np.ndarray, r: np.ndarray, a: np.ndarray | None, name: str) -> None:
    panel.stairs(r, edges, fill=True, color=_REFERENCE, label="REF")
    if a is not None:
        panel.stairs(a, edges, color=_ALTERNATE, linewidth=1.1, label="ALT", baseline=None)
    panel.set_ylim(bottom=min(0.0, float(r.min())))
    panel.set_ylabel("\n".join(textwrap.wrap(name, _NAME_WIDTH, max_lines=4)), fontsize=8, parse_math=False)


def _draw_difference(panel: Axes, edges: np.ndarray, difference: np.ndarray, size: float) -> None:
    """Draws a difference; one that is small beside the track's size looks small."""
    panel.stairs(np.maximum(difference, 0), edges, fill=True, color=_MORE)
    panel.stairs(np.minimum(difference, 0), edges, fill=True, color=_LESS)
    panel.axhline(0, color="0.4", linewidth=0.6)
    low, high = panel.get_ylim()
    if high - low < _LEAST_DIFFERENCE * size:
        panel.set_ylim(low - _LEAST_DIFFERENCE * size / 2, high + _LEAST_DIFFERENCE * size / 2)
    panel.set_ylabel("ALT - REF", fontsize=8)
