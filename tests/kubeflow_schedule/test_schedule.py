"""The command against a server that holds it to the API's published description."""

import datetime
import socket
import subprocess
import sys
from types import SimpleNamespace

import kfp_server_api
import pytest
import yaml

from kubeflow import schedule
from tests.kubeflow_schedule.server import SPECIFICATION

PARAMETERS = {
    "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 10},
    "max_drop": {"parameterType": "NUMBER_DOUBLE", "isOptional": True},
    "data": {"parameterType": "STRING"},
}
PIPELINE = {
    "pipelineInfo": {"name": "enformer"},
    "root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": PARAMETERS}},
    "schemaVersion": "2.1.0",
}
SCHEDULE = {"name": "weekly", "experiment": "mouse", "cron": "0 0 3 * * MON", "parameters": {"data": "f1"}}
RUNS = "/apis/v2beta1/recurringruns"


@pytest.fixture
def command(server, tmp_path, monkeypatch, capfd):
    """Runs the command on files of this test; `set` changes `schedule` in the configuration."""
    config, package = tmp_path / "config.yaml", tmp_path / "pipeline.yaml"
    package.write_text(yaml.safe_dump_all([PIPELINE, {"platforms": {}}]))
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(schedule.time, "sleep", lambda seconds: None)

    def set_schedule(**fields):
        config.write_text(yaml.safe_dump({"image": "of the compiler", "schedule": SCHEDULE | fields}))

    def run(action, *flags, status=0):
        files = ["--config", str(config), "--pipeline", str(package)]
        assert schedule.main([action, *files, "--endpoint", server.url, *flags]) == status
        said = capfd.readouterr()
        return said.err if status else said.out

    set_schedule()
    return SimpleNamespace(run=run, set=set_schedule, package=package, config=config)


def only(server):
    [run] = server.recurring_runs.values()
    return run


def test_create_show_pause_resume_delete(command, server):
    assert "weekly: made" in command.run("create")
    run = only(server)
    assert run["status"] == "ENABLED"
    assert run["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * MON"}}
    assert (run["no_catchup"], int(run["max_concurrency"])) == (True, 1)
    assert run["runtime_config"]["parameters"] == {"data": "f1"}
    assert (
        server.files[run["pipeline_version_reference"]["pipeline_version_id"]] == command.package.read_bytes()
    )
    [experiment] = server.experiments.values()
    assert (experiment["experiment_id"], experiment["display_name"]) == (run["experiment_id"], "mouse")

    shown = command.run("show")
    assert f"weekly: recurring run {run['recurring_run_id']}, enabled" in shown
    assert 'cron: "0 0 3 * * MON"' in shown
    command.run("pause")
    assert run["status"] == "DISABLED"
    assert "paused" in command.run("show")
    command.run("resume")
    assert run["status"] == "ENABLED"
    command.run("delete")
    assert server.deleted == [(run["recurring_run_id"], "ORPHAN")]
    assert "experiment mouse has no weekly" in command.run("show", status=1)


def test_create_again_changes_nothing(command, server):
    command.run("create")
    before = dict(only(server))
    server.requests.clear()
    assert "weekly: unchanged" in command.run("create")
    assert {method for method, _ in server.requests} == {"GET"}
    assert only(server) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [({"cron": "0 30 4 * * *"}, "cron"), ({"parameters": {"data": "f1", "steps": 20}}, "parameters")],
)
def test_a_change_replaces(command, server, change, said):
    command.run("create")
    old = only(server)["recurring_run_id"]
    command.set(**change)
    server.requests.clear()
    server.enabled.clear()
    assert f"replaced ({said})" in command.run("create")
    new = only(server)
    assert new["status"] == "ENABLED"
    assert new["trigger"]["cron_schedule"]["cron"] == change.get("cron", SCHEDULE["cron"])
    assert [request for request in server.requests if request[0] != "GET"] == [
        ("POST", RUNS),
        ("POST", f"{RUNS}/{old}:disable"),
        ("POST", f"{RUNS}/{new['recurring_run_id']}:enable"),
        ("DELETE", f"{RUNS}/{old}"),
    ]
    assert max(server.enabled) == 1
    assert len(server.versions) == 1


