"""The proof that the whole pipeline runs with its Trainer as chief of two hosts (`make hosts-test`).

The tiny pipeline of tests/pipeline by the local runner, with TF_CONFIG set, and beside it the command of the
other host, both on loopback. What two hosts train, and how they end, tests/trainer/test_hosts.py asks.
"""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from components.trainer.serving import MODEL_CARD
from tests.pipeline.conftest import Chain
from tests.trainer.tiny_run import cluster_of_two

LEAVES_WITHIN_S = 60


@pytest.fixture(scope="module")
def tf_config():
    with pytest.MonkeyPatch.context() as patch:
        chief, other = cluster_of_two()
        patch.setenv("TF_CONFIG", chief)
        yield other


@pytest.fixture(scope="module")
def chain(tmp_path_factory, tf_config):
    folder = tmp_path_factory.mktemp("hosts")
    chain = Chain(folder)
    command = [sys.executable, "-m", "components.trainer.host"]
    with (folder / "log").open("w") as log:
        environment = {**os.environ, "TF_CONFIG": tf_config}
        other = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        chain.first_run = chain.run()
        chain.status_of_other = other.wait(LEAVES_WITHIN_S)
    finally:
        other.kill()
        chain.log_of_other = (folder / "log").read_text()
        print(chain.log_of_other)
    return chain


def test_what_two_hosts_trained_is_judged_and_pushed(chain):
    outcome = chain.outcome()
    assert outcome.blessed
    assert outcome.servable
    assert json.loads((outcome.pushed / MODEL_CARD).read_text())["lineage"]["step"] == 8
    served = tf.saved_model.load(str(outcome.pushed))
    assert served.predict_sequences(tf.constant(["ACGT" * 256]))["tiny"].shape == (1, 4, 3)


def test_the_other_host_trained_its_share_and_left(chain):
    assert chain.status_of_other == 0
    assert "2 replicas with 1 examples each" in chain.log_of_other
    assert "step 8: loss" in chain.log_of_other


def test_a_run_from_the_cache_calls_nobody(chain):
    assert "Trainer" in chain.first_run
    assert "Trainer" not in chain.run()
