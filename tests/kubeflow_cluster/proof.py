"""The proof that the pipeline runs on a Kubeflow of yours (`make cluster-test HOST= IMAGE= NAMESPACE=`).

The tiny pipeline of tests/pipeline, compiled as pipeline.yaml is, goes through five steps:

1. a run in which every task is executed, with progress;
2. the same again: all tasks but the first look come from the cache;
3. a training that is killed once after its first checkpoint: it is retried, and goes on from there. Its pod is
   deleted; where the installation does not retry that, another training's process is ended instead;
4. a recurring run that fires within the minute, and is removed;
5. the model that was pushed is fetched, and asked.

Where a run fails, each task's state is told, and what the failed ones printed last. Everything that was made is
removed at the end, unless KEEP=1: runs, recurring run, pipeline, experiment, pods, files on the claims, and the
claims if they were made. What the tasks wrote to the object store stays; the client cannot remove it.
"""

import argparse
import base64
import dataclasses
import datetime
import io
import os
import shutil
import sys
import tarfile
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kubeflow.package import KubeflowError, Package, read_package
from kubeflow.server import SUCCEEDED, Progress, Server
from tests.kubeflow_cluster.namespace import GIVEN, Namespace, NamespaceError

NEEDS = """make cluster-test runs a tiny genome's pipeline on a Kubeflow of yours. It needs
  HOST       the address of its API server, such as http://localhost:8888 after
             kubectl port-forward --namespace kubeflow svc/ml-pipeline 8888:8888
  IMAGE      the image of this checkout, pushed where the cluster pulls (docs/kubeflow.md, 3.)
  NAMESPACE  in which its runs have their pods: kubeflow, or yours where it has several users
  a cluster that kubectl asks, in which you may make claims, ConfigMaps and pods in that namespace, and
  KFP_EXISTING_TOKEN in the environment where the server wants a bearer token.
It may be told DATA_CLAIM and RUNS_CLAIM (enformer-data, enformer-runs: made if they are not there, with ACCESS,
ReadWriteMany, and STORAGE_CLASS), PULL_SECRET, PIPELINE_ROOT, and KEEP=1 to remove nothing."""
PROJECT = Path(__file__).parents[2]
DATA, RUNS = "/app/data", "/app/runs"
TRAINER, FIRST_LOOK = "trainer", "first-look"
STEPS, MANY_STEPS, PARTS = 20, 10_000, 10
# The Trainer's log: the end of a part, after which it saves; and where it goes on.
PART_ENDED, WENT_ON = ": loss ", "going on from step"
UNPACK = """
import pathlib, sys, tarfile
archive, data, runs = sys.argv[1:]
for folder in (data, runs):
    try:
        pathlib.Path(folder).mkdir(parents=True)
    except OSError as error:
        sys.exit(f"{error}: the claim must be writable for the tasks' user, 1000 (docs/kubeflow.md, 2.)")
with tarfile.open(archive) as files:
    files.extractall(data, filter="data")
"""
FETCH = """
import base64, pathlib, sys, tarfile
newest = max(pathlib.Path(sys.argv[1]).glob("[0-9]*"), key=lambda version: int(version.name))
archive = "/tmp/model.tar.gz"
with tarfile.open(archive, "w:gz") as files:
    files.add(newest, newest.name)
print("BEGIN")
print(base64.encodebytes(pathlib.Path(archive).read_bytes()).decode(), end="")
print("END")
"""
REMOVE = "import shutil, sys\nfor folder in sys.argv[1:]: shutil.rmtree(folder, ignore_errors=True)\n"


class TestFailedError(Exception):
    """The cluster did not do what it must; the message says what."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run, and where.

    Attributes:
        image: of all tasks.
        data_claim: of the genome.
        runs_claim: of pushed models and checkpoints.
        access: of claims that are made.
        storage_class: of claims that are made; None for the cluster's own.
        pull_secret: of the image's registry, or None.
        pipeline_root: of the runs, or None for the installation's.
        stamp: what the names of all that is made end with.
        limit_s: how long a run may take.
        keep: whether everything stays.
    """

    image: str
    data_claim: str = "enformer-data"
    runs_claim: str = "enformer-runs"
    access: str = "ReadWriteMany"
    storage_class: str | None = None
    pull_secret: str | None = None
    pipeline_root: str | None = None
    stamp: str = dataclasses.field(default_factory=lambda: f"{datetime.datetime.now(datetime.UTC):%m%d%H%M%S}")
    limit_s: float = 3600
    keep: bool = False

    @property
    def name(self) -> str:
        """Of the pipeline, the experiment, and the folders."""
        return f"enformer-cluster-test-{self.stamp}"

    @property
    def data(self) -> str:
        """The genome's folder in the pods."""
        return f"{DATA}/{self.name}"

    @property
    def runs(self) -> str:
        """The folder of pushed models and checkpoints in the pods."""
        return f"{RUNS}/{self.name}"

    @property
    def mounts(self) -> dict[str, str]:
        """Claim -> folder."""
        return {self.data_claim: DATA, self.runs_claim: RUNS}


