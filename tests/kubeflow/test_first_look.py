"""What a run on Kubeflow begins with. The data's part is `pipeline.data`'s, and the proof's."""

import sys

import pytest

from components.trainer.training import TRAINABLE_MODEL
from components.trainer.warm_start import fingerprint_start
from kubeflow import first_look


@pytest.fixture
def pushed(tmp_path):
    """Versions 9 and 10 of a model."""
    for version in ("9", "10"):
        file = tmp_path / "pushed" / version / TRAINABLE_MODEL
        file.parent.mkdir(parents=True)
        file.write_text(version)
    return tmp_path / "pushed"


def look(monkeypatch, pushed, warm_start):
    """The three answers for data that need not be looked at."""
    folder = pushed.parent / "answers"
    files = [folder / name for name in "abc"]
    flags = {"dataset": "none.yaml", "digests": "none.json", "pushed": pushed, "data_fingerprint": "f"}
    arguments = [f"--{name}={value}" for name, value in {**flags, "warm_start": warm_start}.items()]
    monkeypatch.setattr(sys, "argv", ["first_look.py", *arguments, *map(str, files)])
    first_look.main()
    return [file.read_text() for file in files]


def test_the_last_pushed_model(monkeypatch, pushed):
    newest = str(pushed / "10")
    assert look(monkeypatch, pushed, "last_blessed") == ["f", newest, fingerprint_start(newest)]


def test_a_model_that_is_named(monkeypatch, pushed):
    older = str(pushed / "9")
    assert look(monkeypatch, pushed, older) == ["f", older, fingerprint_start(older)]


@pytest.mark.parametrize("warm_start", ["", "last_blessed"])
def test_fresh_weights(monkeypatch, tmp_path, warm_start):
    assert look(monkeypatch, tmp_path / "pushed", warm_start) == ["f", "", ""]


def test_a_model_that_is_not_there(monkeypatch, pushed):
    with pytest.raises(SystemExit, match="this run cannot begin:\nno model to start from at /none"):
        look(monkeypatch, pushed, "/none")
