"""What a run came to: correlations beside a baseline, a picture, and where the model is.

Run as `python -m pipeline.report` with the environment of the runner (`pipeline/environment.py`).
"""

import dataclasses
import itertools
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.basenji_example_gen.description import load_basenji_description, open_folders
from components.track_plot.draw import draw_interval, encode_png, make_panels, name_panel
from components.trainer.training import TRAINABLE_MODEL
from enformer_keras.datasets.basenji import BasenjiRecord
from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval
from pipeline.baseline import fit_ridge, kmer_features, pearson_r
from pipeline.configs import Settings
from pipeline.data import Organism
from pipeline.outcome import read_outcome

# Bins of a split that the report looks at, and those of all its tracks together: enough for a correlation, few
# enough for memory.
MAX_BINS = 32_768
MAX_VALUES = 1 << 25
# Tracks that are printed and drawn, evenly spaced over the table.
MOST_SHOWN = 8
# Variants that are printed, and letters of one.
MOST_VARIANTS = 3
MOST_LETTERS = 40


@dataclasses.dataclass(frozen=True)
class TrackScore:
    """A track's Pearson correlation on the test split, of log1p of the signal per bin.

    Attributes:
        organism: whose.
        track: identifier.
        model: of the pushed model.
        baseline: of the ridge regression on 6-mer counts.
    """

    organism: str
    track: str
    model: float
    baseline: float


@dataclasses.dataclass(frozen=True)
class SplitSignal:
    """A split's bins in the order of its windows.

    Attributes:
        windows: where they lie.
        sequences: the input windows' bases.
        measured: float64 [windows, target_length, tracks], as the examples have it.
        features: the baseline's, float32 [windows * target_length, features].
    """

    windows: list[Window]
    sequences: list[bytes]
    measured: np.ndarray
    features: np.ndarray


