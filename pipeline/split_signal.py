"""What the splits of a run's data hold, and what its pushed model predicts for them."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from components.basenji_example_gen.description import load_basenji_description, open_folders
from enformer_keras.datasets.basenji import BasenjiRecord
from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.datasets.windows import Window
from pipeline.baseline import kmer_features
from pipeline.configs import Settings
from pipeline.data import Organism

# Bins of a split that the report looks at, and those of all its tracks together: enough for a correlation, few
# enough for memory.
MAX_BINS = 32_768
MAX_VALUES = 1 << 25


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
