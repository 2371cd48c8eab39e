"""Genes along an interval: boxes for exons, names below them, in rows that nothing overlaps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from enformer_keras.formats.genes import Gene
from enformer_keras.formats.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOUR = "0.25"
_ROW = 0.24  # height, in inches
# Of genes that overlap, more rows than this are not drawn, but counted.
_MOST_ROWS = 6
# Letters of a name that an inch of the picture's width surely holds.
_LETTERS_PER_INCH = 12


@dataclasses.dataclass(frozen=True)
class GeneRows:
    """Genes of an interval, and where their names go.

    Attributes:
        interval: what the panel covers.
        rows: from above; in none of them does a gene overlap another or its name.
        letter: bp that a letter of a name takes.
        left_out: genes for which there was no room.
    """

    interval: Interval
    rows: tuple[tuple[Gene, ...], ...]
    letter: float
    left_out: int

    @property
    def height(self) -> float:
        """Of the panel, in inches."""
        return _ROW * len(self.rows) + 0.15


def gene_rows(genes: Sequence[Gene], interval: Interval, width: float) -> GeneRows:
    """Puts genes into rows.

    Args:
        genes: of any contigs; those that overlap the interval are taken.
        interval: what the panel covers.
        width: of the picture, in inches.

    Returns:
        The rows; none where no gene overlaps the interval.
    """
    here = [
        gene
        for gene in genes
        if gene.chrom == interval.chrom and gene.start < interval.end and gene.end > interval.start
    ]
    letter = interval.width / (_LETTERS_PER_INCH * width)
    rows: list[list[Gene]] = []
    ends: list[float] = []
    left_out = 0
    for gene in sorted(here, key=lambda gene: gene.start):
        start, end = _span(gene, interval, letter)
        row = next((number for number, taken in enumerate(ends) if taken <= start), len(ends))
        if row == _MOST_ROWS:
            left_out += 1
            continue
        if row == len(ends):
            rows.append([])
            ends.append(end)
        rows[row].append(gene)
        ends[row] = end + letter
    return GeneRows(interval, tuple(map(tuple, rows)), letter, left_out)


def draw_genes(panel: Axes, found: GeneRows) -> None:
    """Draws genes with their exons and names; limits of positions are the caller's.

    Args:
        panel: where.
        found: of `gene_rows`.
    """
    interval = found.interval
    for height, row in enumerate(found.rows):
        for gene in row:
            start, end = max(gene.start, interval.start), min(gene.end, interval.end)
            panel.plot([start, end], [height, height], color=_COLOUR, linewidth=0.8, solid_capstyle="butt")
            exons = [(first, last - first) for first, last in gene.exons]
            panel.broken_barh(exons, (height - 0.16, 0.32), color=_COLOUR)
            # A name that would cross the right edge ends there instead.
            crosses = start + found.letter * len(_label(gene)) > interval.end
            panel.text(
                interval.end if crosses else start,
                height + 0.2,
                _label(gene),
                fontsize=7,
                va="top",
                ha="right" if crosses else "left",
                parse_math=False,
            )
    panel.set_ylim(len(found.rows) - 0.3, -0.45)
    panel.set_yticks([])
    panel.set_ylabel("genes" if not found.left_out else f"genes\n({found.left_out} not drawn)", fontsize=8)
    panel.spines["left"].set_visible(False)


def _label(gene: Gene) -> str:
    return {"+": f"{gene.name} >", "-": f"< {gene.name}"}.get(gene.strand, gene.name)


def _span(gene: Gene, interval: Interval, letter: float) -> tuple[float, float]:
    """Returns where a gene and its name begin and end."""
    room = letter * len(_label(gene))
    start = max(gene.start, interval.start)
    return min(start, interval.end - room), min(max(gene.end, start + room), interval.end)
