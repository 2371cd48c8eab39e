"""Which pushed model a new one is compared with, where ML Metadata cannot be asked."""

import pytest
from tfx.types import standard_artifacts

from components.last_pushed_model import component
from components.pusher.push import push
from tests.last_blessed_model.tiny_saved_model import write_model


def write_identified(folder, identity, **written):
    """Writes a model with a text that stands for TensorFlow's fingerprint of it."""
    (write_model(folder, **written) / "fingerprint.pb").write_text(identity)
    return folder


@pytest.fixture
def versions(tmp_path):
    """Pushed in this order: old, newest, of other tracks."""
    folder = tmp_path / "pushed"
    for identity, tracks in (("old", ("a", "b")), ("newest", ("a", "b")), ("other", ("a", "c"))):
        push(write_identified(tmp_path / identity, identity, tracks=tracks), folder, keep=5)
    return folder


def choose(tmp_path, candidate, versions, endpoint="serving_default"):
    """The chosen model's fingerprint; None where the artifact says that there is none."""
    judged, chosen = standard_artifacts.Model(), standard_artifacts.Model()
    judged.uri, chosen.uri = str(tmp_path / "judged"), str(tmp_path / "chosen")
    write_identified(tmp_path / "judged" / "Format-Serving", candidate)
    component.LastPushedModel_Executor().Do(
        {"candidate": [judged]}, {"model": [chosen]}, {"versions": str(versions), "endpoint": endpoint}
    )
    if chosen.get_int_custom_property(component.ABSENT):
        assert not (tmp_path / "chosen").exists()
        return None
    return (tmp_path / "chosen" / "Format-Serving" / "fingerprint.pb").read_text()


def test_the_newest_of_the_same_tracks(tmp_path, versions, caplog):
    assert choose(tmp_path, "new", versions) == "newest"
    assert caplog.text.count("other tracks") == 1


def test_not_the_candidate_itself(tmp_path, versions):
    assert choose(tmp_path, "newest", versions) == "old"


def test_none_was_pushed(tmp_path):
    assert choose(tmp_path, "new", tmp_path / "pushed") is None


def test_not_one_without_the_endpoint_that_is_judged(tmp_path, caplog):
    versions = tmp_path / "pushed"
    early = push(write_identified(tmp_path / "early", "early", endpoints=["serving_default"]), versions, keep=5)
    assert choose(tmp_path, "new", versions, "serving_averaged") is None
    assert f"{early}: a pushed model that is passed over" in caplog.text
    assert "no endpoint serving_averaged" in caplog.text
    assert "the thresholds alone decide" in caplog.text
