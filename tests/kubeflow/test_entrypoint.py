"""What the container's entrypoint makes of Kubeflow's arguments, before TFX reads them."""

import json
from pathlib import Path

import pytest

from kubeflow import entrypoint

URI = "s3://bucket/pipeline/run/trainer/1/model"
MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


def invocation(**metadata):
    """As it arrives: the input without its type."""
    found = {"name": "7", "uri": URI, "type": {"instanceSchema": ""}, "metadata": metadata}
    made = {"uri": f"{URI}-2", "type": MODEL}
    return {
        "inputs": {
            "parameterValues": {
                "steps": 8.0,
                "least": 0.5,
                "plain": "text",
                "custom_config": '{"steps": "<runtime parameter steps>", "least": "<runtime parameter least>"}',
            },
            "artifacts": {"model": {"artifacts": [found]}},
        },
        "outputs": {"artifacts": {"copy": {"artifacts": [made]}}, "outputFile": "out.json"},
    }


SPEC = {
    "parameters": {
        "steps": {"parameterType": "NUMBER_INTEGER"},
        "least": {"parameterType": "NUMBER_DOUBLE"},
        "plain": {"parameterType": "STRING"},
        "custom_config": {"parameterType": "STRING"},
    },
    "artifacts": {"model": {"artifactType": MODEL}},
}


@pytest.fixture
def paths(tmp_path):
    return {"inputs.model": str(tmp_path / "in"), "outputs.copy": str(tmp_path / "out")}


def test_types_folders_and_values_of_the_run(paths, tmp_path):
    cured = invocation()
    uris = entrypoint.cure(cured, SPEC, paths)
    (found,) = cured["inputs"]["artifacts"]["model"]["artifacts"]
    assert (found["type"], found["uri"], found["name"]) == (MODEL, str(tmp_path / "in"), "7")
    (made,) = cured["outputs"]["artifacts"]["copy"]["artifacts"]
    assert made["uri"] == str(tmp_path / "out")
    assert (tmp_path / "out").is_dir()
    assert cured["inputs"]["parameterValues"]["plain"] == "text"
    custom_config = json.loads(cured["inputs"]["parameterValues"]["custom_config"])
    assert custom_config == {"steps": 8, "least": 0.5}
    assert isinstance(custom_config["steps"], int)
    assert uris == {str(tmp_path / "in"): URI, str(tmp_path / "out"): f"{URI}-2"}


def test_an_input_that_is_none_is_left_out(paths):
    cured = invocation(absent=1.0)
    entrypoint.cure(cured, SPEC, paths)
    assert cured["inputs"]["artifacts"]["model"] == {"artifacts": []}


def test_workers_that_see_the_storage_get_its_uris():
    cured = invocation()
    assert entrypoint.cure(cured, SPEC, {}) == {}
    assert cured["inputs"]["artifacts"]["model"]["artifacts"][0]["uri"] == URI
    assert cured["outputs"]["artifacts"]["copy"]["artifacts"][0]["uri"] == f"{URI}-2"


def test_workers_that_see_a_volume_get_copies_there_for_a_time(paths, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    with entrypoint.on_volume(paths, tmp_path / "volume") as folders:
        assert folders.keys() == paths.keys()
        copied = Path(folders["inputs.model"], "file").read_text()
        Path(folders["outputs.copy"], "file").write_text(copied * 2)
    assert (tmp_path / "out" / "file").read_text() == "xx"
    assert not list((tmp_path / "volume").iterdir())


def test_uris_are_restored(tmp_path):
    file = tmp_path / "out.json"
    metadata = {"blessed": 1.0, "current_model": "/pod/in"}
    output = {"artifacts": {"copy": {"artifacts": [{"uri": "/pod/in_2", "metadata": metadata}]}}}
    file.write_text(json.dumps(output))
    entrypoint.restore_uris(file, {"/pod/in": URI, "/pod/in_2": f"{URI}-2"})
    (made,) = json.loads(file.read_text())["artifacts"]["copy"]["artifacts"]
    assert made == {"uri": f"{URI}-2", "metadata": {"blessed": 1.0, "current_model": URI}}