def test_a_pipeline_that_changed_is_another_version(command, server):
    command.run("create")
    command.package.write_text(command.package.read_text() + "# changed\n")
    assert "replaced (pipeline version)" in command.run("create")
    version = only(server)["pipeline_version_reference"]["pipeline_version_id"]
    assert server.files[version] == command.package.read_bytes()
    assert (len(server.pipelines), len(server.versions)) == (1, 2)


def test_the_pipeline_root_goes_with_the_run_as_kubeflow_reads_it_nowhere_else(command, server):
    command.run("create")
    assert "pipeline_root" not in only(server)["runtime_config"]
    text = command.package.read_text()
    for root in ("s3://bucket/one", "s3://bucket/two"):
        command.package.write_text(f"defaultPipelineRoot: {root}\n{text}")
        assert "replaced (pipeline version, pipeline root)" in command.run("create")
        assert only(server)["runtime_config"] == {"parameters": {"data": "f1"}, "pipeline_root": root}
        assert f'pipeline root: "{root}"' in command.run("show")
        assert "weekly: unchanged" in command.run("create")


def test_paused_stays_paused(command, server):
    command.run("create")
    command.run("pause")
    command.set(cron="0 30 4 * * *")
    assert "paused as before" in command.run("create")
    assert only(server)["status"] == "DISABLED"


DISABLE, ENABLE = f"{RUNS}/.*:disable", f"{RUNS}/.*:enable"


def schedules(server):
    return [(run["status"], run["trigger"]["cron_schedule"]["cron"]) for run in server.recurring_runs.values()]


@pytest.mark.parametrize("how", [500, "lose", "hang"])
@pytest.mark.parametrize("path", [RUNS, DISABLE, ENABLE])
def test_a_replacement_that_fails_leaves_one_running(command, server, path, how):
    command.run("create")
    command.set(cron="0 30 4 * * *")
    server.fail("POST", path, how)
    assert server.url in command.run("create", "--timeout", "0.5", status=1)
    assert [each for each in schedules(server) if each[0] == "ENABLED"] == [("ENABLED", "0 0 3 * * MON")]
    command.run("create")
    assert schedules(server) == [("ENABLED", "0 30 4 * * *")]
    assert max(server.enabled) == 1


def test_a_replacement_that_cannot_go_back_says_so(command, server):
    command.run("create")
    command.set(cron="0 30 4 * * *")
    server.fail("POST", ENABLE, 500, times=2)
    assert "it may be paused now: `create`, then `resume`" in command.run("create", status=1)
    assert "paused as before" in command.run("create")
    command.run("resume")
    assert schedules(server) == [("ENABLED", "0 30 4 * * *")]
    assert max(server.enabled) == 1


def test_an_old_one_that_could_not_be_deleted_goes_next_time(command, server):
    command.run("create")
    command.set(cron="0 30 4 * * *")
    server.fail("DELETE", f"{RUNS}/.*", 500)
    assert "could not delete" in command.run("create", status=1)
    assert schedules(server) == [("DISABLED", "0 0 3 * * MON"), ("ENABLED", "0 30 4 * * *")]
    # Back to what it was: the one that was left would run the time that it missed, so it is not taken again.
    command.set()
    command.run("create")
    assert schedules(server) == [("ENABLED", "0 0 3 * * MON")]
    assert only(server)["recurring_run_id"] not in [identifier for identifier, _ in server.deleted]
    assert len(server.deleted) == 2


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "400, it is refused"),
        (401, "401, it wants credentials; set KFP_EXISTING_TOKEN"),
        (403, "403, these credentials may not do that in this server"),
        (404, "404, not found; is the endpoint Kubeflow Pipelines' own"),
        (409, "409, it exists already"),
        (500, "500, the server failed"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "doing", "stays"),
    [
        ("GET", "/apis/v2beta1/healthz", "reach it", ""),
        ("POST", "/apis/v2beta1/pipelines", "create the pipeline", ""),
        ("POST", "/apis/v2beta1/pipelines/upload_version", "upload the pipeline", "pipeline enformer"),
        ("POST", "/apis/v2beta1/experiments", "create the experiment", "pipeline enformer, version enformer-"),
        ("POST", RUNS, "create the recurring run", "pipeline enformer, version enformer-"),
    ],
)
def test_the_server_refuses(command, server, method, path, doing, stays, status, message):
    server.fail(method, path, status)
    said = command.run("create", status=1)
    assert said.startswith(f"{server.url}: could not {doing}: {message}")
    assert "as the test wants" in said or path.endswith("healthz")
    assert (f"stays on the server, for the next `create`: {stays}" in said) == bool(stays)
    assert server.recurring_runs == {}
    command.run("create")
    assert (len(server.pipelines), len(server.versions), len(server.recurring_runs)) == (1, 1, 1)


