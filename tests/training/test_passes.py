"""Passes over five batches, against what Keras asks for."""

import copy
import itertools
import pickle

import numpy as np
import pytest

from enformer_keras.training.passes import Passes

BATCHES = 5


def epoch(passes, indices, begins_anew=False):
    """An epoch of Keras: the passes of its batches, and whether it ended in the middle of one."""
    passes.begin_epoch()
    found = [passes.find(index) for index in indices]
    return found, passes.end_epoch(begins_anew)


def whole(number):
    return [(number, index) for index in range(BATCHES)]


def test_an_epoch_is_a_pass():
    passes = Passes(BATCHES, repeat=False)
    for number in range(3):
        assert epoch(passes, range(BATCHES)) == (whole(number), False)
    # Before each `fit`, after the first two batches were asked for their shapes.
    passes.find(0), passes.find(1)
    assert not passes.end_epoch(False)
    assert epoch(passes, range(BATCHES)) == (whole(4), False)


def test_a_caller_ends_epochs_without_beginning_them():
    passes = Passes(BATCHES, repeat=False)
    for number in range(3):
        assert [passes.find(index) for index in range(number)] == whole(number)[:number]
        passes.end_epoch(False)


@pytest.mark.parametrize("ahead", [0, 2, 9])
def test_a_pass_goes_on_in_the_next_epoch(ahead):
    """However many batches are asked for before they are wanted."""
    passes = Passes(BATCHES, repeat=False)
    for number in range(3):
        order = np.random.default_rng(number).permutation(BATCHES).tolist()  # `fit` has one of its own
        asked, found = iter(order), []
        for steps in (2 + ahead, 1, 2):
            found += epoch(passes, itertools.islice(asked, steps))[0]
        assert found == [(number, index) for index in order]


def test_workers_of_keras_begin_anew():
    passes = Passes(BATCHES, repeat=False)
    assert epoch(passes, range(BATCHES), begins_anew=True) == (whole(0), False)
    assert epoch(passes, range(3), begins_anew=True) == (whole(1)[:3], True)
    assert epoch(passes, range(3), begins_anew=True) == (whole(2)[:3], True)


def test_passes_that_repeat_go_on_and_a_later_fit_has_others():
    passes = Passes(BATCHES, repeat=True)
    passes.end_epoch(False)
    assert epoch(passes, range(3)) == (whole(0)[:3], False)
    assert epoch(passes, range(3, 7)) == (whole(0)[3:] + whole(1)[:2], False)
    passes.find(0), passes.find(1)
    passes.end_epoch(False)
    assert epoch(passes, range(7)) == (whole(2) + whole(3)[:2], False)


@pytest.mark.parametrize("copied", [lambda passes: pickle.loads(pickle.dumps(passes)), copy.deepcopy])
def test_a_copy_goes_on_by_itself(copied):
    passes = Passes(BATCHES, repeat=False)
    epoch(passes, range(BATCHES))
    epoch(passes, range(3))
    passes.begin_epoch()
    passes.find(3), passes.find(4)
    other = copied(passes)
    other.end_epoch(False)
    assert other.find(0) == (2, 0)
    assert passes.find(0) == (1, 0)
