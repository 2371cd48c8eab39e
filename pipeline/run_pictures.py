"""The pictures of a run: its tracks, the model beside the baseline, windows with their genes; as PNG."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.evaluation_report.pictures import DPI, WIDTH
from components.track_plot.draw import draw_interval, encode_png, make_panels, name_panel
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.genes import Gene
from enformer_keras.formats.intervals import Interval
from enformer_keras.prediction.gene_plot import draw_genes, gene_rows
from enformer_keras.prediction.position_axis import lay_out
from pipeline.data import Organism
from pipeline.scores import TrackScore
from pipeline.split_signal import SplitSignal

# Tracks that are printed and drawn, evenly spaced over the table, and those that are drawn over a window.
MOST_SHOWN = 8
MOST_OVER_WINDOW = 4
# Tracks up to which each is named beside its figures.
MOST_NAMED = 20
# Letters of a track's name that are written beside its line; the table has them all.
_MOST_LETTERS = 24
# Told apart by people who do not see red or green, and by their shapes.
_MODEL, _BASELINE = "#0072b2", "#e69f00"


def draw_strongest(found: Sequence[tuple[Organism, SplitSignal, np.ndarray]], num_windows: int = 3) -> bytes:
    """Draws measured and predicted signal of some tracks over the strongest of neighbouring test windows.

    Args:
        found: each organism with its test bins and what is predicted, [windows, target_length, tracks].
        num_windows: windows drawn; fewer where so many are nowhere neighbours.
    """
    shown = [(*one, track) for one in found for track in shown_tracks(one[0].tracks, MOST_SHOWN)]
    figure, rows = make_panels(len(shown), width=10, height=1.6)
    for row, (organism, test, predicted, track) in zip(rows, shown, strict=True):
        drawn = strongest_neighbours(test.windows, np.log1p(test.measured[..., 0]).mean(axis=1), num_windows)
        targets = [window.target for window in test.windows[drawn]]
        draw_interval(
            row,
            Interval(targets[0].chrom, targets[0].start, targets[-1].end),
            test.measured[drawn, :, track.index].ravel(),
            predicted[drawn, :, track.index].ravel(),
        )
        name_panel(row, track.identifier)
        is_last = track is shown_tracks(organism.tracks, MOST_SHOWN)[-1]
        row.set_xlabel(f"{organism.name}, test split: {row.get_xlabel()}" if is_last else "", parse_math=False)
        row.tick_params(labelbottom=is_last)
    rows[0].legend(loc="upper right", frameon=False, ncols=2)
    return encode_png(figure, dpi=144)


def draw_comparison(scores: Sequence[TrackScore]) -> bytes:
    """Draws each track's correlations on a line of its own, from the model's best on.

    Args:
        scores: of an organism; a correlation that is not defined is left out.
    """
    ordered = sorted(scores, key=lambda one: -one.model if one.model == one.model else np.inf)
    figure, (panel,) = make_panels(1, WIDTH, 0.9 + 0.25 * min(len(ordered), MOST_NAMED))
    lines = np.arange(len(ordered))
    model, baseline = (np.array([getattr(one, of) for one in ordered]) for of in ("model", "baseline"))
    size = 6 if len(ordered) <= MOST_NAMED else 2
    panel.plot(model, lines, "o", color=_MODEL, markersize=size, label="model", zorder=3)
    panel.plot(baseline, lines, "D", color=_BASELINE, markersize=size, label="baseline, ridge on 6-mers")
    if len(ordered) <= MOST_NAMED:
        panel.hlines(lines, baseline, model, color="0.8", linewidth=1, zorder=0)
        names = [
            one.track if len(one.track) <= _MOST_LETTERS else f"{one.track[:_MOST_LETTERS]}..."
            for one in ordered
        ]
        panel.set_yticks(lines, names, parse_math=False)
    else:
        panel.set_yticks([])
        panel.set_ylabel(f"{len(ordered):,} tracks, the best above", fontsize=8)
    panel.set_ylim(len(ordered) - 0.4, -0.6)
    lowest = np.nanmin([*model, *baseline, 0.0])
    panel.set_xlim(lowest - 0.02, 1.02)
    panel.set_xlabel("Pearson r", fontsize=8)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, ncols=2, borderaxespad=0.1)
    return encode_png(figure, DPI)


def draw_window(
    tracks: Sequence[Any], target: Interval, measured: np.ndarray, predicted: np.ndarray, genes: Sequence[Gene]
) -> bytes:
    """Draws some tracks over one window, and its genes below them.

    Args:
        tracks: of the organism.
        target: what the bins cover.
        measured: [target_length, tracks].
        predicted: likewise.
        genes: those that lie there are drawn.
    """
    shown = shown_tracks(tracks, MOST_OVER_WINDOW)
    found = gene_rows(genes, target, WIDTH)
    figure, panels = make_panels(len(shown), WIDTH, 1.1, genes=found.height if found.rows else 0)
    for panel, track in zip(panels, shown, strict=False):
        draw_interval(panel, target, measured[:, track.index], predicted[:, track.index])
        name_panel(panel, track.identifier)
    if found.rows:
        draw_genes(panels[-1], found)
        lay_out(panels[-1], target)
    for panel in panels[:-1]:
        panel.set_xlabel("")
        panel.tick_params(labelbottom=False)
    panels[0].legend(
        loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, ncols=2, borderaxespad=0.1
    )
    return encode_png(figure, DPI)


def shown_tracks(tracks: Sequence[Any], most: int) -> list[Any]:
    """Chooses what is shown of all tracks, one for each."""
    chosen = np.linspace(0, len(tracks) - 1, min(len(tracks), most)).round().astype(int)
    return [tracks[index] for index in chosen]


def strongest_neighbours(windows: Sequence[Window], signal: np.ndarray, most: int) -> slice:
    """Finds the windows whose targets lie side by side and have the strongest signal.

    Args:
        windows: in the order of the genome.
        signal: float [windows].
        most: how many at most; fewer only where so many are nowhere neighbours.

    Returns:
        Which windows.
    """
    reach = np.ones(len(windows), dtype=np.int64)  # of each window: so many lie side by side from it on
    for at in range(len(windows) - 2, -1, -1):
        here, after = windows[at].target, windows[at + 1].target
        if (here.chrom, here.end) == (after.chrom, after.start):
            reach[at] = min(reach[at + 1] + 1, most)
    length = int(reach.max())
    starts = np.flatnonzero(reach == length)
    first = int(starts[np.argmax([signal[start : start + length].sum() for start in starts])])
    return slice(first, first + length)
