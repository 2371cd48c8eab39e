import itertools

import numpy as np

from enformer_keras.datasets.leaks import audit_leaks
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval


def random_windows(number, splits):
    rng = np.random.default_rng(3)
    windows = []
    for _ in range(number):
        start = int(rng.integers(0, 5_000))
        interval = Interval(str(rng.choice(["a", "b"])), start, start + 100)
        organism = str(rng.choice(["x", "y"]))
        windows.append(Window(interval, interval.resize(40), str(rng.choice(splits)), organism))
    return windows


def test_counts_of_every_pair_are_those_of_a_double_loop():
    splits = ["train", "valid", "test"]
    windows = random_windows(150, splits)
    leaks = {(leak.reader, leak.owner): leak for leak in audit_leaks(windows, reach=7)}
    assert set(leaks) == set(itertools.permutations(splits, 2))
    for (reader, owner), leak in leaks.items():
        leaking = [
            one.interval.extend(7)
            for one in windows
            if one.split == reader
            and any(
                one.interval.extend(7).overlaps(other.target)
                for other in windows
                if other.split == owner and other.organism == one.organism
            )
        ]
        assert leak.inputs == len(leaking) > 3
        assert len(leak.first) == 3
        assert all(read in leaking and read.overlaps(target) for read, target in leak.first)


def test_the_same_contig_of_another_organism_is_another_contig():
    interval = Interval("chr1", 0, 100)
    human = Window(interval, interval, "train", "human")
    mouse = Window(interval, interval, "test", "mouse")
    assert [leak.inputs for leak in audit_leaks([human, mouse], 3)] == [0, 0]
