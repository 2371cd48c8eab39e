"""Two replicas of two examples train as one of four does: losses, clipping, statistics and all.

So do they in the loop that TPUs are given, with hosts that read; two parts of the CPU stand for TPUs.
"""

import json
import signal

import numpy as np
import pytest

from components.trainer.strategy import per_replica_batch
from tests.trainer.attempts import Attempts
from tests.trainer.tiny_training import read_weights

# float32 would hide small errors behind rounding.
COMPARABLE = {"dtype": "float64"}


def run(folder, replicas, *, ended_after="", **changes):
    """Trains; gives the figures of the parts, and the weights."""
    attempts = Attempts(folder)
    arguments = {
        "replicas": replicas,
        "batch_size": 4,
        "steps": 2,
        "epochs": 2,
        "clip_norm": 0.01,
        "learning_rate": 1e-3,  # Adam divides by its moments: rounding comes to 1e-6 of the rate
        "model_changes": COMPARABLE,
        **changes,
    }
    if ended_after:
        status, log = attempts.run(send=signal.SIGTERM, after=ended_after, **arguments)
        assert status == 128 + signal.SIGTERM, log
        assert "SIGTERM: saved at step" in log
    status, log = attempts.run(**arguments)
    assert status == 0, log
    assert not ended_after or "going on from step" in log
    with np.load(max(attempts.folder.glob("checkpoints/*/step-*"))) as arrays:
        history = json.loads(str(arrays["progress"]))["history"]
    return history, read_weights(folder)


@pytest.mark.full
def test_two_replicas_of_two_are_one_of_four(tmp_path):
    assert_alike(*(run(tmp_path / f"{replicas}", replicas) for replicas in (2, 1)))


@pytest.mark.full
def test_the_loop_of_tpus_makes_the_same_updates(tmp_path):
    """And is ended by SIGTERM on the way, as a preempted pod is."""
    arguments = {"steps": 8, "epochs": 2, "whole_batches": True}
    one = run(tmp_path / "one", 1, **arguments)
    in_loops = {"as_on_tpu": True, "steps_per_execution": 2}
    loops = run(tmp_path / "loops", 2, ended_after="in validation", **in_loops, **arguments)
    # Of the second part, each attempt has the training figures of its own steps. Twice the steps of the test
    # above round more: 1.03e-8 was seen.
    assert_alike(loops, one, whole_parts=1, atol=1e-7)


def assert_alike(found, wanted, whole_parts=2, atol=1e-8):
    (history, weights), (expected_history, expected_weights) = found, wanted
    assert len(history) == len(expected_history)
    for part, expected in zip(history[:whole_parts], expected_history, strict=False):
        assert part["train"]["loss"] == pytest.approx(expected["train"]["loss"], abs=1e-6)
    for part, expected in zip(history, expected_history, strict=True):
        assert part["validation"] == pytest.approx(expected["validation"], abs=1e-5)
    for value, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=atol)


def test_a_batch_that_cannot_be_divided():
    assert per_replica_batch(6, 2, "this") == 3
    with pytest.raises(ValueError, match=r"batch_size=3 must be a multiple of the 2 replicas of this"):
        per_replica_batch(3, 2, "this")
