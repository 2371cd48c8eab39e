"""The proof that the pipeline runs on Kubeflow, without a cluster (`make kubeflow-test`).

The tiny pipeline of tests/pipeline is compiled as pipeline.yaml is, and walked: see walker.py for what stands
for the image, the pods and the storage. Some 30 processes take eight minutes of CPU, most of it to import TFX.

With PRISM= the path of Beam's runner of that name, Beam's tasks run there too.
"""

import dataclasses
import json

import keras
import numpy as np
import pytest

from components.examples import records
from components.examples.account import read_accounts
from components.trainer.serving import MODEL_CARD
from components.trainer.training import TRAINABLE_MODEL
from kubeflow.compile import compile_pipeline
from kubeflow.config import Beam, Config
from pipeline.configs import SPLITS
from tests.beam_services import job_service, workers_in
from tests.kubeflow.beam_prism import prism
from tests.kubeflow.walker import Cluster
from tests.pipeline.conftest import Chain

RETRIES = 1
CONFIG = Config.model_validate(
    {
        "image": "registry.example.com/enformer-keras:test",
        "pipeline": {"dataset": "see settings", "run": "see settings", "steps": 1},
        "defaults": {"retries": {"count": RETRIES}},
    }
)
EXECUTED = {"succeeded", "failed"}


class Proof:
    """Runs of one compiled pipeline on one cluster, and a run of the same by the local runner."""

    def __init__(self, folder):
        self.local = Chain(folder)
        # The model of the local runner must not be among those that were pushed on the cluster.
        self.settings = dataclasses.replace(self.local.settings, run=folder / "claim")
        self.package = compile_pipeline(self.settings, CONFIG).text()
        self.cluster = Cluster(folder / "cluster")

    def run(self, faults=(), package=None, **arguments):
        self.cluster.faults = dict(faults)
        tasks = self.cluster.run(package or self.package, **arguments)
        for name, task in tasks.items():
            for attempt in task.attempts:
                print(f"==== {name}: {task.state}, status {attempt.status}\n{attempt.log[-3000:]}")
        return tasks

    def versions(self):
        return sorted(self.settings.pushed.glob("[0-9]*")) if self.settings.pushed.exists() else []


def content_of(folder):
    """The examples of a folder by split, in an order that no worker decides; and how they were built."""
    read = {}
    for split in SPLITS:
        files = sorted(map(str, (folder / f"Split-{split}").iterdir()))
        read[split] = sorted(records.read_record(place) for place in records.find_records(files))
    return read, read_accounts(str(folder))


def states(tasks, *wanted):
    return {name for name, task in tasks.items() if task.state in wanted}


def killed(task):
    return {(task, attempt): "killed" for attempt in range(1, 2 + RETRIES)}


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    return Proof(tmp_path_factory.mktemp("kubeflow"))


@pytest.fixture(scope="module")
def first(proof):
    """The upload of the first examples breaks off, and the infra check is killed whenever it runs."""
    return proof.run({("genome-example-gen", 1): "upload", **killed("infra-check")})


@pytest.fixture(scope="module")
def second(proof, first):
    """All is well."""
    return proof.run()


def test_a_failing_task_stops_what_depends_on_it_and_nothing_else(first):
    assert states(first, "failed") == {"infra-check"}
    assert states(first, "skipped") == {"pusher", "evaluation-reporter", "variant-scorer"}
    assert len(first["infra-check"].attempts) == 1 + RETRIES
    assert first["infra-check"].message == "No more retries left"


def test_a_retried_task_does_not_duplicate_its_output(proof, first):
    task = first["genome-example-gen"]
    assert [attempt.status for attempt in task.attempts] == [0, 0]
    assert "the upload broke off" in task.attempts[0].log
    examples, accounts = content_of(proof.cluster.key(task.artifacts["examples"]["uri"]))
    for split, found in examples.items():
        written = sum(account.splits[split].written for account in accounts.values())
        assert len(found) == len(set(found)) == written


def test_a_second_run_takes_from_the_cache_what_succeeded(first, second):
    assert states(second, "cached") == states(first, "succeeded") - {"first-look"}
    assert states(second, "succeeded") == {
        "first-look",
        "infra-check",
        "pusher",
        "evaluation-reporter",
        "variant-scorer",
    }


def test_nobody_else_may_change_what_is_on_the_claim(proof, second):
    """Though containers have a umask of 0."""
    for path in (proof.settings.pushed, *proof.settings.pushed.rglob("*"), *proof.settings.run.rglob(".*")):
        assert path.stat().st_mode & 0o022 == 0, path


