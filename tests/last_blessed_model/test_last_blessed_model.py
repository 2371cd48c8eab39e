"""Which model a new one is compared with."""

from tfx.types import standard_artifacts

from components.last_blessed_model.strategy import LastBlessedModelStrategy


def model(number):
    artifact = standard_artifacts.Model()
    artifact.id = number
    return artifact


def blessing(number, of, blessed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


def resolve(models, blessings, candidate):
    inputs = {"model": models, "model_blessing": blessings, "candidate": [model(candidate)]}
    resolved = LastBlessedModelStrategy().resolve_artifacts(None, inputs)
    return [artifact.id for artifact in resolved["model"] + resolved["model_blessing"]]


def test_newest_blessed_other_than_the_candidate():
    models = [model(number) for number in (3, 1, 7, 5)]
    blessings = [blessing(2, of=1), blessing(4, of=3), blessing(6, of=5, blessed=0), blessing(8, of=7)]
    assert resolve(models, blessings, candidate=9) == [7, 8]
    assert resolve(models, blessings, candidate=7) == [3, 4]


def test_none_blessed():
    assert resolve([model(1)], [], candidate=1) == []
    assert resolve([model(1)], [blessing(2, of=1)], candidate=1) == []