def test_credentials(command, server, monkeypatch):
    server.token = "right"
    assert "it wants credentials; set KFP_EXISTING_TOKEN" in command.run("create", status=1)
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "wrong")
    said = command.run("create", status=1)
    assert "KFP_EXISTING_TOKEN is refused" in said
    assert "wrong" not in said
    assert not server.pipelines
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "right")
    command.run("create")


def test_a_sign_in_page(command, server):
    server.fail("GET", "/apis/v2beta1/healthz", "page")
    assert "it answers with a page, as to sign in" in command.run("show", status=1)


def test_several_users(command, server):
    server.multi_user = True
    assert "set --namespace or KFP_NAMESPACE" in command.run("create", status=1)
    command.run("create", "--namespace", "me")
    assert [pipeline["namespace"] for pipeline in server.pipelines.values()] == ["me"]
    assert [experiment["namespace"] for experiment in server.experiments.values()] == ["me"]
    assert "weekly" in command.run("show", "--namespace", "me")


def test_unreachable(command, server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert f"{nobody}: could not reach it:" in command.run("create", "--endpoint", nobody, status=1)
    with pytest.raises(SystemExit):
        command.run("show", "--timeout", "0")  # which would wait for ever
    server.fail("GET", "/apis/v2beta1/healthz", "hang")
    assert "could not reach it: no answer in 0.2 seconds" in command.run("show", "--timeout", "0.2", status=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cron": "0 3 * * 1"}, "schedule.cron: Value error, cron '0 3 * * 1' has 5 fields, not six"),
        ({"name": ""}, "schedule.name: "),
        ({"crom": "0 0 3 * * 1"}, "schedule.crom: Extra inputs are not permitted"),
        ({"parameters": {}}, "has no default for data; add it"),
        ({"parameters": {"data": "f1", "epochs": 3}}, "has no epochs; it has data, max_drop, steps"),
        ({"parameters": {"data": "f1", "steps": 2.5}}, "steps is 2.5, "),
        ({"parameters": {"data": "f1", "steps": True}}, "steps is True, "),
        ({"parameters": {"data": 1}}, "data is 1, "),
    ],
)
def test_a_wrong_configuration_asks_nothing_of_the_server(command, server, fields, message):
    command.set(**fields)
    assert message in command.run("create", status=1)
    assert server.requests == []


def test_files_that_are_not_there(command, server):
    command.package.write_text("a: b")
    assert "is no compiled pipeline; run `make kubeflow`" in command.run("create", status=1)
    command.package.unlink()
    assert "pipeline.yaml: is not there; run `make kubeflow`" in command.run("create", status=1)
    command.config.write_text("image: x")
    assert "has no mapping `schedule`" in command.run("show", status=1)
    command.config.write_text("schedule: {")
    assert "config.yaml: cannot be read" in command.run("show", status=1)
    command.config.unlink()
    assert "config.yaml: is not there" in command.run("show", status=1)
    assert server.requests == []


