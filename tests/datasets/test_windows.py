import itertools

import pytest

from enformer_keras.datasets.dataset import DatasetDescription
from enformer_keras.datasets.leaks import check_no_leak
from enformer_keras.datasets.planning import plan_windows
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval

BLOCKS = {"blocks": {"train": [0.0, 0.8], "valid": [0.8, 0.9], "test": [0.9, 1.0]}}
LENGTHS = {"a": 10_007, "b": 6_144}


def describe(**fields):
    return DatasetDescription.model_validate(
        {
            "organism": "x",
            "fasta": "x.fa",
            "tracks": "x.tsv",
            "window_length": 512,
            "bin_size": 32,
            "target_length": 8,
            "stride": 128,
            "splits": BLOCKS,
        }
        | fields
    )


@pytest.mark.parametrize("target_length", [8, 16])  # 16: no crop, only the flanks keep splits apart
def test_block_windows_fill_their_block_and_do_not_leak(target_length):
    description = describe(target_length=target_length, flank_length=5)
    windows = plan_windows(description, LENGTHS)
    check_no_leak(windows, 5)
    owned = {split: set() for split in BLOCKS["blocks"]}
    for window in windows:
        low, high = (round(f * LENGTHS[window.interval.chrom]) for f in BLOCKS["blocks"][window.split])
        assert low <= window.interval.start
        assert window.interval.end <= high
        assert window.interval.width == 512
        assert window.target.width == target_length * 32
        assert window.target.start - window.interval.start == window.interval.end - window.target.end
        owned[window.split] |= {
            (window.target.chrom, bp) for bp in range(window.target.start, window.target.end)
        }
    # The statement of the thing itself, bp by bp.
    for window in windows:
        read = window.interval.extend(5)
        for split, bps in owned.items():
            assert split == window.split or bps.isdisjoint(
                (read.chrom, bp) for bp in range(read.start, read.end)
            )
    # One stride more would leave the block: nothing is wasted.
    last = max(w.interval.end for w in windows if (w.split, w.interval.chrom) == ("test", "a"))
    assert last <= LENGTHS["a"] < last + 128
    assert min(w.interval.start for w in windows if w.split == "train") == 0


def test_contig_splits_and_strides():
    description = describe(
        splits={"contigs": {"train": ["a"], "valid": ["b"]}}, stride={"train": 512, "valid": 256}
    )
    starts = {"train": [], "valid": []}
    for window in plan_windows(description, LENGTHS):
        assert window.interval.chrom == {"train": "a", "valid": "b"}[window.split]
        starts[window.split].append(window.interval.start)
    assert starts == {"train": list(range(0, 10_007 - 511, 512)), "valid": list(range(0, 6_144 - 511, 256))}


def test_flanks_keep_their_distance_from_inner_borders_only():
    """Without crop, windows that touched the border at 1024 would read each other's targets."""
    description = describe(
        target_length=16,
        flank_length=5,
        stride=512,
        splits={"blocks": {"train": [0.0, 0.5], "test": [0.5, 1.0]}},
    )
    windows = plan_windows(description, {"a": 2048 + 5})  # the border is at round(1026.5) = 1026
    assert [(w.split, w.interval.start) for w in windows] == [("train", 0), ("test", 1031)]
    windows = plan_windows(description, {"a": 2048 + 10})  # at 1029: two windows fit on each side
    assert [w.interval.start for w in windows] == [0, 512, 1034, 1546]
    check_no_leak(windows, 5)


def test_empty_split_says_why():
    description = describe(window_length=1024, target_length=32)
    with pytest.raises(DatasetError) as caught:
        plan_windows(description, {"b": 6_000})
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["split valid", "split test"]
    assert "b:4800-5400 has 600 bp" in str(caught.value)
    assert "shorten window_length" in str(caught.value)


@pytest.mark.parametrize(("gap", "flank", "leaks"), [(5, 5, False), (4, 5, True), (0, 0, False), (-1, 0, True)])
def test_check_no_leak_sees_the_bp_that_decides(gap, flank, leaks):
    train = Window(Interval("a", 0, 100), Interval("a", 40, 60), "train")
    test = Window(Interval("a", 60 + gap, 160 + gap), Interval("a", 100 + gap, 120 + gap), "test")
    elsewhere = Window(Interval("b", 0, 100), Interval("b", 0, 100), "valid")
    for windows in itertools.permutations([train, test, elsewhere]):
        if leaks:
            with pytest.raises(
                DatasetError, match=f"split train: 1 inputs overlap targets of split test.*a:{-flank}-"
            ):
                check_no_leak(windows, flank)
        else:
            check_no_leak(windows, flank)
