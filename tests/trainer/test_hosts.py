"""Two hosts on loopback, each a process: they train as one, the chief alone writes, and they end together."""

import json
import multiprocessing
import signal

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.serving import PREDICTIONS
from tests.trainer.tiny_run import (
    LIMIT,
    PARTS,
    STEPS,
    cluster_of_two,
    run,
    start_other_host,
    write_inputs,
)

pytestmark = pytest.mark.full

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.trainer.tiny_run"])
PATIENCE_S = 1200
# After the other host has ended. TensorFlow's heartbeats are 10 s; the rest is for a busy machine.
NOTICED_WITHIN_S = 180


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def train_alone(inputs, folder):
    process = processes.Process(target=run, args=(inputs, folder))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0, (folder / "log").read_text()


def train_on_two(inputs, folder, send=None):
    """Trains on two hosts, sends the other one a signal after a part; gives the statuses and logs of both."""
    chief_config, other_config = cluster_of_two()
    seen = len((folder / "log").read_text()) if (folder / "log").exists() else 0
    chief = processes.Process(target=run, args=(inputs, folder, chief_config))
    chief.start()
    try:
        with start_other_host(other_config) as other:
            lines = []
            for line in other.stdout:
                lines.append(line)
                if send is not None and "in validation" in line:
                    other.send_signal(send)
                    send = None
        chief.join(NOTICED_WITHIN_S)
    finally:
        status = chief.exitcode
        chief.terminate()
    return status, other.returncode, (folder / "log").read_text()[seen:], "".join(lines)


def newest(folder):
    """Progress and variables of the last checkpoint."""
    with np.load(max(folder.glob("checkpoints/*/step-*.npz"))) as arrays:
        return json.loads(str(arrays["progress"])), [arrays[str(i)] for i in range(len(arrays.files) - 1)]


def test_hosts_that_were_ended_and_killed_train_as_one_does(inputs, tmp_path):
    alone, two = tmp_path / "alone", tmp_path / "two"
    alone.mkdir()
    two.mkdir()
    train_alone(inputs, alone)

    status, other_status, log, other_log = train_on_two(inputs, two, send=signal.SIGTERM)
    assert (status, other_status) == (143, 143), log + other_log
    assert "SIGTERM: saved at step" in log
    before = newest(two)[0]["step"]
    assert 0 < before < STEPS

    status, other_status, log, other_log = train_on_two(inputs, two, send=signal.SIGKILL)
    assert (status, other_status) == (1, -signal.SIGKILL), log + other_log
    assert f"going on from step {before}" in log
    assert "a host of the training ended, or cannot be reached" in log
    assert before < newest(two)[0]["step"] < STEPS

    status, other_status, log, other_log = train_on_two(inputs, two)
    assert (status, other_status) == (0, 0), log + other_log
    assert "strategy auto: multi_worker (TF_CONFIG names 127.0.0.1:" in log
    with np.load(two / "model" / PREDICTIONS) as predictions:
        served = tf.saved_model.load(two / "model")
        for head, values in served.predict_sequences(predictions["sequences"]).items():
            np.testing.assert_allclose(values, predictions[f"head_{head}"], rtol=1e-5)
    # The other one could not have written these (LIMIT), and no second log.
    assert all(file.stat().st_size > LIMIT for file in two.glob("checkpoints/*/step-*.npz"))
    assert len(list((two / "logs").iterdir())) == 3  # one of each attempt

    (progress, state), (expected_progress, expected_state) = newest(two), newest(alone)
    assert len(progress["history"]) == PARTS
    for part, expected in zip(progress["history"], expected_progress["history"], strict=True):
        assert part["validation"] == pytest.approx(expected["validation"], abs=1e-5)
    for value, expected in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)  # an update is 1e-3; losses are float32
