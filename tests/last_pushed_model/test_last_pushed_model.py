"""Which pushed model a new one is compared with, where ML Metadata cannot be asked."""

import json

import pytest
from tfx.types import standard_artifacts

from components.last_pushed_model import component
from components.pusher.push import push
from components.trainer.training import MODEL_CARD


def write_model(folder, identity, tracks=("a", "b")):
    """What the choice looks at of a SavedModel: TensorFlow's fingerprint and the card."""
    card = folder / MODEL_CARD
    card.parent.mkdir(parents=True)
    organisms = {"ecoli": {"assembly": None, "tracks": [{"identifier": name} for name in tracks]}}
    lengths = {"window_length": 1024, "target_length": 4, "bin_size": 128}
    card.write_text(json.dumps({**lengths, "organisms": organisms}))
    (folder / "fingerprint.pb").write_text(identity)
    return folder


@pytest.fixture
def versions(tmp_path):
    """Pushed in this order: old, newest, of other tracks."""
    folder = tmp_path / "pushed"
    for identity, tracks in (("old", ("a", "b")), ("newest", ("a", "b")), ("other", ("a", "c"))):
        push(write_model(tmp_path / identity, identity, tracks), folder, keep=5)
    return folder


def choose(tmp_path, candidate, versions):
    """The chosen model's fingerprint; None where the artifact says that there is none."""
    judged, chosen = standard_artifacts.Model(), standard_artifacts.Model()
    judged.uri, chosen.uri = str(tmp_path / "judged"), str(tmp_path / "chosen")
    write_model(tmp_path / "judged" / "Format-Serving", candidate)
    component.LastPushedModel_Executor().Do(
        {"candidate": [judged]}, {"model": [chosen]}, {"versions": str(versions)}
    )
    if chosen.get_int_custom_property(component.ABSENT):
        assert not (tmp_path / "chosen").exists()
        return None
    return (tmp_path / "chosen" / "Format-Serving" / "fingerprint.pb").read_text()


def test_the_newest_of_the_same_tracks(tmp_path, versions, caplog):
    assert choose(tmp_path, "new", versions) == "newest"
    assert caplog.text.count("of other tracks") == 1


def test_not_the_candidate_itself(tmp_path, versions):
    assert choose(tmp_path, "newest", versions) == "old"


def test_none_was_pushed(tmp_path):
    assert choose(tmp_path, "new", tmp_path / "pushed") is None
