"""Two replicas of two examples train as one of four does: losses, clipping, statistics and all."""

import json

import numpy as np
import pytest

from components.trainer.strategy import per_replica_batch
from tests.trainer.attempts import Attempts
from tests.trainer.tiny_training import read_weights

# float32 would hide small errors behind rounding.
COMPARABLE = {"dtype": "float64"}


def run(folder, replicas):
    attempts = Attempts(folder)
    status, log = attempts.run(
        replicas=replicas,
        batch_size=4,
        steps=2,
        epochs=2,
        clip_norm=0.01,
        learning_rate=1e-3,  # Adam divides by its moments: rounding comes to 1e-6 of the rate
        model_changes=COMPARABLE,
    )
    assert status == 0, log
    with np.load(max(attempts.folder.glob("checkpoints/*/step-*"))) as arrays:
        history = json.loads(str(arrays["progress"]))["history"]
    return history, read_weights(folder)


@pytest.mark.full
def test_two_replicas_of_two_are_one_of_four(tmp_path):
    (history, weights), (expected_history, expected_weights) = (
        run(tmp_path / f"{replicas}", replicas) for replicas in (2, 1)
    )
    for part, expected in zip(history, expected_history, strict=True):
        assert part["train"]["loss"] == pytest.approx(expected["train"]["loss"], abs=1e-6)
        assert part["validation"] == pytest.approx(expected["validation"], abs=1e-5)
    for value, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-8)


def test_a_batch_that_cannot_be_divided():
    assert per_replica_batch(6, 2, "this") == 3
    with pytest.raises(ValueError, match=r"batch_size=3 must be a multiple of the 2 replicas of this"):
        per_replica_batch(3, 2, "this")
