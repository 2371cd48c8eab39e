"""The benchmark for TPUs at a tiny size, where libtpu is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAS_LIBTPU = all(importlib.util.find_spec(name) is not None for name in ("jax", "libtpu"))


def run(*arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "tpu.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.full
@pytest.mark.skipif(not HAS_LIBTPU, reason="needs libtpu beside JAX, which the locked environment lacks")
def test_two_steps_of_a_tiny_model(tmp_path):
    tiny = ["--preset", "tiny", "--batch-size", "2", "--json", str(tmp_path / "found.json")]
    done = run(*tiny, "--step", "train", "--chips", "1", "4", "--kinds", "--text", str(tmp_path / "text"))
    assert done.returncode == 0, done.stderr
    one, four = json.loads((tmp_path / "found.json").read_text())["results"]
    assert one["chip"] == "v4"
    assert one["operations"] > 0
    assert one["moved"] > one["kinds"]["convolutions"][1] > 0
    assert 0 < one["temporary"] < one["memory"] < 32 * 2**30
    assert one["collectives"] == {}
    # Each of four chips has as much work as one alone, and gives its gradients besides.
    assert four["operations"] == pytest.approx(one["operations"], rel=0.1)
    assert four["collectives"]["all-reduce"][1] > 0
    assert "| v4 | 4 | nothing |" in done.stdout
    assert len(list((tmp_path / "text").iterdir())) == 2


@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed")
def test_without_libtpu_it_says_what_to_install():
    done = run()
    assert done.returncode == 2
    assert "libtpu is missing: pip install libtpu" in done.stderr
