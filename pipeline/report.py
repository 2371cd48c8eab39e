"""What a run came to: correlations beside a baseline, a picture, and where the model is.

Run as `python -m pipeline.report` with the environment of the runner (`pipeline/environment.py`).
"""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from components.trainer.training import TRAINABLE_MODEL
from enformer_keras.genome.dataset import Dataset, load_dataset
from enformer_keras.genome.intervals import Window
from pipeline.baseline import fit_ridge, kmer_features, pearson_r
from pipeline.configs import Settings
from pipeline.outcome import read_outcome

# Bins of a split that the report looks at: enough for a correlation, few enough for memory.
MAX_BINS = 32_768


@dataclasses.dataclass(frozen=True)
class TrackScore:
    """A track's Pearson correlation on the test split, of log1p of the signal per bin.

    Attributes:
        track: identifier.
        model: of the pushed model.
        baseline: of the ridge regression on 6-mer counts.
    """

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


def read_splits(dataset: Dataset) -> dict[str, SplitSignal]:
    """Reads windows of each split whose targets do not overlap.

    Args:
        dataset: a checked dataset.

    Returns:
        Split -> its bins: all of them, or, of a split with more than `MAX_BINS`, windows evenly spaced over it.
    """
    description = dataset.description
    step = description.target_length * description.bin_size
    tiled = description.model_copy(update={"stride": step})
    genome, tracks = dataset.open_genome(), dataset.open_tracks()
    scales = dataset.mean_scales()
    windows = dataclasses.replace(dataset, description=tiled).plan().windows
    splits = {}
    for split in description.splits.names:
        own = [window for window in windows if window.split == split]
        most = max(MAX_BINS // description.target_length, 1)
        if len(own) > most:
            chosen = np.linspace(0, len(own) - 1, most).round().astype(int)
            print(f"report: {most} of the {len(own)} windows of split {split}, evenly spaced")
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


def score(dataset: Dataset, splits: dict[str, SplitSignal], predicted: np.ndarray) -> list[TrackScore]:
    """Correlates prediction and baseline with the measured test split, on log1p of the signal per bin.

    Args:
        dataset: a checked dataset.
        splits: its `train`, `valid` and `test` bins.
        predicted: [windows, target_length, tracks] for the test windows.

    Returns:
        A score for each track.
    """
    tracks = len(dataset.tracks)
    signal = {split: np.log1p(data.measured).reshape(-1, tracks) for split, data in splits.items()}
    baseline = fit_ridge(
        (splits["train"].features, signal["train"]),
        (splits["valid"].features, signal["valid"]),
        splits["test"].features,
    )
    model = np.log1p(predicted).reshape(-1, tracks)
    return [
        TrackScore(
            track.identifier,
            pearson_r(model[:, track.index], signal["test"][:, track.index]),
            pearson_r(baseline[:, track.index], signal["test"][:, track.index]),
        )
        for track in dataset.tracks
    ]


def plot_tracks(
    file: Path, dataset: Dataset, test: SplitSignal, predicted: np.ndarray, num_windows: int = 3
) -> None:
    """Draws measured and predicted tracks over the test windows that have the strongest signal.

    Args:
        file: where the PNG goes.
        dataset: a checked dataset.
        test: its test bins.
        predicted: [windows, target_length, tracks].
        num_windows: windows drawn, one after another.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    peak = np.log1p(test.measured[..., 0]).mean(axis=1)
    stretches = np.convolve(peak, np.ones(min(num_windows, len(peak))), mode="valid")
    first = int(np.argmax(stretches))
    shown = slice(first, first + num_windows)
    bin_size = dataset.description.bin_size
    position = np.concatenate(
        [np.arange(w.target.start, w.target.end, bin_size) + bin_size / 2 for w in test.windows[shown]]
    )
    figure, rows = plt.subplots(len(dataset.tracks), 1, figsize=(12, 1.9 * len(dataset.tracks)), sharex=True)
    for row, track in zip(np.atleast_1d(rows), dataset.tracks, strict=True):
        measured = test.measured[shown, :, track.index].ravel()
        row.fill_between(position / 1e3, measured, step="mid", color="0.75", linewidth=0, label="measured")
        row.plot(
            position / 1e3,
            predicted[shown, :, track.index].ravel(),
            color="tab:red",
            linewidth=1.2,
            label="predicted",
        )
        row.set_ylabel(track.identifier)
        row.spines[["top", "right"]].set_visible(False)
        row.margins(x=0)
    np.atleast_1d(rows)[0].legend(loc="upper right", frameon=False, ncols=2)
    np.atleast_1d(rows)[-1].set_xlabel(f"{test.windows[shown][0].target.chrom}, position in kb (test split)")
    figure.tight_layout()
    partial = file.with_suffix(".partial.png")
    figure.savefig(partial, dpi=120)
    plt.close(figure)
    partial.replace(file)


def write_report(settings: Settings) -> int:
    """Writes `report/` and `model.keras` of a run's pushed model, and prints what a user wants to know.

    Args:
        settings: of the run.

    Returns:
        Exit status: 0 if the model was pushed, 1 if it was judged and refused.
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

    dataset = load_dataset(settings.dataset)
    splits = read_splits(dataset)
    predicted = predict(outcome.pushed, dataset.description.organism, splits["test"].sequences)
    scores = score(dataset, splits, predicted)

    report = settings.run / "report"
    report.mkdir(parents=True, exist_ok=True)
    picture = report / "tracks.png"
    plot_tracks(picture, dataset, splits["test"], predicted)
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

    bins = splits["test"].measured[..., 0].size
    print(f"\nPearson r on the test split ({bins:,} bins), log1p of the signal per bin:")
    width = max(len(one.track) for one in scores)
    for one in scores:
        print(f"  {one.track:<{width}}  model {one.model:.4f}   ridge on 6-mers {one.baseline:.4f}")
    print(f"pushed model     {_short(outcome.pushed)}")
    print(f"trainable model  {_short(trainable)}")
    print(f"picture          {_short(picture)}")
    print(f"evaluation       {_short(outcome.report / 'report.html')}")
    return 0


def _replace(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    from pipeline.environment import settings_from_environment

    sys.exit(write_report(settings_from_environment()))