def test_the_pushed_model_is_the_local_runners(proof, second):
    (pushed,) = proof.versions()
    proof.local.run()
    models = [
        keras.saving.load_model(version / TRAINABLE_MODEL) for version in (pushed, proof.local.outcome().pushed)
    ]
    weights = [model.get_weights() for model in models]
    assert max(np.abs(one).max() for one in weights[0]) > 0
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_third_run_does_nothing(proof, second):
    third = proof.run()
    assert states(third, *EXECUTED) == {"first-look"}
    assert len(proof.versions()) == 1


def test_a_run_that_says_otherwise_trains_from_and_is_compared_with_the_last_pushed_model(proof, second):
    tasks = proof.run(steps=4, threshold_log1p_pearson_r=-0.5, warm_start="last_blessed")
    assert states(tasks, *EXECUTED) == {
        "first-look",
        "trainer",
        "last-pushed-model",
        "evaluator",
        "infra-check",
        "pusher",
        "evaluation-reporter",
        "variant-scorer",
    }
    assert states(tasks, "failed") == set()
    old, new = proof.versions()
    card = json.loads((new / MODEL_CARD).read_text())
    assert card["lineage"]["step"] == 4
    assert card["lineage"]["started_from"] == str(old)
    assert card["code"]["fingerprint"] == CONFIG.image
    blessing = tasks["evaluator"].artifacts["blessing"]["metadata"]
    assert blessing["baseline_model_id"] == tasks["last-pushed-model"].artifacts["model"]["name"]
    baseline = proof.cluster.key(tasks["last-pushed-model"].artifacts["model"]["uri"]) / "Format-Serving"
    assert (baseline / "fingerprint.pb").read_bytes() == (old / "fingerprint.pb").read_bytes()
    scored = [proof.cluster.key(run["variant-scorer"].artifacts["scores"]["uri"]) for run in (second, tasks)]
    said = [json.loads((folder / "summary.json").read_text()) for folder in scored]
    assert [one["pushed"] for one in said] == [old.name, new.name]
    assert [one["organisms"]["tiny"]["statuses"]["scored"] for one in said] == [20, 20]
    assert [one["organisms"]["tiny"]["compared_with"] for one in said] == [None, old.name]


@pytest.mark.parametrize("engine", [job_service, prism])
def test_workers_of_beam_may_be_in_other_pods(proof, second, tmp_path, engine):
    """Every task that runs on Beam, the Evaluator's among them; the examples are the same."""
    with engine() as jobs, workers_in(tmp_path) as workers:
        flags = f"--runner=PortableRunner --job_endpoint={jobs} --environment_type=EXTERNAL "
        flags += f"--environment_config={workers} --sdk_container_image=its.own/image:1"
        beam = Beam(flags=flags, files="volume")
        arguments = (*proof.settings.beam_arguments, *beam.arguments)
        package = compile_pipeline(
            dataclasses.replace(proof.settings, beam_arguments=arguments),
            CONFIG.model_copy(update={"beam": beam}),
        ).text()
        tasks = proof.run(killed("infra-check"), package)
    on_beam = {"genome-example-gen", "data-reporter", "statistics-gen", "leak-audit", "transform", "evaluator"}
    assert states(tasks, "succeeded") >= on_beam
    assert states(tasks, "failed") == {"infra-check"}
    uris = [run["genome-example-gen"].artifacts["examples"]["uri"] for run in (second, tasks)]
    assert uris[0] != uris[1]
    pod, elsewhere = (content_of(proof.cluster.key(uri)) for uri in uris)
    assert elsewhere == pod
    blessing = tasks["evaluator"].artifacts["blessing"]["metadata"]
    assert blessing["blessed"] == 1
    assert blessing["current_model"] == tasks["trainer"].artifacts["model"]["uri"]
    assert not list((proof.settings.run / "handover").iterdir())
    assert not list(tmp_path.iterdir())


def test_changed_data_are_not_taken_from_the_cache(proof, second):
    genes = proof.settings.dataset.parent / "genes.gff3"
    genes.write_text(genes.read_text().replace("\t300\t", "\t299\t"))
    tasks = proof.run(killed("genome-example-gen"))
    assert states(tasks, "failed") == {"genome-example-gen"}
    assert states(tasks, "cached") == {"pinned-schema"}
    before = second["first-look"].parameters["data_fingerprint"]
    assert tasks["first-look"].parameters["data_fingerprint"] != before
    # The same by a parameter of the run.
    again = proof.run(data_fingerprint=before)
    assert states(again, *EXECUTED) == {"first-look"}
