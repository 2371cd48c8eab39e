import copy
import itertools
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from enformer_keras import one_hot_encode
from enformer_keras.datasets import window_reader
from enformer_keras.datasets.window_reader import runs_of
from enformer_keras.genome import (
    DatasetError,
    Interval,
    Window,
    WindowBatches,
    WindowReader,
    load_dataset,
)
from tests.datasets.tiny_genome import build_tiny_genome


@pytest.fixture
def tiny(tmp_path):
    return build_tiny_genome(tmp_path)


def expected_sequence(tiny, window, shift=0):
    chrom, start, end = window.interval.chrom, window.interval.start + shift, window.interval.end + shift
    bases = tiny.bases[chrom]
    return one_hot_encode("N" * -min(start, 0) + bases[max(start, 0) : end] + "N" * max(end - len(bases), 0))


def make_window(start, chrom="c1", split="train"):
    """A window with a target of 64 bp from `start` on."""
    return Window(Interval(chrom, start - 32, start + 96), Interval(chrom, start, start + 64), split)


def test_runs_end_at_gaps_contigs_and_splits_and_after_eight(tiny, monkeypatch):
    runs = [
        [make_window(start) for start in (40, 104, 136, 200)],  # they touch and overlap
        [make_window(start) for start in (265, 329)],  # behind a gap of 1 bp
        [make_window(201)],  # back again
        [make_window(start, "c2") for start in (201, 202)],
        [make_window(start, "c2", "valid") for start in range(203, 211)],
        [make_window(start, "c2", "valid") for start in range(211, 213)],
    ]
    dataset = load_dataset(tiny.path)
    assert list(runs_of(list(itertools.chain(*runs)), dataset)) == runs
    # As much as three windows hold, of 4 bins and 4 tracks.
    monkeypatch.setattr(window_reader, "_RUN_BINS", 3 * 4 * 4)
    assert list(map(len, runs_of(runs[0], dataset))) == [3, 1]
    monkeypatch.setattr(window_reader, "_RUN_BINS", 1)
    assert list(map(len, runs_of(runs[0], dataset))) == [1, 1, 1, 1]
    assert list(runs_of([], dataset)) == []


def test_windows_read_together_are_the_windows_read_one_by_one(tiny):
    tiny.edit(splits={"contigs": {"train": ["c1"], "test": ["c2"]}}, stride=32, max_n_fraction=0.1)
    dataset = load_dataset(tiny.path)
    windows = dataset.plan().windows
    reader = WindowReader(dataset)
    together = list(reader.read_windows(windows, {0: 0.5}))
    dropped = [tiny.bases[w.interval.chrom][w.interval.start : w.interval.end].count("N") > 12 for w in windows]
    assert [found is None for found in together] == dropped
    assert any(dropped)
    for window, found in zip(windows, together, strict=True):
        alone = reader.read(window, {0: 0.5})
        if found is None:
            assert alone is None
        else:
            for name, expected in vars(alone).items():
                np.testing.assert_array_equal(getattr(found, name), expected)


def test_batches_are_the_windows_of_the_split_in_order(tiny):
    batches = WindowBatches(tiny.path, "valid", batch_size=4)
    windows = iter(batches.windows)
    scale = batches.dataset.mean_scales()[0]
    sizes = []
    for sequence, target in batches:
        sizes.append(len(sequence))
        assert sequence.dtype == target.dtype == np.float32
        for one_hot, values in zip(sequence, target, strict=True):
            window = next(windows)
            np.testing.assert_array_equal(one_hot, expected_sequence(tiny, window))
            dense = tiny.dense[window.target.chrom][window.target.start : window.target.end]
            np.testing.assert_allclose(values[:, 0], dense.reshape(4, 16).mean(axis=1) * scale, rtol=1e-3)
    assert next(windows, None) is None
    assert sum(sizes) == len(batches.windows) > 4
    assert len(sizes) == batches.num_batches
    assert set(sizes[:-1]) == {4}


