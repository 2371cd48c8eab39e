"""The parts of the test on a cluster, against servers that stand for one. The cluster itself is the user's."""

import json
import shutil
import tarfile
import time

import kubernetes
import numpy as np
import pytest
import tensorflow as tf
import yaml

from kubeflow.package import read_package
from kubeflow.server import Server
from pipeline.configs import PROJECT
from tests.kubeflow_cluster import namespace as namespaces
from tests.kubeflow_cluster import proof
from tests.kubeflow_cluster.namespace import Namespace, NamespaceError

TASKS = json.loads((PROJECT / "tests/fixtures/kubeflow/package.json").read_text())[0]["root"]["dag"]["tasks"]
PLAN = proof.Plan(image="registry.example.com/enformer-keras:test", stamp="1", limit_s=60)


def write_model(folder):
    """A model that is asked for sequences, with what the Trainer says of it."""
    served = tf.Module()

    def predict(sequences):
        return {"tiny": tf.ones([tf.size(sequences), 4, 3])}

    served.predict_sequences = tf.function(predict, [tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(served, str(folder))
    extra = folder / "assets.extra"
    extra.mkdir()
    np.savez(extra / "predictions.npz", sequences=np.array([b"ACGT"]), head_tiny=np.ones([1, 4, 3]))


class Backend:
    """Runs every task at once, or takes it from the cache; a training of many steps waits until it is killed.

    Args:
        kubernetes_server: where the pods are.
        retried: what Argo retries: `deleted` pods, `ended` processes, or both.
        fails: a task that fails.
        model: what is pushed.
    """

    def __init__(self, kubernetes_server, retried=("deleted", "ended"), fails=None, model=None):
        self.kubernetes, self.retried, self.fails, self.model = kubernetes_server, retried, fails, model
        self.cached = set()

    def start(self, run):
        """Makes the pods of what is not cached."""
        steps = str(run.get("runtime_config", {}).get("parameters", {}))
        executed = [task for task in TASKS if task == "first-look" or (task, steps) not in self.cached]
        waits = "steps" in steps
        for task in executed:
            log = "step 4: loss 1.0\nstep 8: loss 0.5\n" if task == "trainer" and waits else f"{task} is done\n"
            self.pod(run, task, 0, log)
        self.cached |= {(task, steps) for task in TASKS if task != self.fails}
        run["executed"] = executed
        run["state"] = "RUNNING"
        version = self.kubernetes.folders["enformer-runs"] / PLAN.name / "pushed" / "7"
        if not version.exists():
            shutil.copytree(self.model, version)

    def pod(self, run, task, attempt, log):
        """Makes a pod as Argo does, and the driver's beside it."""
        name, run_id = f"{run['run_id']}-{task}-{attempt}", run["run_id"]
        self.kubernetes.add_pod(f"{name}-driver", run_id, f"x.root.{task}-driver")
        self.kubernetes.add_pod(name, run_id, f"x.root.{task}.executor({attempt})", log)

    def look(self, run):
        """Ends the run, unless its training waits."""
        executed = run["executed"]
        state = "SUCCEEDED"
        if "steps" in str(run.get("runtime_config")):
            first = f"{run['run_id']}-trainer-0"
            how = [how for name, how in self.kubernetes.ended if name == first]
            if not how:
                return
            if how[0] in self.retried:
                self.pod(run, "trainer", 1, "folder: going on from step 4\n")
            else:
                state = "FAILED"
        if self.fails in executed:
            state = "FAILED"
        nodes = [(task, state if task == self.fails else "SUCCEEDED") for task in TASKS]
        nodes += [("executor", "SUCCEEDED" if task in executed else "SKIPPED") for task in TASKS]
        run["run_details"] = {"task_details": [{"display_name": name, "state": one} for name, one in nodes]}
        run["state"] = state


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "7"
    write_model(folder)
    return folder


@pytest.fixture
def rehearsal(server, kubernetes_server, model, tmp_path, monkeypatch):
    """The test on the stand-ins, with the package that ran on a cluster."""
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    pause = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: pause(0.01))
    package = tmp_path / "pipeline.yaml"
    package.write_text(
        yaml.safe_dump_all(json.loads((PROJECT / "tests/fixtures/kubeflow/package.json").read_text()))
    )
    genome = tmp_path / "genome"
    genome.mkdir()
    (genome / "dataset.yaml").write_text("splits: {}")
    said = []

    def rehearse(plan=PLAN, **backend):
        server.answer = plain(server.answer)
        server.backend = Backend(kubernetes_server, model=model, **backend)
        test = proof.ClusterTest(
            Server(server.url, "kubeflow", None, timeout=5),
            namespace_of(kubernetes_server),
            plan,
            read_package(package),
            said.append,
        )
        test.run(genome, tmp_path / "model")

    rehearse.said = said
    return rehearse


def plain(answer):
    """Hides what the backend remembers of a run from the client."""

    def hide(value):
        if isinstance(value, dict):
            return {key: hide(one) for key, one in value.items() if key != "executed"}
        return [hide(one) for one in value] if isinstance(value, list) else value

    return lambda *arguments: hide(answer(*arguments))


def namespace_of(kubernetes_server):
    configuration = kubernetes.client.Configuration(host=kubernetes_server.url)
    return Namespace("kubeflow", kubernetes.client.ApiClient(configuration))


def nothing_stays(server, kubernetes_server):
    assert not any([server.runs, server.pipelines, server.versions, server.experiments, server.recurring_runs])
    assert not any([kubernetes_server.claims, kubernetes_server.config_maps])
    assert not any(PLAN.name in pod for pod in kubernetes_server.pods)


def test_all_steps(rehearsal, server, kubernetes_server):
    rehearsal()
    said = "\n".join(rehearsal.said)
    for line in (
        "made claim enformer-data",
        "  executed: 15 of 15 tasks",
        "  executed: 1 of 15 tasks",
        "  its pod is deleted, after a checkpoint",
        "  retried, and going on from step 4",
        "  7: head tiny, (1, 4, 3), as the Trainer's",
    ):
        assert line in said
    assert "stays" not in said
    nothing_stays(server, kubernetes_server)
    folders = [kubernetes_server.folders[claim] for claim in (PLAN.data_claim, PLAN.runs_claim)]
    assert [list(folder.iterdir()) for folder in folders] == [[], []]
    assert server.deleted[0][1] == "ORPHAN"  # the recurring run's first run went on


def test_an_installation_that_retries_processes_alone(rehearsal):
    rehearsal(retried=("ended",))
    said = "\n".join(rehearsal.said)
    assert "  its pod is deleted, after a checkpoint" in said
    assert "  not retried: FAILED\n" in said
    assert "  its process is ended, after a checkpoint\n" in said
    assert "  retried, and going on from step 4" in said


def test_an_installation_that_retries_nothing(rehearsal, server, kubernetes_server):
    with pytest.raises(proof.TestFailedError, match="retries neither a deleted pod nor a failed process"):
        rehearsal(retried=())
    nothing_stays(server, kubernetes_server)


def test_a_run_that_fails_tells_each_state_and_what_was_printed(rehearsal, server, kubernetes_server):
    with pytest.raises(proof.TestFailedError) as failed:
        rehearsal(fails="transform")
    said = str(failed.value)
    assert "  transform: failed\n    run-" in said
    assert "      transform is done" in said
    assert "  trainer: succeeded\n" in said
    nothing_stays(server, kubernetes_server)


def test_keep(rehearsal, server, kubernetes_server):
    kubernetes_server._create("persistentvolumeclaims", kubernetes_server.claims, claim("enformer-data"))
    rehearsal(proof.Plan(image=PLAN.image, stamp="1", keep=True))
    assert len(server.runs) == 4
    assert kubernetes_server.claims.keys() == {"enformer-data", "enformer-runs"}
    assert (kubernetes_server.folders["enformer-data"] / PLAN.name / "dataset.yaml").exists()
    assert "made claim enformer-data" not in rehearsal.said


def test_what_cannot_be_removed_is_told(rehearsal, server):
    server.fail("DELETE", "/apis/v2beta1/experiments/.*", 500)
    rehearsal()
    [line] = [line for line in rehearsal.said if line.startswith("stays")]
    assert line.startswith(f"stays, for you to remove: experiment {PLAN.name} (")


def claim(name):
    resources = {"requests": {"storage": "1Gi"}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteMany"], "resources": resources}}


def test_a_claim_that_cannot_be_written(rehearsal, server, kubernetes_server):
    kubernetes_server._create("persistentvolumeclaims", kubernetes_server.claims, claim("enformer-runs"))
    (kubernetes_server.folders["enformer-runs"] / PLAN.name).write_text("")
    with pytest.raises(NamespaceError, match=r"the claim must be writable for the tasks' user, 1000"):
        rehearsal()
    assert not server.pipelines


def test_a_pod_that_does_not_begin(kubernetes_server):
    kubernetes_server.add_pod("stuck", "none", "", phase="Pending")
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff"}}, "name": "main", "ready": False}
    kubernetes_server.pods["stuck"]["status"]["containerStatuses"] = [
        {**waiting, "image": "i", "imageID": "", "restartCount": 0}
    ]
    with pytest.raises(NamespaceError, match="pod stuck is Pending after 0 seconds: ImagePullBackOff"):
        namespace_of(kubernetes_server)._wait_for("stuck", 0)


def test_what_kubernetes_forbids_is_said(kubernetes_server):
    kubernetes_server.forbidden = {("POST", "persistentvolumeclaims"), ("GET", "pods")}
    namespace = namespace_of(kubernetes_server)
    with pytest.raises(NamespaceError, match="namespace kubeflow: could not make claim a: 403 Forbidden"):
        namespace.claim("a", "1Gi", "ReadWriteMany", None)
    with pytest.raises(NamespaceError, match="could not list pods: 403"):
        namespace.check()


@pytest.mark.parametrize(
    ("flags", "missing"),
    [([], "HOST, IMAGE, NAMESPACE: not set"), (["--host=http://h", "--namespace=n"], "IMAGE: not set")],
)
def test_without_a_cluster_it_says_what_it_needs(capsys, flags, missing):
    assert proof.main(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith(missing)
    assert "It needs\n  HOST " in said


def test_without_kubectls_settings_it_says_what_it_needs(server, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert proof.main([f"--host={server.url}", "--image=i:1", "--namespace=kubeflow"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("no cluster is set up for kubectl here (")
    assert said.out == ""


def test_a_model_that_answers_otherwise(model, tmp_path):
    shutil.copytree(model, tmp_path / "7")
    np.savez(
        tmp_path / "7/assets.extra/predictions.npz",
        sequences=np.array([b"ACGT"]),
        head_tiny=np.zeros([1, 4, 3]),
    )
    with pytest.raises(proof.TestFailedError, match="head tiny does not answer as the trained model did"):
        list(proof.ask(tmp_path / "7"))


def test_the_scripts_of_the_pods_need_python_alone():
    for script in (proof.UNPACK, proof.FETCH, proof.REMOVE):
        imported = {
            name
            for line in script.splitlines()
            if line.startswith("import")
            for name in line[7:].split(";")[0].split(", ")
        }
        assert imported <= {"base64", "pathlib", "shutil", "sys", "tarfile"}
    assert tarfile.data_filter  # of Python 3.11.4 on, which the image has
    assert namespaces.GIVEN == "/given"
