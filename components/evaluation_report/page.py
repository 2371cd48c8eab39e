"""The report as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.evaluation_report.curves import Curves
from components.evaluation_report.pictures import draw_curves, draw_histograms, draw_signals
from components.evaluation_report.signal import Signal
from components.evaluation_report.subject import Subject
from components.evaluation_report.template import TEMPLATE
from components.evaluator.figures import HeadFigures, Verdict
from components.html_page.page import embed, render

_BOUND = "_change_high"


def compared_metric(verdict: Verdict) -> str:
    """Returns the metric in which the model was compared with the last blessed one, or would have been."""
    return next(check.key for check in verdict.checks if check.key.endswith(_BOUND)).removesuffix(_BOUND)


def make_page(
    subject: Subject,
    heads: Mapping[str, HeadFigures],
    verdict: Verdict,
    metric: str,
    signals: Mapping[str, list[Signal]],
    curves: Curves,
) -> str:
    """Puts verdict, tables and pictures on a page that needs no other file.

    Args:
        subject: what was evaluated.
        heads: head -> what the Evaluator measured.
        verdict: how it judged.
        metric: the figure that histograms and the order of tracks go by.
        signals: head -> tracks that are drawn.
        curves: of the training.

    Returns:
        HTML; all text from the data is escaped.
    """
    return render(
        TEMPLATE,
        subject=subject,
        verdict=verdict,
        missed=sum(not check.met for check in verdict.checks),
        metric=metric,
        number=_number,
        changes=[f"{name}: {_describe_change(head, verdict, metric)}" for name, head in heads.items()],
        heads=[_describe_head(name, head, metric, signals[name]) for name, head in heads.items()],
        curves=embed(draw_curves(curves)) if curves else "",
    )


def _describe_change(head: HeadFigures, verdict: Verdict, metric: str) -> str:
    if not verdict.compared:
        return f"there was no earlier blessed model to ask the same, so {metric} was compared with none."
    change, low, high = (head.by_slice[()][f"{metric}_change{end}"] for end in ("", "_low", "_high"))
    return (
        f"{metric} changed by {change:+.4f} against the last blessed model on the same windows; 95% interval "
        f"{low:+.4f} to {high:+.4f}. A model is refused as worse where the whole interval lies below the limit."
    )


def _describe_head(name: str, head: HeadFigures, metric: str, signals: list[Signal]) -> dict[str, Any]:
    overall = head.by_slice[()]
    values = head.per_track(metric)
    titles = {signal.track: f"{head.tracks[signal.track]}, {values[signal.track]:.4f}" for signal in signals}
    return {
        "name": name,
        "tables": [
            _tabulate(head, prefix, metric) for prefix in ("", "region_") if f"{prefix}{metric}" in overall
        ],
        "histograms": embed(draw_histograms(np.asarray(values), head.assays, metric)),
        "signals": embed(draw_signals(signals, titles)) if signals else "",
    }


def _tabulate(head: HeadFigures, prefix: str, metric: str) -> dict[str, Any]:
    """A table of means over tracks, by assay and contig: over positions, or with the prefix across regions."""
    overall = head.by_slice[()]
    means = [key.removesuffix("_per_track") for key in sorted(overall) if key.endswith("_per_track")]
    means = [mean for mean in means if mean.startswith("region_") == bool(prefix)]

    def row(label: str, figures: Mapping[str, Any], group: str, tracks: int) -> dict[str, Any]:
        return {
            "name": label,
            "counts": [tracks, *([int(figures[f"{prefix}{metric}_count"])] if prefix else [])],
            "figures": [figures[mean + group] for mean in means],
            "undefined": int(figures[f"{prefix}{metric}_undefined_tracks{group}"]),
        }

    assays = dict.fromkeys(head.assays)
    contigs = sorted(keys for keys, figures in head.by_slice.items() if keys and f"{prefix}{metric}" in figures)
    return {
        "title": "across regions" if prefix else "over positions",
        "counts": ["tracks", *(["regions"] if prefix else [])],
        "means": means,
        "rows": [
            row("all", overall, "", len(head.tracks)),
            *(row(assay, overall, f"/assay:{assay}", head.assays.count(assay)) for assay in assays),
            *(row(" ".join(keys), head.by_slice[keys], "", len(head.tracks)) for keys in contigs),
        ],
        "undefined": f"{prefix}{metric}",
    }


def _number(value: float) -> str:
    return "" if math.isinf(value) else f"{value:.4f}"
