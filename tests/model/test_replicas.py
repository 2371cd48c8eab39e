"""Two replicas of a share of the batch each, against one replica of all of it."""

import json
import subprocess
import sys

import keras
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="replicas are TensorFlow's")


def differences(what):
    command = [sys.executable, "-m", "tests.model.replicas", what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_batch_normalization_is_that_of_the_whole_batch():
    """Outputs, input gradients and moving statistics; with the examples shared 2 and 2, and 1 and 3."""
    found = differences("normalization")
    assert found.keys() == {"[2, 2]", "[1, 3]"}
    assert max(map(max, found.values())) < 1e-4


def test_draws_for_a_batch_that_replicas_share():
    """Keras gives both replicas one mask; of ours, each has its part of the mask that one device draws.

    So it is with the shifts and strands of `Augmentation`.
    """
    found = differences("draws")
    assert found["keras"][0] == found["alone"][0] == found["augmentation_alone"][0] == 0
    for kind in ("sharing", "augmentation_sharing"):
        between_replicas, from_one_device = found[kind]
        assert 0.2 < between_replicas < 0.7
        assert from_one_device == 0


@pytest.mark.parametrize("what", ["model", "rematerialized"])
def test_training_step_of_the_model_is_that_of_the_whole_batch(what):
    """Loss, gradients and moving statistics, in float64, of `fit` with dropout on 2 and 2 examples."""
    found = differences(what)
    assert {kind: len(values) for kind, values in found.items()} == {
        "loss": 1,
        "gradients": 83,
        "statistics": 28,
    }
    # A bias in front of a normalization has no gradient; everything else has one.
    silent = [name for name, (_, norm) in found["gradients"].items() if norm < 1e-3]
    assert len(silent) == 12
    assert all(name.endswith("/bias") for name in silent)
    for kind, values in found.items():
        for name, (difference, norm) in values.items():
            assert difference < 1e-10 * norm + 1e-12, (kind, name)
