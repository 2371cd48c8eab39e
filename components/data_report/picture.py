"""The report's figures as a picture: a panel for each drawn track."""

from typing import Any

import numpy as np

from components.track_plot.draw import draw_bins, encode_png, make_panels, name_panel

INCHES = (14, 1.7)  # of a panel
DPI = 100


def draw_report(report: dict[str, Any]) -> bytes:
    """Draws the shown examples, the splits side by side, with each track's figures above them.

    Args:
        report: of `figures.make_report`.

    Returns:
        A PNG of one panel for each drawn track of each organism, 1400 x 170 pixels each.
    """
    panels = [
        (organism, track) for organism, content in report["organisms"].items() for track in content["drawn"]
    ]
    figure, rows = make_panels(len(panels), *INCHES)
    for row, (organism, track) in zip(rows, panels, strict=True):
        content = report["organisms"][organism]
        shown = {split: found for split, found in content["splits"].items() if found["shown"]}
        end, low, high = 0, 0.0, 0.0
        centres = []
        for found in shown.values():
            values = np.array(found["shown"]["values"][track])
            draw_bins(row, end + np.arange(len(values) + 1), values)
            centres.append(end + len(values) / 2)
            figures = found["tracks"][track]
            row.text(
                centres[-1],
                1.02,
                f"mean {figures['mean']:.3g}  max {figures['max']:.3g}  zero {figures['zero_fraction']:.1%}  "
                f"no value {_share(figures['nan_fraction'])}  clipped {_share(figures['clip_rate'])}",
                transform=row.get_xaxis_transform(),
                horizontalalignment="center",
                fontsize=7,
                color="tab:red" if figures["marks"] else "black",
            )
            end += len(values)
            row.axvline(end, color="black", linewidth=0.8)
            low, high = min(low, values.min()), max(high, values.max())
        row.set_xlim(0, max(end, 1))
        row.set_ylim(low, high if high > low else low + 1)
        name_panel(row, track)
        last = track == content["drawn"][-1]
        row.set_xticks(centres, [_describe(organism, *item) for item in shown.items()] if last else [])
    return encode_png(figure, DPI)


def _share(fraction: float | None) -> str:
    return "not known" if fraction is None else f"{fraction:.1%}"


def _describe(organism: str, split: str, found: dict[str, Any]) -> str:
    dropped = ", ".join(f"{number} {reason}" for reason, number in found["dropped"].items()) or "none"
    windows = f"{found['windows']} windows, dropped: {dropped}"
    return f"{organism}, {split}: {found['shown']['interval']}\n{windows}"
