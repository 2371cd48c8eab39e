"""The benchmark for TPUs at a tiny size, where libtpu is installed."""

import importlib
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


@pytest.mark.parametrize(
    ("memory", "tried"),
    [
        ([None, 20e9, 15e9, 1e9], ["", "transformer", "tower"]),
        ([None, 20e9, 20e9, 17e9], ["", "transformer", "tower", "stem tower transformer"]),
    ],
    ids=["fits", "never_fits"],
)
def test_it_rematerializes_until_it_fits(memory, tried, monkeypatch, capsys, tmp_path):
    # The scripts there import one another without the folder's name.
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tpu = importlib.import_module("tpu")
    needed = dict(zip(tpu.REMATERIALIZED, memory, strict=True))

    def compile_for(chip, chips, arguments, rematerialized):
        return tpu.Compiled(memory=needed[rematerialized], refusal="RESOURCE_EXHAUSTED: too much")

    monkeypatch.setattr(tpu, "compile_for", compile_for)
    monkeypatch.setattr(tpu.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(tpu.importlib.metadata, "version", lambda name: "1")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(
        sys, "argv", ["tpu.py", "--chip", "v5e", "--fit", "--json", str(tmp_path / "found.json")]
    )
    tpu.main()
    found = json.loads((tmp_path / "found.json").read_text())["results"]
    assert [each["rematerialized"] for each in found] == tried
    assert [each["memory"] for each in found] == memory[: len(tried)]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| v5e")]
    assert "does not fit: RESOURCE_EXHAUSTED" in rows[0]
    assert [("too much)" in row) for row in rows[1:]] == [each["memory"] > 16e9 for each in found[1:]]


@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed")
def test_without_libtpu_it_says_what_to_install():
    done = run()
    assert done.returncode == 2
    assert "libtpu is missing: pip install libtpu" in done.stderr