def compile_tiny(plan: Plan, genome: Path, file: Path) -> Package:
    """Writes a tiny genome and compiles its pipeline.

    Args:
        plan: what it is for.
        genome: folder within this checkout, which becomes the one in the pods; made.
        file: of the package.

    Returns:
        The package.
    """
    # Here, because it takes half a minute: what is missing is told without.
    from components.trainer.training import Training
    from kubeflow.compile import compile_pipeline
    from kubeflow.config import Config
    from pipeline.configs import Settings
    from tests.pipeline.conftest import write_genome

    genome.mkdir(parents=True)
    sizes = {"num_transformer_layers": 1, "num_heads": 2, "key_size": 4, "filters_divisible_by": 4}
    settings = Settings(
        name=plan.name,
        dataset=write_genome(genome),
        run=PROJECT / "runs" / plan.name,
        model={"channels": 24, **sizes},
        training=Training(
            steps=STEPS, epochs=PARTS, batch_size=2, learning_rate=1e-3, warm_up_steps=2, decay=True
        ),
        thresholds={"log1p_pearson_r": -1.0},
        max_drop=2.0,
        regions={"tiny": genome / "genes.bed"},
    )
    config = Config.model_validate(
        {
            "image": plan.image,
            "image_pull_secrets": [plan.pull_secret] if plan.pull_secret else [],
            "pipeline_root": plan.pipeline_root,
            "pipeline": {"dataset": "see settings", "run": "see settings", "steps": STEPS},
            "volumes": [{"claim": claim, "mount": folder} for claim, folder in plan.mounts.items()],
            "defaults": {
                **{"cpu": "250m", "cpu_limit": "2", "memory": "2Gi", "memory_limit": "6Gi"},
                "retries": {"count": 2, "wait_s": 5},
            },
        }
    )
    compile_pipeline(settings, config).write(file, file.with_name("parameters"))
    return read_package(file)


