"""Which model a new one is compared with."""

import json

from tfx.types import standard_artifacts

from components.last_blessed_model.strategy import LastBlessedModelStrategy
from components.trainer.training import MODEL_CARD


def model(number, folder, tracks=("a", "b")):
    """A model whose card names its tracks; without tracks, one that has no card."""
    artifact = standard_artifacts.Model()
    artifact.id = number
    artifact.uri = str(folder / f"{number}")
    if tracks:
        card = folder / f"{number}" / "Format-Serving" / MODEL_CARD
        card.parent.mkdir(parents=True, exist_ok=True)
        organisms = {"ecoli": {"assembly": None, "tracks": [{"identifier": name} for name in tracks]}}
        lengths = {"window_length": 1024, "target_length": 4, "bin_size": 128}
        card.write_text(json.dumps({**lengths, "organisms": organisms}))
    return artifact


def blessing(number, of, blessed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


def resolve(models, blessings, candidate):
    inputs = {"model": models, "model_blessing": blessings, "candidate": [candidate]}
    resolved = LastBlessedModelStrategy().resolve_artifacts(None, inputs)
    return [artifact.id for artifact in resolved["model"] + resolved["model_blessing"]]


def test_newest_blessed_other_than_the_candidate(tmp_path):
    models = [model(number, tmp_path) for number in (3, 1, 7, 5)]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5, blessed=0), blessing(8, of=7)]
    assert resolve(models, blessings, model(9, tmp_path)) == [7, 8]
    assert resolve(models, blessings, model(7, tmp_path)) == [3, 4]


def test_none_blessed(tmp_path):
    only = model(1, tmp_path)
    assert resolve([only], [], only) == []
    assert resolve([only], [blessing(2, of=1)], only) == []


def test_a_model_of_other_tracks_is_passed_over(tmp_path, caplog):
    models = [model(1, tmp_path), model(3, tmp_path, ("a", "c")), model(5, tmp_path, ())]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5)]
    assert resolve(models, blessings, model(7, tmp_path)) == [1, 2]
    assert caplog.text.count("of other tracks") == 2
    assert resolve(models[1:], blessings, model(7, tmp_path)) == []
