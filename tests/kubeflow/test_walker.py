"""Whether the stand-in for a cluster is as strict as one: its inputs, and what it refuses."""

import copy
import json
import re

import pytest
import yaml

from pipeline.configs import PROJECT
from tests.kubeflow import rules
from tests.kubeflow.walker import LOGS, Cluster, Run, Task, recorded

FIXTURES = PROJECT / "tests/fixtures/kubeflow"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SPEC, PLATFORM = json.loads((FIXTURES / "package.json").read_text())
DRIVER = json.loads((FIXTURES / "driver.json").read_text())
FIRST_LOOK = {"data_fingerprint": "fdd62125171f3667a13909d370bbaf5e2743da7a53165d70d055bf54e41c5472"}


@pytest.fixture(scope="module")
def prepared():
    """Task -> what this driver makes, where each task gave what it gave on the cluster."""
    defaults = SPEC["root"]["inputDefinitions"]["parameters"]
    run = Run(None, SPEC, {}, {name: one["defaultValue"] for name, one in defaults.items()})
    numbers = {}
    found = {}
    while len(found) < len(DRIVER):
        for name, known in DRIVER.items():
            if name in found or not run.needed_by(name) <= found.keys():
                continue
            found[name] = run.prepare(name)
            outputs = found[name][0]["outputs"]["artifacts"]
            artifacts = {}
            for output, artifact in outputs.items():
                numbers[name, output] = str(len(numbers) + 1)
                made = artifact["artifacts"][0]
                artifacts[output] = recorded(output, made, known["output"], numbers[name, output])
            parameters = {"warm_start_fingerprint": ""} | FIRST_LOOK if name == "first-look" else {}
            run.done[name] = Task("succeeded", artifacts=artifacts, parameters=parameters)
    return found


def without_identifiers(value):
    """The same for identifiers of runs, tasks and artifacts."""
    if isinstance(value, dict):
        return {
            key: "a number"
            if key in ("name", "current_model_id") and str(one).isdigit()
            else without_identifiers(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [without_identifiers(one) for one in value]
    return UUID.sub("a uuid", value) if isinstance(value, str) else value


@pytest.mark.parametrize("task", DRIVER)
def test_the_driver_hands_over_what_the_real_one_did(prepared, task):
    invocation, command = prepared[task]
    assert without_identifiers(invocation) == without_identifiers(DRIVER[task]["executor_input"])
    assert command == DRIVER[task]["container"]


def test_the_package_that_ran_breaks_no_rule():
    assert rules.violations(SPEC, PLATFORM) == []


def broken(change):
    spec = copy.deepcopy(SPEC)
    change(spec)
    return rules.violations(spec, PLATFORM)


def retries(**fields):
    def change(spec):
        policy = spec["root"]["dag"]["tasks"]["trainer"]["retryPolicy"]
        policy.update({name: value for name, value in fields.items() if value is not None})
        for name in [name for name, value in fields.items() if value is None]:
            del policy[name]

    return change


def constant(bytes_in_all):
    def change(spec):
        value = {"runtimeValue": {"constant": "x" * bytes_in_all}}
        spec["root"]["dag"]["tasks"]["pusher"]["inputs"]["parameters"]["destination"] = value

    return change


def twice_the_same_container(spec):
    executors = spec["deploymentSpec"]["executors"]
    executors["exec-pusher"] = executors["exec-trainer"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (retries(backoffMaxDuration=None), "trainer: Max duration limit exceeded"),
        (retries(backoffFactor=1.5), "trainer: value '1.5' cannot be resolved to an int"),
        (retries(backoffDuration="1m"), "trainer: backoffDuration '1m' is no whole number of seconds"),
        (constant(95_000), "configmaps is forbidden: components-root has"),
        (lambda spec: spec.update(schemaVersion="2.0.0"), "only supports schema version 2.1.0"),
        (lambda spec: spec["pipelineInfo"].update(name="Enformer"), "cannot be called after the pipeline"),
        (lambda spec: spec["pipelineInfo"].update(name="e" * 58), "cannot be called after the pipeline"),
        (lambda spec: spec["components"].pop("comp-pusher"), "component spec for 'comp-pusher' not found"),
        (
            lambda spec: spec["deploymentSpec"]["executors"]["exec-pusher"].pop("container"),
            "comp-pusher: no container",
        ),
        (
            lambda spec: spec["root"]["dag"]["tasks"]["pusher"].update(dependentTasks=["none"]),
            "pusher: unknown producer task 'none' in DAG",
        ),
        (twice_the_same_container, "have the same container and are not the same component"),
        (
            lambda spec: spec["root"]["inputDefinitions"]["parameters"]["steps"].update(defaultValue="20"),
            "input parameter steps requires type NUMBER_INTEGER",
        ),
        (
            lambda spec: spec["root"]["dag"]["tasks"].update(
                {"two words": spec["root"]["dag"]["tasks"]["pusher"]}
            ),
            "'two words' is no name",
        ),
    ],
)
def test_what_the_compiler_and_argo_refuse(change, message):
    assert any(message in line for line in broken(change)), broken(change)


SAYS = """
import json, os, pathlib, sys
invocation = json.loads(sys.argv[1])
outputs = invocation["outputs"]
for file in map(pathlib.Path, sys.argv[2:]):
    file.mkdir(parents=True)
    (file / "file").write_text(json.dumps({"umask": os.umask(0), "folder": os.path.basename(os.getcwd())}))
pathlib.Path(outputs["outputFile"]).write_text("{}")
"""
TYPE = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


def package(script=SAYS, caching=True, **policy):
    """Two tasks of which one reads what the other made."""
    steps = {"parameterType": "NUMBER_INTEGER", "defaultValue": 4}
    made = {"artifacts": {"model": {"artifactType": TYPE}}}

    def container(*arguments):
        command = ["python", "-c", script, "{{$}}"]
        return {"container": {"image": "i:1", "command": command, "args": list(arguments)}}

    def task(name, **inputs):
        return {
            "taskInfo": {"name": name},
            "componentRef": {"name": f"comp-{name}"},
            "inputs": inputs,
            "cachingOptions": {"enableCache": caching},
            **({"retryPolicy": policy} if policy else {}),
        }

    source = {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "model"}}
    spec = {
        "pipelineInfo": {"name": "two"},
        "schemaVersion": "2.1.0",
        "defaultPipelineRoot": "s3://not/read",
        "root": {
            "inputDefinitions": {"parameters": {"steps": steps}},
            "dag": {
                "tasks": {
                    "make": task("make", parameters={"steps": {"componentInputParameter": "steps"}}),
                    "take": task("take", artifacts={"model": source}),
                }
            },
        },
        "components": {
            "comp-make": {
                "executorLabel": "exec-make",
                "inputDefinitions": {"parameters": {"steps": {"parameterType": "NUMBER_INTEGER"}}},
                "outputDefinitions": made,
            },
            "comp-take": {"executorLabel": "exec-take", "inputDefinitions": made},
        },
        "deploymentSpec": {
            "executors": {
                "exec-make": container("{{$.outputs.artifacts['model'].path}}"),
                "exec-take": container(),
            }
        },
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}
    return yaml.safe_dump_all([spec, platform])