class ClusterTest:
    """The steps, and what they have made.

    Args:
        server: the API server.
        namespace: where the pods are.
        plan: what to run.
        package: the compiled pipeline.
        say: takes a line.
    """

    def __init__(
        self, server: Server, namespace: Namespace, plan: Plan, package: Package, say: Callable[[str], None]
    ) -> None:
        self._server, self._namespace, self._plan = server, namespace, plan
        self._package, self._say = package, say
        self._count = 0
        self._made = ExitStack()
        self._stays: list[str] = []

    def run(self, genome: Path, answers: Path) -> None:
        """Goes through all steps, and removes what was made.

        Args:
            genome: folder of the genome's files.
            answers: folder into which the pushed model is fetched; made.

        Raises:
            TestFailedError: a step did not go as it must.
            KubeflowError: the API server refused something.
            NamespaceError: Kubernetes did.
        """
        try:
            self._prepare(genome)
            self._say("1. every task is executed")
            first = self._run_to_its_end({})
            self._expect("executed", self._executed(first), set(self._package.tasks))
            self._say("2. the same again, from the cache")
            second = self._run_to_its_end({})
            self._expect("executed", self._executed(second), {FIRST_LOOK})
            self._say("3. a training that is killed once")
            self._killed_once()
            self._say("4. a recurring run")
            self._recurring()
            self._say("5. the model that was pushed")
            for line in ask(self._fetch(answers)):
                self._say(f"  {line}")
        finally:
            if self._plan.keep:
                self._say(f"KEEP=1: everything of {self._plan.name} stays")
            else:
                self._made.close()
                for line in self._stays:
                    self._say(f"stays, for you to remove: {line}")

    def _prepare(self, genome: Path) -> None:
        plan = self._plan
        for claim in plan.mounts:
            if self._namespace.claim(claim, "1Gi", plan.access, plan.storage_class):
                self._say(f"made claim {claim}")
                self._at_the_end(f"claim {claim}", self._namespace.remove_claim, claim)
        archive = genome.with_suffix(".tar.gz")
        with tarfile.open(archive, "w:gz") as files:
            for file in sorted(genome.iterdir()):
                files.add(file, file.name)
        self._at_the_end("the folders on the claims", self._execute, REMOVE, plan.data, plan.runs)
        self._execute(UNPACK, f"{GIVEN}/{archive.name}", plan.data, plan.runs, given=archive)
        archive.unlink()
        self._pipeline, self._version = self._server.upload(self._package)
        self._at_the_end(f"pipeline {plan.name}", self._server.remove, "pipeline", self._pipeline)
        version = ("pipeline_version", self._pipeline, self._version)
        self._at_the_end(f"version of pipeline {plan.name}", self._server.remove, *version)
        self._experiment = self._server.experiment(plan.name)
        self._at_the_end(f"experiment {plan.name}", self._server.remove, "experiment", self._experiment)

    def _killed_once(self) -> None:
        ways = {"its pod is deleted": self._namespace.delete, "its process is ended": self._namespace.end}
        for number, (way, kill) in enumerate(ways.items()):
            # Other steps are another training, which has no checkpoint yet.
            run = self._start({"steps": MANY_STEPS + PARTS * number})
            pod = self._trainer_with_a_checkpoint(run)
            self._say(f"  {way}, after a checkpoint")
            kill(pod)
            ended = self._wait(run)
            pods = self._namespace.pods(run).get(TRAINER, [])
            others = [one.metadata.name for one in pods if one.metadata.name != pod]
            if not others:
                self._say(f"  not retried: {ended.error or ended.state}")
                continue
            self._expect_success(run, ended)
            log = self._namespace.log(others[-1])
            if WENT_ON not in log:
                raise TestFailedError(f"the Trainer's second attempt began anew:\n{log[-3000:]}")
            line = next(line for line in log.splitlines() if WENT_ON in line)
            self._say(f"  retried, and {line[line.index(WENT_ON) :]}")
            return
        raise TestFailedError(
            "the installation retries neither a deleted pod nor a failed process: see docs/kubeflow.md, "
            "What is retried"
        )

    def _trainer_with_a_checkpoint(self, run: str) -> str:
        """The Trainer's pod, once it has saved: a second part has ended."""
        begun = time.monotonic()
        while True:
            for pod in self._namespace.pods(run).get(TRAINER, [])[:1]:
                parts = [
                    line for line in self._namespace.log(pod.metadata.name).splitlines() if PART_ENDED in line
                ]
                if len(parts) >= 2:
                    return pod.metadata.name
            now = self._server.progress(run, self._package)
            if now.has_ended:
                self._expect_success(run, now)
                raise TestFailedError(f"the training ended before it could be killed, after {MANY_STEPS} steps")
            if time.monotonic() - begun > self._plan.limit_s:
                raise TestFailedError(f"no checkpoint in {self._plan.limit_s:g} seconds: {dict(now.tasks)}")
            time.sleep(2)

    def _recurring(self) -> None:
        places = {"pipeline": self._pipeline, "version": self._version, "experiment": self._experiment}
        made = self._server.create(
            self._plan.name, "0 * * * * *", {}, self._package.root, enabled=True, **places
        )
        identifier = made.recurring_run_id
        try:
            begun = time.monotonic()
            while not (runs := self._server.runs_of(identifier, self._experiment)):
                if time.monotonic() - begun > 300:
                    raise TestFailedError("a recurring run of every minute has not fired in 5 minutes")
                time.sleep(5)
        finally:
            if not self._plan.keep:
                self._server.delete(made)  # what it has started goes on
        for run in runs:
            self._at_the_end(f"run {run}", self._server.remove, "run", run)
        self._expect_success(runs[-1], self._wait(runs[-1]))
        self._expect("executed", self._executed(runs[-1]), {FIRST_LOOK})

    def _fetch(self, folder: Path) -> Path:
        log = self._execute(FETCH, f"{self._plan.runs}/pushed")
        _, begun, rest = log.partition("BEGIN\n")
        content, ended, _ = rest.partition("END\n")
        if not begun or not ended:
            raise TestFailedError(f"the pushed model was cut off on its way: {len(log)} characters have come")
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(content))) as files:
            files.extractall(folder, filter="data")
        [version] = folder.iterdir()
        return version

    def _start(self, parameters: dict[str, Any]) -> str:
        self._count += 1
        run = self._server.run(
            f"{self._plan.name} {self._count}",
            parameters,
            self._package.root,
            pipeline=self._pipeline,
            version=self._version,
            experiment=self._experiment,
        )
        self._at_the_end(f"run {run}", self._server.remove, "run", run)
        return run

    def _wait(self, run: str) -> Progress:
        return self._server.wait(run, self._package, lambda line: self._say(f"  {line}"), self._plan.limit_s)

    def _run_to_its_end(self, parameters: dict[str, Any]) -> str:
        run = self._start(parameters)
        self._expect_success(run, self._wait(run))
        return run

    def _expect_success(self, run: str, ended: Progress) -> None:
        if ended.state == SUCCEEDED:
            return
        lines = [f"run {run}: {ended.state.lower()} {ended.error}"]
        pods = self._namespace.pods(run)
        for task in self._package.tasks:
            state = ended.tasks.get(task, "not begun").lower()
            lines.append(f"  {task}: {state}")
            if state == "failed":
                for pod in pods.get(task, []):
                    tail = "\n".join(self._namespace.log(pod.metadata.name).splitlines()[-30:])
                    lines += [f"    {pod.metadata.name}:", textwrap.indent(tail, "      ")]
        raise TestFailedError("\n".join(lines))

    def _expect(self, what: str, found: set[str], wanted: set[str]) -> None:
        if found != wanted:
            raise TestFailedError(f"{what}: {sorted(found)}, not {sorted(wanted)}")
        self._say(f"  {what}: {len(found)} of {len(self._package.tasks)} tasks")

    def _executed(self, run: str) -> set[str]:
        return set(self._namespace.pods(run))

    def _execute(self, script: str, *arguments: str, given: Path | None = None) -> str:
        self._count += 1
        plan = self._plan
        secrets = [plan.pull_secret] if plan.pull_secret else []
        name, command = f"{plan.name}-{self._count}", ["python", "-c", script, *arguments]
        return self._namespace.execute(
            name, plan.image, command, plan.mounts, given=given, pull_secrets=secrets
        )

    def _at_the_end(self, what: str, remove: Callable[..., Any], *arguments: str) -> None:
        def try_to() -> None:
            try:
                remove(*arguments)
            except (KubeflowError, NamespaceError) as error:
                self._stays.append(f"{what} ({error})")

        self._made.callback(try_to)


