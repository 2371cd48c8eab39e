"""The axis of a picture that runs along the genome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enformer_keras.formats.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Widest interval, in bp, whose positions are in a unit; the unit; its name.
_UNITS = ((2_000, 1, "bp"), (2_000_000, 1_000, "kb"), (float("inf"), 1_000_000, "Mb"))


def lay_out(panel: Axes, interval: Interval, *, named: bool = True) -> None:
    """Sets a panel's positions and says them below it.

    Args:
        panel: where.
        interval: what the panel covers.
        named: whether they are said; of some panels in a column only the lowest says them.
    """
    panel.set_xlim(interval.start, interval.end)
    panel.tick_params(labelsize=8, labelbottom=named)
    if named:
        size, unit = next((size, unit) for widest, size, unit in _UNITS if interval.width < widest)
        panel.xaxis.set_major_formatter(lambda position, _: f"{position / size:,.10g}")
        panel.set_xlabel(f"{interval.chrom}, {unit}", fontsize=8, parse_math=False)