@pytest.mark.parametrize("action", ["show", "pause", "resume", "delete"])
def test_nothing_is_scheduled(command, server, action):
    assert "experiment mouse has no weekly; `create` it" in command.run(action, status=1)
    assert {method for method, _ in server.requests} == {"GET"}


def test_as_a_command(command, server):
    command.run("create")
    files = ["--config", command.config, "--pipeline", command.package]
    environment = {"PATH": "", "HOME": str(command.config.parent)}

    def run(**more):
        line = [sys.executable, schedule.__file__, "show", *files]
        return subprocess.run(line, env=environment | more, capture_output=True, text=True, check=False)

    shown = run(KFP_ENDPOINT=server.url)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("weekly: recurring run")
    lost = run()
    assert (lost.returncode, lost.stdout) == (1, "")
    assert lost.stderr == "which server? set --endpoint or KFP_ENDPOINT, such as http://localhost:8888\n"


def test_the_description_agrees_with_the_published_models():
    """kfp-server-api is generated from the API's published description; ours is restated from it."""
    kinds = {
        "string": "str",
        "boolean": "bool",
        "integer": "int",
        "array": "list",
        "object": ("dict", "object"),
    }
    for name, schema in SPECIFICATION["definitions"].items():
        if "properties" not in schema or name in ("Filter", "Predicate"):
            continue
        model = getattr(kfp_server_api, name if name.startswith("Google") else f"V2beta1{name}")
        published = {model.attribute_map[field]: kind for field, kind in model.openapi_types.items()}
        for field, definition in schema["properties"].items():
            kind = published[field]
            if "$ref" in definition:
                assert kind.removeprefix("V2beta1") == definition["$ref"].rpartition("/")[2]
            elif "enum" in definition and kind != "str":
                allowed = getattr(kfp_server_api, kind).allowable_values
                assert set(definition["enum"]) <= set(allowed), field
            elif "enum" not in definition:
                declared = definition["type"] if isinstance(definition["type"], str) else definition["type"][0]
                expected = "datetime" if definition.get("format") == "date-time" else kinds[declared]
                assert kind.startswith(expected), field


def test_the_server_notices_what_the_description_forbids(server):
    """Else it would prove nothing."""
    api = kfp_server_api.RecurringRunServiceApi(
        kfp_server_api.ApiClient(kfp_server_api.Configuration(host=server.url))
    )
    with pytest.raises(kfp_server_api.ApiException):
        api.recurring_run_service_delete_recurring_run("none", propagation_policy="KEEP")
    cron = {"display_name": "a", "max_concurrency": 11, "trigger": {"cron_schedule": {"cron": "0 0 3 * * 1"}}}
    with pytest.raises(kfp_server_api.ApiException):
        api.recurring_run_service_create_recurring_run({**cron, "cron": "0 0 3 * * 1"})
    with pytest.raises(kfp_server_api.ApiException):
        api.recurring_run_service_create_recurring_run({**cron, "max_concurrency": 1})
    kept, server.violations[:] = server.violations.copy(), []
    words = ["'KEEP' is not one of", "'cron' was unexpected", "lacks ['mode']"]
    for violation, word in zip(kept, words, strict=True):
        assert word in violation


def test_a_command_killed_in_between_leaves_none_running_and_the_next_says_so(command, server):
    quiet = (datetime.datetime.now().minute + 7) % 60  # so that it does not wait
    command.set(cron=f"0 {quiet} 3 * * *")
    command.run("create")
    command.set(cron=f"0 {quiet} 4 * * *")
    server.fail("POST", ENABLE, "hang")
    files = ["--config", command.config, "--pipeline", command.package, "--endpoint", server.url]
    process = subprocess.Popen([sys.executable, schedule.__file__, "create", *files], stdout=subprocess.DEVNULL)
    assert server.hanging.wait(90)
    process.kill()
    process.wait()
    assert [status for status, _ in schedules(server)] == ["DISABLED", "DISABLED"]
    assert "paused as before: `resume` starts it" in command.run("create")
    assert schedules(server) == [("DISABLED", f"0 {quiet} 4 * * *")]
