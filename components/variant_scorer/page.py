"""The report as one HTML page."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluation_report.pictures import draw_histograms
from components.html_page.page import embed, render
from components.variant_scorer.comparison import Comparison
from components.variant_scorer.pictures import draw_spreads
from components.variant_scorer.reading import FORMULA, RANKED_BY, Strong, Summary
from components.variant_scorer.scoring import STATISTICS
from components.variant_scorer.template import TEMPLATE
from enformer_keras.formats.errors import counted

# Of a head with more tracks those whose scores changed most are listed, and all drawn as histograms.
_MOST_TRACKS = 20
# Of an allele's bases so many are written.
_MOST_BASES = 16


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A variant that is drawn.

    Attributes:
        strong: which.
        png: the picture.
    """

    strong: Strong
    png: bytes


@dataclasses.dataclass(frozen=True)
class Scored:
    """What is said of an organism.

    Attributes:
        name: of the organism.
        file: of its variants.
        strands: that predictions are averaged over: `both` or `forward`.
        summary: of its scores.
        genes: row of a strong variant -> the nearest gene; empty where no genes are known.
        drawn: some of the strongest variants.
        comparison: with the model that was pushed before.
        reason: why there is none.
    """

    name: str
    file: str
    strands: str
    summary: Summary
    genes: Mapping[int, str]
    drawn: Sequence[Drawn]
    comparison: Comparison | None
    reason: str

    @property
    def pictures(self) -> dict[str, bytes]:
        """File name -> PNG of each variant that is drawn, from the strongest on."""
        return {f"{self.name}-{number}.png": drawn.png for number, drawn in enumerate(self.drawn, start=1)}


def make_page(
    title: str,
    date: datetime.datetime,
    rows: Sequence[tuple[str, str]],
    organisms: Sequence[Scored],
    note: str = "",
) -> str:
    """Puts tables and pictures on a page that needs no other file.

    Args:
        title: organisms and assemblies.
        date: of the report.
        rows: what is said of the run at the head of the page.
        organisms: what was scored.
        note: why nothing was.

    Returns:
        HTML; all text from the data is escaped.
    """
    return render(
        TEMPLATE,
        title=title,
        date=date,
        rows=rows,
        note=note,
        organisms=[_describe(one) for one in organisms],
        statistic=RANKED_BY,
        statistics=STATISTICS,
        formula=FORMULA,
        number=lambda value: f"{value:+.4g}",
        size=lambda value: "" if math.isnan(value) else f"{value:.2g}",
        allele=_shorten,
    )


def _describe(one: Scored) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": one.name,
        "file": one.file,
        "strands": "averaged over both strands" if one.strands == "both" else "along the forward strand alone",
        "summary": one.summary,
        "statuses": counted(one.summary.statuses),
        "genes": one.genes,
        "drawn": [{"strong": drawn.strong, "png": embed(drawn.png)} for drawn in one.drawn],
        "spreads": embed(draw_spreads(one.summary.spreads)) if one.summary.strongest else "",
        "comparison": one.comparison,
        "reason": one.reason,
    }
    return said | (_describe_correlations(one) if one.comparison else {})


def _describe_correlations(one: Scored) -> dict[str, Any]:
    assert one.comparison is not None
    values, tracks = one.comparison.correlations, one.summary.tracks
    defined = np.flatnonzero(~np.isnan(values))
    all_listed = len(tracks) <= _MOST_TRACKS
    lowest = defined if all_listed else defined[np.argsort(values[defined], kind="stable")][:_MOST_TRACKS]
    return {
        "median": float(np.median(values[defined])) if len(defined) else float("nan"),
        "defined": len(defined),
        "all_listed": all_listed,
        "correlated": [(tracks[index], float(values[index])) for index in lowest],
        "correlations": ""
        if all_listed
        else embed(draw_histograms(values, [track.assay for track in tracks], "rank correlation")),
    }


def _shorten(bases: str) -> str:
    if len(bases) <= _MOST_BASES:
        return bases
    return f"{bases[: _MOST_BASES // 2]}... ({len(bases):,} bp)"
