"""Which model a new one is compared with."""

from tfx.types import standard_artifacts

from components.last_blessed_model.strategy import LastBlessedModelStrategy, reason_against
from tests.last_blessed_model.tiny_saved_model import write_model


def model(number, folder, **written):
    artifact = standard_artifacts.Model()
    artifact.id = number
    artifact.uri = str(folder / f"{number}")
    write_model(folder / f"{number}" / "Format-Serving", **written)
    return artifact


def blessing(number, of, blessed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


def resolve(models, blessings, candidate, **config):
    inputs = {"model": models, "model_blessing": blessings, "candidate": [candidate]}
    resolved = LastBlessedModelStrategy(**config).resolve_artifacts(None, inputs)
    return [artifact.id for artifact in resolved["model"] + resolved["model_blessing"]]


def test_newest_blessed_other_than_the_candidate(tmp_path):
    models = [model(number, tmp_path) for number in (3, 1, 7, 5)]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5, blessed=0), blessing(8, of=7)]
    assert resolve(models, blessings, model(9, tmp_path)) == [7, 8]
    assert resolve(models, blessings, models[2]) == [3, 4]


def test_none_blessed(tmp_path, caplog):
    only = model(1, tmp_path)
    assert resolve([only], [], only) == []
    assert resolve([only], [blessing(2, of=1)], only) == []
    assert not caplog.text


def test_a_model_of_other_tracks_is_passed_over(tmp_path, caplog):
    models = [model(1, tmp_path), model(3, tmp_path, tracks=("a", "c")), model(5, tmp_path, tracks=())]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5)]
    candidate = model(7, tmp_path)
    assert resolve(models, blessings, candidate) == [1, 2]
    assert caplog.text.count("other tracks") == 2
    assert "the thresholds alone decide" not in caplog.text
    assert resolve(models[1:], blessings, candidate) == []
    assert "the thresholds alone decide" in caplog.text


def test_a_model_without_the_endpoint_that_is_judged_is_passed_over(tmp_path, caplog):
    models = [model(1, tmp_path), model(3, tmp_path, endpoints=["serving_default"])]
    blessings = [blessing(2, of=1), blessing(4, of=3)]
    candidate = model(5, tmp_path)
    assert resolve(models, blessings, candidate, endpoint="serving_default") == [3, 4]
    assert not caplog.text
    assert resolve(models, blessings, candidate, endpoint="serving_averaged") == [1, 2]
    assert f"{models[1].uri}: a blessed model that is passed over" in caplog.text
    assert "no endpoint serving_averaged" in caplog.text


def test_a_model_of_other_flanks_cannot_read_the_examples(tmp_path):
    candidate = write_model(tmp_path / "new")
    for name, flanked, reason in (("same", 1030, ""), ("other", 1152, "it reads other flanks")):
        model = write_model(tmp_path / name, flanked=flanked)
        assert reason_against(str(model), str(candidate), "serving_default") == reason