POLICY = {"maxRetryCount": 2, "backoffDuration": "1s", "backoffFactor": 2, "backoffMaxDuration": "60s"}


def test_a_container_has_a_umask_of_0_in_app_and_its_log_is_kept(tmp_path):
    cluster = Cluster(tmp_path)
    tasks = cluster.run(package())
    assert {task.state for task in tasks.values()} == {"succeeded"}, tasks
    uri = tasks["make"].artifacts["model"]["uri"]
    assert json.loads((cluster.key(uri) / "file").read_text()) == {"umask": 0, "folder": "app"}
    assert uri.startswith("minio://mlpipeline/v2/artifacts/two/")  # defaultPipelineRoot is read nowhere
    assert cluster.key(tasks["make"].artifacts[LOGS]["uri"]).is_file()


def test_the_image_cannot_be_written(tmp_path):
    script = "open('left', 'w')"
    tasks = Cluster(tmp_path).run(package(script))
    assert "cannot write to /app: ['left']" in tasks["make"].attempts[0].log
    assert (tasks["make"].state, tasks["take"].state) == ("failed", "skipped")


def test_the_cache_goes_by_pipeline_namespace_and_what_tasks_are_given_but_not_by_env(tmp_path):
    cluster = Cluster(tmp_path)
    first = package()

    def states(text, **arguments):
        return [task.state for task in cluster.run(text, **arguments).values()]

    assert states(first) == ["succeeded"] * 2
    assert states(first) == ["cached"] * 2
    spec, platform = yaml.safe_load_all(first)
    spec["deploymentSpec"]["executors"]["exec-make"]["container"]["env"] = [{"name": "A", "value": "1"}]
    assert states(yaml.safe_dump_all([spec, platform])) == ["cached"] * 2
    assert states(first, steps=5) == ["succeeded"] * 2
    spec["pipelineInfo"]["name"] = "another"
    assert states(yaml.safe_dump_all([spec, platform])) == ["succeeded"] * 2
    cluster._namespace = "yours"
    assert states(first) == ["succeeded"] * 2


def test_another_root_with_the_old_cache_cannot_fetch_its_inputs(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.run(package())
    spec, platform = yaml.safe_load_all(package())
    spec["deploymentSpec"]["executors"]["exec-take"]["container"]["args"] = ["otherwise"]
    tasks = cluster.run(yaml.safe_dump_all([spec, platform]), pipeline_root="s3://bucket/runs")
    assert tasks["make"].state == "cached"
    assert 'failed to download input artifact "model"' in tasks["take"].attempts[0].log


@pytest.mark.parametrize(
    ("retried", "fault", "attempts", "message"),
    [
        ("OnFailure", "killed", 3, "No more retries left"),
        ("OnFailure", "deleted", 1, "Error: pod deleted"),
        ("OnError", "killed", 1, "Error (exit code 1)"),
        ("OnError", "deleted", 3, "No more retries left"),
        ("Always", "killed", 3, "No more retries left"),
        ("Always", "deleted", 3, "No more retries left"),
    ],
)
def test_what_is_retried_is_the_installations_to_say(tmp_path, retried, fault, attempts, message):
    cluster = Cluster(tmp_path, retried)
    cluster.faults = {("make", number): fault for number in range(1, 9)}
    task = cluster.run(package(**POLICY))["make"]
    assert (len(task.attempts), task.message, task.state) == (attempts, message, "failed")


def test_without_a_policy_nothing_is_retried(tmp_path):
    cluster = Cluster(tmp_path, "Always")
    cluster.faults = {("make", 1): "killed"}
    assert len(cluster.run(package())["make"].attempts) == 1


@pytest.mark.parametrize("arguments", [{"steps": "4"}, {"epochs": 4}])
def test_a_parameter_that_the_server_refuses(tmp_path, arguments):
    with pytest.raises(AssertionError, match=r"requires another type|has no parameter"):
        Cluster(tmp_path).run(package(), **arguments)


def test_a_patch_that_argo_would_need_a_config_map_for(tmp_path):
    script = f"{SAYS}\n# {'x' * 63_000}"
    task = Cluster(tmp_path).run(package(script))["make"]
    assert (task.attempts, task.message[:23]) == ([], "configmaps is forbidden")