def read_splits(settings: Settings, organism: Organism) -> dict[str, SplitSignal]:
    """Reads windows of each split.

    Args:
        settings: of the run.
        organism: one of the dataset's.

    Returns:
        Split -> its bins. Of a genome, windows whose targets do not overlap: all of them, or, of a split with
        more than `MAX_BINS` or `MAX_VALUES`, evenly spaced ones. Of a Basenji folder, whose records come in
        random order and can only be read from the beginning, the first ones.

    Raises:
        DatasetError: the data cannot be used.
    """
    data = settings.description
    bins = min(MAX_BINS, MAX_VALUES // len(organism.tracks))
    most = max(bins // data.target_length, 1)
    read = _read_genome if data.kind == "genome" else _read_folder
    return read(settings.dataset, organism.name, most)


def _read_genome(path: Path, organism: str, most: int) -> dict[str, SplitSignal]:
    dataset = load_dataset(path, organism)
    description = dataset.description
    step = description.target_length * description.bin_size
    tiled = description.model_copy(update={"stride": step})
    genome, tracks = dataset.open_genome(), dataset.open_tracks()
    scales = dataset.mean_scales()
    windows = dataclasses.replace(dataset, description=tiled).plan().windows
    splits = {}
    for split in description.splits.names:
        own = [window for window in windows if window.split == split]
        if len(own) > most:
            chosen = np.linspace(0, len(own) - 1, most).round().astype(int)
            print(f"report: {organism}: {most} of the {len(own)} windows of split {split}, evenly spaced")
            own = [own[index] for index in chosen]
        splits[split] = SplitSignal(
            windows=own,
            sequences=[genome.sequence(window.interval) for window in own],
            measured=np.stack([tracks.read(window.target, scales)[0] for window in own]).astype(np.float64),
            features=np.concatenate(
                [
                    kmer_features(
                        genome.sequence(window.target.extend(description.bin_size)), description.bin_size
                    )
                    for window in own
                ]
            ),
        )
    genome.close()
    tracks.close()
    return splits


def _read_folder(path: Path, organism: str, most: int) -> dict[str, SplitSignal]:
    description = load_basenji_description(path)
    folder = open_folders(path, description)[organism]
    fasta = description.organisms[organism].fasta_file(path)
    bin_size = folder.statistics.pool_width
    splits = {}
    for split, parts in description.splits.items():
        total = sum(len(folder.windows[part]) for part in parts)
        if total > most:
            print(f"report: {organism}: the first {most} of the {total} windows of split {split}")
        records = itertools.chain.from_iterable(
            folder.records(part, fasta, description.window_length) for part in parts
        )
        own = sorted(itertools.islice(records, most), key=lambda record: record.window.interval)
        splits[split] = SplitSignal(
            windows=[record.window for record in own],
            sequences=[record.sequence for record in own],
            measured=np.stack([record.target for record in own]).astype(np.float64),
            features=np.concatenate([kmer_features(_around_target(one, bin_size), bin_size) for one in own]),
        )
    return splits


def _around_target(record: BasenjiRecord, margin: int) -> bytes:
    """Returns the bases of a target and of a margin on each side, N where the sequence does not reach."""
    wanted, there = record.window.target.extend(margin), record.window.interval
    beyond = b"N" * max(0, there.start - wanted.start)  # as much on the other side: the target is centred
    return beyond + record.sequence[max(0, wanted.start - there.start) : wanted.end - there.start] + beyond


def predict(saved_model: Path, head: str, sequences: list[bytes], batch_size: int = 4) -> np.ndarray:
    """Asks a pushed model for raw sequences, as a client would.

    Args:
        saved_model: folder of the model.
        head: name of the output.
        sequences: windows of the model's length.
        batch_size: sequences of a call.

    Returns:
        float64 [windows, target_length, tracks].
    """
    import tensorflow as tf

    model = tf.saved_model.load(str(saved_model))
    batches = [
        model.predict_sequences(tf.constant(sequences[start : start + batch_size]))[head].numpy()
        for start in range(0, len(sequences), batch_size)
    ]
    return np.concatenate(batches).astype(np.float64)


def score(organism: Organism, splits: dict[str, SplitSignal], predicted: np.ndarray) -> list[TrackScore]:
    """Correlates prediction and baseline with the measured test split, on log1p of the signal per bin.

    Args:
        organism: whose tracks.
        splits: its `train`, `valid` and `test` bins.
        predicted: [windows, target_length, tracks] for the test windows.

    Returns:
        A score for each track.
    """
    count = len(organism.tracks)
    signal = {split: np.log1p(data.measured).reshape(-1, count) for split, data in splits.items()}
    baseline = fit_ridge(
        (splits["train"].features, signal["train"]),
        (splits["valid"].features, signal["valid"]),
        splits["test"].features,
    )
    model = np.log1p(predicted).reshape(-1, count)
    return [
        TrackScore(
            organism.name,
            track.identifier,
            pearson_r(model[:, track.index], signal["test"][:, track.index]),
            pearson_r(baseline[:, track.index], signal["test"][:, track.index]),
        )
        for track in organism.tracks
    ]


def plot_tracks(
    file: Path, found: Sequence[tuple[Organism, SplitSignal, np.ndarray]], num_windows: int = 3
) -> None:
    """Draws measured and predicted signal of some tracks over the strongest of neighbouring test windows.

    Args:
        file: where the PNG goes.
        found: each organism with its test bins and what is predicted, [windows, target_length, tracks].
        num_windows: windows drawn; fewer where so many are nowhere neighbours.
    """
    shown = [(*one, track) for one in found for track in shown_tracks(one[0].tracks)]
    figure, rows = make_panels(len(shown), width=12, height=1.9)
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
        is_last = track is shown_tracks(organism.tracks)[-1]
        row.set_xlabel(f"{organism.name}, test split: {row.get_xlabel()}" if is_last else "", parse_math=False)
        row.tick_params(labelbottom=is_last)
    rows[0].legend(loc="upper right", frameon=False, ncols=2)
    partial = file.with_suffix(".partial.png")
    partial.write_bytes(encode_png(figure, dpi=120))
    partial.replace(file)


def shown_tracks(tracks: Sequence[Any]) -> list[Any]:
    """Chooses what is shown of all tracks, one for each."""
    chosen = np.linspace(0, len(tracks) - 1, min(len(tracks), MOST_SHOWN)).round().astype(int)
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


def write_report(settings: Settings) -> int:
    """Writes `report/` and `model.keras` of a run's pushed model, and prints what a user wants to know.

    Args:
        settings: of the run.

    Returns:
        Exit status: 0 if the model was pushed, 1 if it was judged and refused, or is kept no more.
    """
    outcome = read_outcome(settings.metadata, settings.name)
    if outcome.pushed is None:
        if not outcome.blessed:
            from components.evaluator.figures import load_verdict  # TFMA takes 20 s to import

            print("not pushed: the Evaluator refused the model on the test split")
            for check in load_verdict(outcome.evaluation).checks:
                print(f"  {'met   ' if check.met else 'missed'}  {check}")
        if not outcome.servable:
            print(f"not pushed: the model does not serve: {outcome.reason}")
        print(f"evaluation       {_short(outcome.report / 'report.html')}")
        return 1

    if not outcome.pushed.is_dir():
        print(
            f"this model was pushed before; its version {outcome.pushed.name} has been removed since, for "
            f"newer ones: the last {settings.keep_versions} are kept"
        )
        return 1

    found, scores, test_bins = [], [], {}
    for organism in settings.description.organisms:
        splits = read_splits(settings, organism)
        predicted = predict(outcome.pushed, organism.name, splits["test"].sequences)
        scores += score(organism, splits, predicted)
        found.append((organism, splits["test"], predicted))
        test_bins[organism.name] = splits["test"].measured[..., 0].size

    report = settings.run / "report"
    report.mkdir(parents=True, exist_ok=True)
    picture = report / "tracks.png"
    plot_tracks(picture, found)
    figures = {
        "pushed": outcome.pushed.name,
        "measure": "Pearson r of log1p of the signal per bin on the test split",
        "tracks": [dataclasses.asdict(one) for one in scores],
    }
    _replace(report / "scores.json", json.dumps(figures, indent=2) + "\n")
    trainable = settings.run / "model.keras"
    partial = trainable.with_suffix(".partial")
    shutil.copyfile(outcome.pushed / TRAINABLE_MODEL, partial)
    partial.replace(trainable)

    print("\nPearson r on the test split, log1p of the signal per bin:")
    for name, bins in test_bins.items():
        print(f"{name} ({bins:,} bins)")
        of_organism = [one for one in scores if one.organism == name]
        shown = shown_tracks(of_organism)
        width = max(len(one.track) for one in shown)
        for one in shown:
            print(f"  {one.track:<{width}}  model {one.model:.4f}   ridge on 6-mers {one.baseline:.4f}")
        if len(of_organism) > len(shown):
            print(f"  {len(of_organism) - len(shown)} more tracks in {_short(report / 'scores.json')}")
    for name, file in settings.regions.items():
        print(_describe_regions(outcome.evaluation, name, file))
    print(f"pushed model     {_short(outcome.pushed)}")
    print(f"trainable model  {_short(trainable)}")
    print(f"picture          {_short(picture)}")
    print(f"evaluation       {_short(outcome.report / 'report.html')}")
    if outcome.variants is not None:
        print(_describe_variants(outcome.variants))
        print(f"scored variants  {_short(outcome.variants / 'report.html')}")
    return 0


def _describe_regions(evaluation: Path, organism: str, file: Path) -> str:
    from components.evaluator.figures import load_figures  # TFMA takes 20 s to import

    figures = load_figures(evaluation)[organism].by_slice[()]
    return (
        f"across {figures['region_pearson_r_count']:,.0f} regions of {_short(file)}, mean over all tracks: "
        f"Pearson r of log1p of the signal {figures['region_log1p_pearson_r']:.4f}, "
        f"of the signal {figures['region_pearson_r']:.4f}"
    )


def _describe_variants(folder: Path) -> str:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    statistic = summary["statistic"]
    lines = []
    for name, scored in summary["organisms"].items():
        lines.append(
            f"\n{sum(scored['statuses'].values()):,} variants of {name}, scored "
            f"{scored['statuses'].get('scored', 0):,}; the strongest by {statistic}:"
        )
        for one in scored["strongest"][:MOST_VARIANTS]:
            spelled = (
                one["variant"] if len(one["variant"]) < MOST_LETTERS else f"{one['variant'][:MOST_LETTERS]}..."
            )
            lines.append(f"  {spelled}  {one['track']} {one[statistic]:+.4f}  {one['gene']}".rstrip())
    return "\n".join(lines)


def _replace(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    from pipeline.environment import settings_from_environment

    sys.exit(write_report(settings_from_environment()))
