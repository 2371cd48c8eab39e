"""Trainings in real processes that really die: each ends with the weights of one that was left alone."""

import json
import signal

import numpy as np
import pytest

from tests.trainer.attempts import Attempts
from tests.trainer.tiny_training import HEADS, PARTS, read_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a training that nothing happened to."""
    undisturbed = Attempts(tmp_path_factory.mktemp("undisturbed") / "run")
    status, log = undisturbed.run()
    assert status == 0, log
    assert "going on" not in log
    return read_weights(undisturbed.folder)


def assert_same(attempts, weights):
    for value, expected in zip(read_weights(attempts.folder), weights, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_killed_in_a_step_while_saving_and_while_exporting(tmp_path, weights):
    attempts = Attempts(tmp_path / "run")
    status, _ = attempts.run(send=signal.SIGKILL, after="step 4:")
    assert status == -signal.SIGKILL
    status, log = attempts.run(die_while="saving")
    assert status == -signal.SIGKILL
    assert "going on from step" in log
    assert any(name.endswith(".partial") for name in attempts.checkpoints())
    status, log = attempts.run(die_while="exporting")
    assert status == -signal.SIGKILL
    assert "a run died while it wrote this checkpoint; removed" in log
    status, log = attempts.run()
    assert status == 0, log
    assert "going on from step 12" in log
    assert_same(attempts, weights)


@pytest.mark.full
def test_terminated_then_a_full_disk_then_a_damaged_checkpoint(tmp_path, weights):
    attempts = Attempts(tmp_path / "run")
    status, log = attempts.run(send=signal.SIGTERM, after="step 2:")
    assert status == 128 + signal.SIGTERM, log
    assert "SIGTERM: saved at step" in log
    before = attempts.checkpoints()
    status, log = attempts.run(die_while="disk is full")
    assert status == 1
    assert "cannot be written" in log
    assert "free" in log
    assert attempts.checkpoints() == before
    (newest,) = attempts.folder.glob(f"checkpoints/*/{before[-1]}")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    status, log = attempts.run()
    assert status == 0, log
    assert f"{before[-1]}: damaged checkpoint, left out" in log
    assert_same(attempts, weights)


@pytest.mark.full
def test_the_best_part_is_kept_and_training_stops_when_it_stays_the_best(tmp_path):
    attempts = Attempts(tmp_path / "run")
    status, log = attempts.run(keep="best", patience=2)
    assert status == 0, log
    (folder,) = attempts.folder.glob("checkpoints/*")
    newest = max(folder.glob("step-*"))
    with np.load(newest) as arrays:
        progress = json.loads(str(arrays["progress"]))
    scores = [
        np.mean([part["validation"][f"{head}_pearson_r"] for head in HEADS]) for part in progress["history"]
    ]
    best = int(np.argmax(scores))
    assert len(scores) == min(best + 1 + 2, PARTS)
    assert progress["best_step"] == progress["history"][best]["step"]
    with np.load(folder / f"step-{progress['best_step']:09d}.npz") as arrays:
        for number, value in enumerate(read_weights(attempts.folder)):
            np.testing.assert_array_equal(value, arrays[str(number)])
