"""What a run on Kubeflow begins with. The data's part is `pipeline.data`'s, and the proof's."""

import sys

import pytest

from components.trainer.training import TRAINABLE_MODEL
from components.trainer.warm_start import fingerprint_start
from kubeflow import first_look


@pytest.fixture
def pushed(tmp_path):
    """A pushed model, as far as its fingerprint goes."""
    file = tmp_path / "pushed" / "10" / TRAINABLE_MODEL
    file.parent.mkdir(parents=True)
    file.write_text("weights")
    return str(tmp_path / "pushed" / "10")


def look(monkeypatch, folder, warm_start):
    """The two answers, for data that need not be looked at."""
    files = [folder / "answers" / name for name in "ab"]
    flags = {"dataset": "none.yaml", "digests": "none.json", "data_fingerprint": "f", "warm_start": warm_start}
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    monkeypatch.setattr(sys, "argv", ["first_look.py", *arguments, *map(str, files)])
    first_look.main()
    return [file.read_text() for file in files]


def test_a_model_that_is_named(monkeypatch, tmp_path, pushed):
    assert look(monkeypatch, tmp_path, pushed) == ["f", fingerprint_start(pushed)]


@pytest.mark.parametrize("warm_start", ["", "last_blessed"])
def test_fresh_weights_and_those_that_the_trainer_finds(monkeypatch, tmp_path, warm_start):
    assert look(monkeypatch, tmp_path, warm_start) == ["f", ""]


def test_a_model_that_is_not_there(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="this run cannot begin:\nno model to start from at /none"):
        look(monkeypatch, tmp_path, "/none")
