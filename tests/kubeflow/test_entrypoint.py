"""What the container's entrypoint makes of Kubeflow's arguments, before TFX reads them."""

import json
import os
from pathlib import Path

import pytest

from kubeflow import entrypoint

URI = "s3://bucket/pipeline/run/trainer/1/model"
MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


def invocation(**metadata):
    """As it arrives: the input without its type, and an output that the component does not have."""
    found = {"name": "7", "uri": URI, "type": {"instanceSchema": ""}, "metadata": metadata}
    made = {"name": "copy", "uri": f"{URI}-2", "type": MODEL}
    logs = {"name": "executor-logs", "uri": f"{URI}-logs", "type": {"schemaTitle": "system.Artifact"}}
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
        "outputs": {
            "artifacts": {"copy": {"artifacts": [made]}, "executor-logs": {"artifacts": [logs]}},
            "outputFile": "out.json",
        },
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
    uris = entrypoint.cure(cured, SPEC, paths, ["copy"])
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
    # TFX would end with "Could not import system.Artifact".
    assert cured["outputs"]["artifacts"].keys() == {"copy"}


@pytest.mark.parametrize("steps", [1.5, -0.5])
def test_a_whole_number_is_not_cut_to_one(paths, steps):
    cured = invocation()
    cured["inputs"]["parameterValues"]["steps"] = steps
    with pytest.raises(SystemExit, match=f"steps is {steps}, which is not a whole number"):
        entrypoint.cure(cured, SPEC, paths, ["copy"])


@pytest.mark.parametrize("root", ["s3://bucket", "s3://bucket/", "s3://bucket/pipeline?region=eu-west-1"])
def test_the_root_that_it_was_compiled_for(root):
    entrypoint.check_root(invocation(), root)


@pytest.mark.parametrize("root", ["s3://buck", "s3://bucket/pipe", "gs://bucket"])
def test_another_root_than_it_was_compiled_for(root):
    with pytest.raises(
        SystemExit, match=rf"writes to {URI}-2, .*pipeline_root {root}: start it with kubeflow/"
    ):
        entrypoint.check_root(invocation(), root)


def test_nobody_else_may_change_what_it_writes(tmp_path, monkeypatch):
    """Argo runs containers with a umask of 0."""
    given = invocation()
    given["outputs"]["outputFile"] = str(tmp_path / "out.json")
    folders = {"inputs.model": str(tmp_path / "in"), "outputs.copy": str(tmp_path / "out")}
    flags = {
        "json_serialized_invocation_args": json.dumps(given),
        "json_serialized_inputs_spec_args": json.dumps(SPEC),
        "local_paths": json.dumps(folders),
    }
    monkeypatch.setattr("sys.argv", ["entrypoint.py", *(f"--{name}={value}" for name, value in flags.items())])
    monkeypatch.setattr(entrypoint, "_TFX_ENTRYPOINT", "tests.kubeflow.writes_its_output")
    before = os.umask(0)
    try:
        entrypoint.main()
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o644


def test_an_input_that_is_none_is_left_out(paths):
    cured = invocation(absent=1.0)
    entrypoint.cure(cured, SPEC, paths, ["copy"])
    assert cured["inputs"]["artifacts"]["model"] == {"artifacts": []}


def test_workers_that_see_the_storage_get_its_uris():
    cured = invocation()
    assert entrypoint.cure(cured, SPEC, {}, ["copy"]) == {}
    assert cured["inputs"]["artifacts"]["model"]["artifacts"][0]["uri"] == URI
    assert cured["outputs"]["artifacts"]["copy"]["artifacts"][0]["uri"] == f"{URI}-2"
    assert cured["outputs"]["artifacts"].keys() == {"copy"}


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
