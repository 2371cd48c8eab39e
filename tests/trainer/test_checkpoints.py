"""Files of checkpoints; what they are good for is tested in test_resume.py."""

import numpy as np
import pytest

from components.trainer.checkpoints import CheckpointError, Checkpoints, Progress

CONFIGURATION = {"training": {"steps": 8, "seed": 0}, "model": {"channels": 24}}


def save(checkpoints, *steps, best=0):
    for step in steps:
        checkpoints.save(
            Progress(step=step, best_step=best, best_score=0.5), [np.full((2, 3), step), np.ones(1)]
        )


def steps(checkpoints):
    return sorted(int(file.stem[-9:]) for file in checkpoints.folder.glob("step-*"))


def test_the_two_newest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIGURATION)
    assert checkpoints.load_newest() is None
    save(checkpoints, 1, 2, 3, 4, best=2)
    assert steps(checkpoints) == [2, 3, 4]
    progress, (values, _) = Checkpoints(tmp_path, CONFIGURATION).load_newest()
    assert progress == Progress(step=4, best_step=2, best_score=0.5)
    np.testing.assert_array_equal(values, np.full((2, 3), 4))
    np.testing.assert_array_equal(checkpoints.load_best(progress)[0], np.full((2, 3), 2))


def test_damage_is_told_from_absence(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, CONFIGURATION)
    save(checkpoints, 1, 2)
    newest, older = (checkpoints.folder / f"step-00000000{step}.npz" for step in (2, 1))
    newest.write_bytes(newest.read_bytes()[:-30])
    assert checkpoints.load_newest()[0].step == 1
    assert "step-000000002.npz: damaged checkpoint, left out" in caplog.text
    older.write_bytes(b"")
    with pytest.raises(CheckpointError, match="all checkpoints are damaged"):
        checkpoints.load_newest()


def test_another_configuration_is_another_training(tmp_path, caplog):
    save(Checkpoints(tmp_path, CONFIGURATION), 1)
    other = Checkpoints(tmp_path, {**CONFIGURATION, "training": {"steps": 9, "seed": 0}})
    assert other.load_newest() is None
    assert "configured otherwise (training.steps) and has not finished" in caplog.text


def test_a_damaged_configuration_of_another_training_is_named_and_stops_nothing(tmp_path, caplog):
    broken = Checkpoints(tmp_path, CONFIGURATION).folder / "configuration.json"
    broken.write_bytes(b'{"training"\xff')
    assert Checkpoints(tmp_path, {"training": {}}).load_newest() is None
    assert f"{broken.parent}: checkpoints of a training" in caplog.text
    assert "its configuration.json does not tell any more" in caplog.text


def test_a_finished_training_is_removed_by_the_next(tmp_path):
    finished = Checkpoints(tmp_path, CONFIGURATION)
    save(finished, 1)
    finished.finish()
    assert Checkpoints(tmp_path, CONFIGURATION).load_newest()[0].step == 1
    Checkpoints(tmp_path, {"training": {}})
    assert not finished.folder.exists()