def ask(version: Path) -> Iterator[str]:
    """Asks a pushed model about the windows that the Trainer asked its own about.

    Args:
        version: its folder.

    Yields:
        A line for each head.

    Raises:
        TestFailedError: it answers otherwise.
    """
    import numpy as np
    import tensorflow as tf

    with np.load(version / "assets.extra" / "predictions.npz") as stored:
        known = dict(stored)
    model = tf.saved_model.load(str(version))
    answers = model.predict_sequences(tf.constant(list(known["sequences"])))
    for head, answer in answers.items():
        wanted = known[f"head_{head}"]
        if answer.shape != wanted.shape or not np.allclose(answer, wanted, rtol=1e-3, atol=1e-4):
            raise TestFailedError(f"{version}: head {head} does not answer as the trained model did")
        yield f"{version.name}: head {head}, {tuple(answer.shape)}, as the Trainer's"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: as on the command line; None takes those.

    Returns:
        The exit status: 0 if all went well, 1 if not, 2 if something is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("host", "image", "namespace"):
        parser.add_argument(f"--{name}", default="")
    for field in ("data-claim", "runs-claim", "access", "storage-class", "pull-secret", "pipeline-root"):
        parser.add_argument(f"--{field}", default="")
    parser.add_argument("--keep", default="", help="not empty: remove nothing")
    options = vars(parser.parse_args(arguments))
    host, name, keep = options.pop("host"), options.pop("namespace"), options.pop("keep")
    missing = [
        variable
        for variable, value in {"HOST": host, "IMAGE": options["image"], "NAMESPACE": name}.items()
        if not value
    ]
    if missing:
        print(f"{', '.join(missing)}: not set\n{NEEDS}", file=sys.stderr)
        return 2
    plan = Plan(**{field: value for field, value in options.items() if value}, keep=bool(keep))
    try:
        server = Server(host, name, os.environ.get("KFP_EXISTING_TOKEN"), timeout=60)
        namespace = Namespace(name)
        namespace.check()
    except (KubeflowError, NamespaceError) as error:
        print(f"{error}\n{NEEDS}", file=sys.stderr)
        return 2
    genome = PROJECT / "data" / plan.name
    with tempfile.TemporaryDirectory() as folder:
        try:
            package = compile_tiny(plan, genome, Path(folder) / "pipeline.yaml")
            test = ClusterTest(server, namespace, plan, package, lambda line: print(line, flush=True))
            test.run(genome, Path(folder) / "model")
        except (TestFailedError, KubeflowError, NamespaceError) as error:
            print(f"cluster-test failed: {error}", file=sys.stderr)
            return 1
        finally:
            shutil.rmtree(genome, ignore_errors=True)
    print("cluster-test: all five steps went as they must")
    return 0


if __name__ == "__main__":
    sys.exit(main())
