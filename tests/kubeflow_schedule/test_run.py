"""The command that starts one run, against the same server."""

import re
from types import SimpleNamespace

import pytest
import yaml

from kubeflow import run
from kubeflow.package import KubeflowError, read_package
from kubeflow.server import Server

PARAMETERS = {
    "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 10},
    "least": {"parameterType": "NUMBER_DOUBLE", "isOptional": True},
    "data": {"parameterType": "STRING", "defaultValue": ""},
}
PIPELINE = {
    "pipelineInfo": {"name": "enformer"},
    "defaultPipelineRoot": "s3://bucket/runs",
    "root": {"dag": {"tasks": {"look": {}, "train": {}}}, "inputDefinitions": {"parameters": PARAMETERS}},
    "schemaVersion": "2.1.0",
}


class Backend:
    """Tells of a run's nodes as the server does: Argo's, of the drivers and containers too."""

    def __init__(self, *looks, error=None):
        self.looks, self.error = list(looks), error

    def start(self, made):
        """Begins nothing."""

    def look(self, made):
        """Goes to the next look, and stays at the last."""
        state, nodes = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        made["state"] = state
        details = [{"display_name": name, "state": state} for name, state in nodes]
        made["run_details"] = {"task_details": details}
        if self.error and state == "FAILED":
            made["error"] = {"code": 2, "message": self.error}


@pytest.fixture
def command(server, tmp_path, monkeypatch, capfd):
    package = tmp_path / "pipeline.yaml"
    package.write_text(yaml.safe_dump_all([PIPELINE, {"platforms": {}}]))
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def start(*arguments, status=0):
        flags = ["--pipeline", str(package), "--endpoint", server.url]
        assert run.main([*arguments, *flags]) == status
        said = capfd.readouterr()
        return said.err if status and said.err else said.out

    return SimpleNamespace(run=start, package=package)


LOOKED = [("root-driver", "SUCCEEDED"), ("look-driver", "SUCCEEDED"), ("look", "SUCCEEDED")]
CACHED = [*LOOKED, ("executor", "SKIPPED"), ("train", "SUCCEEDED"), ("executor", "SUCCEEDED")]


def test_a_run_is_given_its_root_and_values_of_their_types_and_is_waited_for(command, server):
    server.backend = Backend(("RUNNING", LOOKED), ("RUNNING", LOOKED), ("SUCCEEDED", CACHED))
    said = command.run("steps=20", "least=0.5", "data=7")
    [made] = server.runs.values()
    assert made["runtime_config"] == {
        "parameters": {"steps": 20, "least": 0.5, "data": "7"},
        "pipeline_root": "s3://bucket/runs",
    }
    assert f"run {made['run_id']}\n" in said
    lines = said.splitlines()
    assert lines[-3:] == [
        "  look: succeeded",
        "  train: succeeded",
        "succeeded: 2 of 2 tasks, 1 of them from the cache",
    ]


def test_a_run_that_fails_says_which_tasks_did_what(command, server):
    failed = [("look", "FAILED"), ("executor", "FAILED")]
    server.backend = Backend(("FAILED", failed), error="Max duration limit exceeded")
    said = command.run(status=1)
    end = ["failed: 0 of 2 tasks, 0 of them from the cache", "Max duration limit exceeded"]
    assert said.splitlines()[-4:] == [*end, "  look: failed", "  train: not begun"]


def test_a_run_that_is_not_waited_for(command, server):
    assert "run run-" in command.run("--detach")
    assert not any(path.startswith("/apis/v2beta1/runs/") for _, path in server.requests)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_answers_are_waited_for_some_time(command, capfd, seconds):
    with pytest.raises(SystemExit):
        command.run(f"--timeout={seconds}")
    assert f"--timeout: {seconds} must be a number of seconds above 0" in capfd.readouterr().err


def test_a_run_that_takes_too_long_goes_on(command, server):
    server.backend = Backend(("RUNNING", LOOKED))
    said = command.run("--hours", "0", status=1)
    assert "has not ended in 0 seconds, and goes on; its tasks: {'look': 'SUCCEEDED'}" in said
    assert len(server.runs) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("steps", "'steps' is no PARAMETER=VALUE"),
        ("steps=1.5", "this run: steps is 1.5, .* takes a NUMBER_INTEGER"),
        ("steps=many", "this run: steps is 'many', "),
        ("steps=true", "this run: steps is True, "),
        ("epochs=3", "this run: .*has no epochs; it has"),
    ],
)
def test_a_value_that_the_tasks_could_not_use_asks_nothing_of_the_server(command, server, value, message):
    said = command.run(value, status=1)
    assert re.search(message, said)
    assert server.requests == []


def test_a_server_that_refuses_the_run(command, server):
    server.fail("POST", "/apis/v2beta1/runs", 400)
    assert "could not start the run: 400, it is refused" in command.run(status=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "20"}, "input parameter steps requires type NUMBER_INTEGER"),
        ({"steps": True}, "input parameter steps requires type NUMBER_INTEGER"),
        ({"data": 1}, "input parameter data requires type STRING"),
        ({"epochs": 3}, "parameter epochs provided is not required"),
        ({"steps": 1.5}, ""),  # the tasks refuse it
    ],
)
def test_the_stand_in_refuses_what_the_server_does(command, server, values, message):
    asked = Server(server.url, None, None, timeout=5)
    package = read_package(command.package)
    pipeline, version = asked.upload(package)
    places = {"pipeline": pipeline, "version": version, "experiment": asked.experiment("mouse")}
    if message:
        with pytest.raises(KubeflowError, match=f"could not start the run: 400, .*{message}"):
            asked.run("a run", values, None, **places)
    else:
        asked.run("a run", values, None, **places)
    assert len(server.runs) == int(not message)