def test_order_and_augmentation_come_from_seed_and_epoch(tiny):
    def epochs(seed):
        batches = WindowBatches(
            tiny.path, "train", 8, shuffle=True, max_shift=3, reverse_complement=True, seed=seed
        )
        first = [sequence for sequence, _ in batches]
        batches.on_epoch_end()
        return np.concatenate(first), np.concatenate([sequence for sequence, _ in batches])

    first, second = epochs(0)
    again_first, again_second = epochs(0)
    np.testing.assert_array_equal(again_first, first)
    np.testing.assert_array_equal(again_second, second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epochs(1)[0])


def test_augmented_windows_are_shifted_or_of_the_other_strand(tiny):
    plain = WindowBatches(tiny.path, "train", 1)
    moved = WindowBatches(tiny.path, "train", 1, max_shift=3, reverse_complement=True)
    seen = set()
    for window, (_, target), (sequence, other) in zip(plain.windows, plain, moved, strict=True):
        possible = {shift: expected_sequence(tiny, window, shift) for shift in range(-3, 4)}
        forward = {shift for shift, one_hot in possible.items() if np.array_equal(one_hot, sequence[0])}
        reverse = {
            shift for shift, one_hot in possible.items() if np.array_equal(one_hot[::-1, ::-1], sequence[0])
        }
        assert len(forward | reverse) == 1
        seen |= {(shift, False) for shift in forward} | {(shift, True) for shift in reverse}
        # The tiny genome's tracks 2 and 3 are a strand pair.
        np.testing.assert_array_equal(other, target[:, ::-1][..., [0, 1, 3, 2]] if reverse else target)
    assert len(seen) == 14


def test_fit_reads_batches(tiny):
    batches = WindowBatches(tiny.path, "train", 8, shuffle=True)
    model = keras.Sequential(
        [keras.Input((128, 4)), keras.layers.Conv1D(4, 16, strides=16), keras.layers.Cropping1D(2)]
    )
    model.compile("adam", "mse", jit_compile=False)
    losses = model.fit(batches, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.predict(WindowBatches(tiny.path, "test", 8), verbose=0).shape[1:] == (4, 4)


def test_repeated_epochs_follow_each_other(tiny):
    options = {"shuffle": True, "max_shift": 3, "reverse_complement": True, "seed": 5}
    once = WindowBatches(tiny.path, "train", 8, **options)
    expected = list(once)
    once.on_epoch_end()
    expected += list(once)
    repeated = WindowBatches(tiny.path, "train", 8, repeat=True, **options)
    assert repeated.num_batches is None
    for (sequence, target), (found_sequence, found_target) in zip(expected, repeated, strict=False):
        np.testing.assert_array_equal(found_sequence, sequence)
        np.testing.assert_array_equal(found_target, target)
    model = keras.Sequential([keras.Input((128, 4)), keras.layers.Conv1D(4, 16, strides=32)])
    model.compile("sgd", "mse", jit_compile=False)
    steps = once.num_batches + 1
    history = model.fit(repeated, epochs=2, steps_per_epoch=steps, verbose=0)
    assert int(model.optimizer.iterations) == 2 * steps, history.history


AUGMENTED = {"shuffle": True, "max_shift": 3, "reverse_complement": True, "seed": 5}
_in_child = {}


def _read_in_child(index):
    return _in_child["batches"][index]


def read_in_threads(batches):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(batches.__getitem__, range(batches.num_batches)))


def read_in_processes(batches):
    """As Keras does: the children are forked with the batches."""
    with multiprocessing.get_context("fork").Pool(2, _in_child.update, [{"batches": batches}]) as pool:
        return pool.map_async(_read_in_child, range(batches.num_batches)).get(timeout=60)


