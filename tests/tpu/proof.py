"""TensorFlow's build for TPUs, on its CPU, in `.venv-tpu` (`make tpu-test`).

The whole tiny pipeline runs in it, and the ordinary environment reads the model that it pushed; and a training
step is traced under the real TPUStrategy, as far as that goes without a chip.
"""

import json
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.pipeline.test_chain import CACHED
from tests.tpu.asking import ask

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-tpu/bin/python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="there is no .venv-tpu; `make tpu-setup` builds it")


def run(module, folder):
    """Runs a program of this folder in `.venv-tpu`; gives what it printed, and what it logged."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TPU_SKIP_MDS_QUERY": "1",  # as in the image
        # Workers and servers that are started by name are this environment's too.
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [PYTHON, "-m", f"tests.tpu.{module}", folder],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
        )
    logged = (folder / "log").read_text()
    assert done.returncode == 0, logged[-5000:]
    return done.stdout, logged


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tpu")
    _, logged = run("chain_in_tpu_build", folder)
    return folder, json.loads((folder / "told.json").read_text()), logged


def test_the_whole_chain_runs_in_it(chain):
    _, told, logged = chain
    assert told["tensorflow"].startswith("2.20.")
    assert told["tensorflow"] != tf.__version__
    assert told["keras"] == keras.__version__
    assert set(told["executed"]) >= CACHED
    assert told["blessed"]
    assert told["servable"], told["reason"]
    assert "jit_compile is left out: TensorFlow's build for TPUs cannot compile for the CPU" in logged


def test_the_ordinary_environment_gets_the_same_answers_of_its_model(chain):
    folder, told, _ = chain
    answers = ask(Path(told["pushed"]), folder / "data")
    with np.load(folder / "answers.npz") as there:
        assert {*there.files} == answers.keys() == {"tiny", "yeast", "opened", "gradient"}
        for name, values in answers.items():
            assert np.abs(there[name]).max() > 0
            np.testing.assert_allclose(values, there[name], rtol=1e-4, atol=1e-5 * np.abs(there[name]).max())


def test_a_step_is_a_program_for_chips(tmp_path):
    printed, _ = run("under_tpu_strategy", tmp_path)
    told = json.loads(printed.splitlines()[-1])
    assert told["is_tpu"]
    assert told["hosts_read"]
    assert told["share"] == [2, 0, 2]
    assert told["inputs"]
    assert all(defined for _, defined in told["inputs"]), told["inputs"]
    for step in ("train", "test"):
        assert told[step]["operations"] > 100
        assert told[step]["without_shape"] == []
        assert told[step]["compilers"] == []
        assert "bfloat16" in told[step]["dtypes"]
        assert not {"float64", "string"} & set(told[step]["dtypes"])
    assert "CrossReplicaSum" in told["train"]["collectives"]
    assert told["copied"]
    assert not told["copy_has_a_strategy"]
    assert told["pieces"] == [2, 1]
    assert told["resolver"] == ["self", "tpu"]
    assert told["connect"] == ["cluster_spec_or_resolver"]
    assert told["initialize"] == ["cluster_resolver"]
    assert told["strategy"] == ["self", "tpu_cluster_resolver"]


def test_health_finds_all_that_the_tasks_import(tmp_path):
    line = [PYTHON, "kubeflow/health.py"]
    environment = {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "KERAS_BACKEND": "tensorflow",
        "TPU_SKIP_MDS_QUERY": "1",
    }
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "healthy: Python 3.11" in done.stdout
    assert "TensorFlow 2.20." in done.stdout


def test_an_explicit_tpu_that_does_not_answer_ends_the_training(tmp_path):
    asked = "from components.trainer.strategy import make_strategy; make_strategy('auto')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TPU_SKIP_MDS_QUERY": "1", "TPU_NAME": "local"}
    done = subprocess.run(
        [PYTHON, "-c", asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no TPU answers at TPU_NAME='local'" in done.stderr, done.stderr[-3000:]
