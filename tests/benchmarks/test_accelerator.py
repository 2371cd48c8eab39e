"""`benchmarks/accelerator.py` at a tiny size on CPUs, whole and cut off."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.full
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, str(ROOT / "benchmarks" / "accelerator.py"), "--size", "tiny"]
# How fast it is does not matter here, only that it runs.
ENVIRONMENT = {**os.environ, "KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
PEER_IS_HERE = importlib.util.find_spec("enformer_pytorch") is not None


def run(path, *options):
    command = [*COMMAND, "--json", str(path), *options]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(path.read_text())
    return {row["key"]: row for row in found["rows"]}, found, ended.stdout


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("accelerator") / "found.json"


@pytest.fixture(scope="module")
def little_memory(path):
    """A device whose memory holds a forward pass of two windows, but no training step."""
    return run(
        path, "--minutes", "15", "--memory", "0.004", "--stages", "device", "golden", "single", "largest"
    )


def test_rates_and_golden_data(little_memory):
    rows, found, _ = little_memory
    assert found["finished"]
    device = rows["device ours"]
    assert set(device["rates"]) == {"bfloat16", "tf32", "float32"}
    assert all(rate > 0 for rate in device["rates"].values())
    assert device["copy"] > 0
    # The product in float32 is one: no CPU has TF32, and bfloat16 rounds to three digits.
    assert device["errors"]["float32"] < 1e-6 < 1e-3 < device["errors"]["bfloat16"]
    assert rows["golden float32"]["passed"]
    assert 1e-4 < rows["golden bfloat16"]["error"] < 0.05


def test_what_does_not_fit_is_a_row(little_memory):
    rows, found, printed = little_memory
    one, two = rows["ours bfloat16 forward batch 1"], rows["ours bfloat16 forward batch largest"]
    assert one["batch"] == 1
    assert one["seconds"] > 0
    assert two["batch"] == 2
    assert one["memory"] < two["memory"] < 0.97 * 0.004 * 2**30
    for key in ("ours bfloat16 train batch 1", "ours bfloat16 train batch largest, 2 tried"):
        assert rows[key]["failed"].startswith("out of memory"), rows[key]
        assert "seconds" not in rows[key]
    assert found["left_out"]["ours bfloat16 train batch largest"] == "no batch was found to fit"
    table = printed[printed.index("Size tiny.") :]
    assert "| ours bfloat16 forward | 2 |" in table
    assert "| ours bfloat16 train | 1 | out of memory" in table
    assert "- ours bfloat16 train batch largest: no batch was found to fit" in table


@pytest.mark.skipif(PEER_IS_HERE, reason="enformer-pytorch is installed")
def test_names_the_peer_that_is_not_there(little_memory):
    _, found, printed = little_memory
    assert found["left_out"]["enformer-pytorch bfloat16 train batch 1"].startswith("not installed here: ")
    assert "- enformer-pytorch bfloat16 train batch 1: not installed here" in printed


@pytest.mark.skipif(not PEER_IS_HERE, reason="enformer-pytorch is not installed")
def test_measures_the_peer(little_memory):
    rows, found, _ = little_memory
    assert rows["enformer-pytorch bfloat16 forward batch 1"]["seconds"] > 0
    assert found["ratios"]["forward, batch 1"] > 0


def test_goes_on_from_an_earlier_run(path, little_memory):
    before, _, _ = little_memory
    rows, found, _ = run(path, "--minutes", "15", "--resume", "--stages", "single", "scoring", "exact")
    key = "ours bfloat16 forward batch 1"
    assert rows[key] == before[key]
    assert rows["ours bfloat16 train batch 1"]["seconds"] > 0
    dense, exact = rows["ours bfloat16 score dense batch 2"], rows["ours float32 score ism batch 2"]
    assert dense["alleles"] == 6
    assert exact["error"] < 1e-5 < dense["error"] < 0.1
    assert "ours bfloat16 train batch 1" not in found["left_out"]


def test_a_run_that_is_killed_keeps_its_rows(tmp_path):
    path = tmp_path / "found.json"
    process = subprocess.Popen(
        [*COMMAND, "--json", str(path), "--stages", "device", "single"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 600
        while not path.exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    found = json.loads(path.read_text())
    assert not found["finished"]
    assert "device ours" in [row["key"] for row in found["rows"]] or "device peer" in found["left_out"]


def test_without_time_every_row_is_named_with_the_reason(tmp_path):
    rows, found, printed = run(tmp_path / "found.json", "--minutes", "0", "--stages", "device", "single")
    assert rows == {}
    assert found["left_out"]["device ours"] == "the 0 minutes were over while it was measured"
    assert found["left_out"]["ours bfloat16 train batch 1"] == "the 0 minutes were over before it began"
    assert "Left out:" in printed


def test_where_platforms_are_chosen_the_processor_is_one_of_them(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with_processor = importlib.import_module("accelerator_process").with_processor
    assert [with_processor(chosen) for chosen in ("cuda", "cuda,cpu", "cpu", "")] == [
        "cuda,cpu",
        "cuda,cpu",
        "cpu",
        "",
    ]