@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.parametrize(
    "read",
    [
        read_in_threads,
        read_in_processes,
        lambda batches: list(pickle.loads(pickle.dumps(batches))),
        lambda batches: list(copy.deepcopy(batches)),
    ],
)
def test_workers_and_copies_read_the_same(tiny, read):
    batches = WindowBatches(tiny.path, "train", 4, **AUGMENTED)
    batches.on_epoch_end()
    expected = list(batches)
    for found, batch in zip(read(batches), expected, strict=True):
        for ours, theirs in zip(found, batch, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Watched(WindowBatches):
    """Notes what Keras asks for: the sequences of each batch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        self.asked.append([sequence.tobytes() for sequence in batch[0]])
        return batch


def fit(batches, **options):
    model = keras.Sequential([keras.Input((128, 4)), keras.layers.Conv1D(4, 16, strides=32)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(batches, verbose=0, **options)


def test_parts_of_a_pass_show_every_window_once(tiny, caplog):
    batches = Watched(tiny.path, "train", 8, shuffle=True)
    parts = next(parts for parts in (2, 3, 5, 7) if batches.num_batches % parts == 0)
    fit(batches, epochs=parts, steps_per_epoch=batches.num_batches // parts)
    shown = list(itertools.chain(*batches.asked[-batches.num_batches :]))  # before, some were asked for shapes
    assert len(shown) == len(set(shown)) == len(batches.windows)
    assert "more often" not in caplog.text


def test_workers_that_begin_anew_are_warned_of(tiny, caplog):
    options = {"shuffle": True, "workers": 2, "max_queue_size": 1}
    fit(WindowBatches(tiny.path, "train", 2, repeat=True, **options), epochs=3, steps_per_epoch=2)
    fit(WindowBatches(tiny.path, "train", 8, **options), epochs=2)
    assert "more often" not in caplog.text
    fit(WindowBatches(tiny.path, "train", 2, **options), epochs=2, steps_per_epoch=2)
    assert "windows come more often than others; give repeat=True with steps_per_epoch (39" in caplog.text


def test_windows_of_too_many_n_are_counted_and_left_out(tiny, caplog):
    tiny.edit(splits={"contigs": {"train": ["c1"], "test": ["c2"]}}, stride=32, max_n_fraction=0.1)
    caplog.set_level("INFO")
    batches = WindowBatches(tiny.path, "test", 8)
    assert all(tiny.bases["c2"][w.interval.start : w.interval.end].count("N") <= 12 for w in batches.windows)
    assert f"split test: {len(batches.windows)} windows, 6 dropped for N" in caplog.text


@pytest.mark.parametrize(
    ("argument", "value", "least"),
    [
        ("batch_size", 0, 1),
        ("batch_size", "4", 1),
        ("max_shift", -1, 0),
        ("max_shift", 1.5, 0),
        ("seed", None, 0),
    ],
)
def test_numbers_that_are_none(tiny, argument, value, least):
    with pytest.raises(
        ValueError, match=f"{argument} must be a whole number of at least {least}, got {value!r}"
    ):
        WindowBatches(tiny.path, "train", **{"batch_size": 4, argument: value})


def test_what_cannot_work_is_refused(tiny):
    dataset = load_dataset(tiny.path)
    with pytest.raises(ValueError, match=r"split='dev' is not among \['train', 'valid', 'test'\]"):
        WindowBatches(dataset, "dev", 4)
    with pytest.raises(ValueError, match="max_shift=4 must be at most the dataset's flank_length 3"):
        WindowBatches(dataset, "train", np.int64(4), max_shift=4)
    with pytest.raises(IndexError, match="of split test"):
        WindowBatches(dataset, "test", 4)[99]
    tiny.edit(
        splits={"contigs": {"train": ["c1"], "test": ["c2"]}},
        stride=32,
        max_n_fraction=0.0,
        window_length=768,
        target_length=40,
    )
    with pytest.raises(DatasetError, match="have a larger share of N than 0; raise max_n_fraction"):
        WindowBatches(tiny.path, "test", 4)
