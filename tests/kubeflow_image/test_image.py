"""What can be said of the image without building it; docs/kubeflow.md says how it was built."""

import importlib.metadata
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "kubeflow/Dockerfile"
IGNORED = ROOT / "kubeflow/Dockerfile.dockerignore"


@pytest.fixture(scope="module")
def stages():
    """The instructions of each stage, as (name, arguments)."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    stages = [[]]
    for name, _, arguments in (line.partition(" ") for line in lines if line):
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, arguments))
    return stages


def test_both_stages_have_one_pinned_slim_base(stages):
    [(_, base)] = stages[0]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+", base)
    assert [stage[0][1] for stage in stages[1:]] == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_the_last_stage_installs_nothing_and_is_not_root(stages):
    last = stages[-1]
    for name, arguments in last:
        assert name != "RUN" or not re.search(r"apt|pip|uv |g\+\+|curl", arguments)
    users = [index for index, (name, _) in enumerate(last) if name == "USER"]
    assert last[users[-1]] == ("USER", "1000:1000")
    health = '["python", "kubeflow/health.py"]'
    looked_at = "python kubeflow/health.py && find /tmp -mindepth 1 -delete"
    assert last[users[-1] + 1 :] == [("RUN", looked_at), ("CMD", health)]


def test_installs_as_the_laptop_does(stages):
    """The same lock by hash, without resolution, and the same packages of this repository's `compat`."""
    [install] = [run for name, run in stages[1] if name == "RUN" and "requirements.lock" in run]
    laptop = (ROOT / "setup/environment.sh").read_text()
    for step in ("--require-hashes -r requirements.lock", "--no-build-isolation ./compat/tfx-bsl-sql-util"):
        assert f"pip install --quiet --no-deps {step}" in laptop
        assert f"$install {step}" in install
    assert 'install="$uv pip install --quiet --no-deps"' in install
    assert [path.name for path in (ROOT / "compat").iterdir() if path.is_dir()] == ["tfx-bsl-sql-util"]


def test_what_is_copied_is_there_and_not_ignored(stages):
    allowed = {line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")}
    for name, arguments in stages[1]:
        if name == "COPY":
            *sources, _ = arguments.split()
            assert set(sources) <= allowed
    for path in allowed:
        assert (ROOT / path).exists(), path


def test_the_context_is_a_list_of_what_may_enter():
    lines = [line for line in IGNORED.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not any(path.split("/")[0] in {".git", ".venv", "data", "runs"} for path in allowed)
    assert {path.split("/")[0] for path in allowed} <= {path.split("/")[0] for path in tracked.splitlines()}


def pins(name):
    """Package -> its pin, of a lock."""
    lines = re.findall(r"^[\w.-]+==\S+", (ROOT / name).read_text(), re.MULTILINE)
    return {requirement.name: str(requirement.specifier) for requirement in map(Requirement, lines)}


def test_the_gpu_lock_agrees_with_the_lock():
    both, gpu = pins("requirements.lock"), pins("setup/gpu.lock")
    assert {name for name in gpu if name not in both and not name.startswith("nvidia-")} == set()
    assert {name: version for name, version in gpu.items() if name in both} == {
        name: both[name] for name in gpu if name in both
    }
    assert "nvidia-cudnn-cu12" in gpu


def test_the_tpu_lock_differs_from_the_lock_in_tensorflow_alone():
    lock, tpu = pins("requirements.lock"), pins("setup/tpu.lock")
    assert {name for name in tpu if name not in lock} == {"tensorflow-tpu", "libtpu"}
    different = {name for name in tpu if name in lock and tpu[name] != lock[name]}
    [left_to_it] = re.findall(r"^GOES_BY_TENSORFLOW := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert different | {"tensorflow"} == set(left_to_it.split("|"))
    assert "tensorflow" not in tpu
    # tensorboard and tf-keras go with TensorFlow of their minor version; of libtpu a later one ends the import.
    minors = {tpu[name].rpartition(".")[0] for name in ("tensorflow-tpu", "tensorboard", "tf-keras")}
    assert minors == {"==2.20"}
    assert tpu["libtpu"] == "==0.0.14"


def test_no_lock_names_an_index():
    for lock in ("requirements.lock", "setup/gpu.lock", "setup/tpu.lock"):
        text = (ROOT / lock).read_text()
        assert "://" not in text
        assert len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) == len(
            re.findall(r"== ?\S+ \\\n +--hash=", text)
        )


def test_the_environment_for_tpus_is_that_of_the_image(stages):
    [install] = [run for name, run in stages[1] if name == "RUN" and "requirements.lock" in run]
    [image] = re.findall(r"tpu\) (.*?);;", install)
    environment = (ROOT / "setup/tpu_environment.sh").read_text()
    for step in ('"$uv" pip uninstall --quiet tensorflow', "$install --require-hashes -r setup/tpu.lock"):
        assert step in image
        assert step in environment
    assert image.index("uninstall") < image.index("tpu.lock")
    for step in ("--require-hashes -r requirements.lock", "--no-build-isolation ./compat/tfx-bsl-sql-util"):
        assert f"$install {step}" in environment
    assert 'install="$uv pip install --quiet --no-deps"' in environment


def test_health():
    line = [sys.executable, "kubeflow/health.py"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2"}
    answer = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert re.match(r"healthy: Python 3\.11\.\d+, TensorFlow \S+, \d+ modules .*; devices: CPU", answer.stdout)


def test_health_names_what_is_another(tmp_path):
    health = runpy.run_path(str(ROOT / "kubeflow/health.py"))
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"numpy==0.1 \\\n    --hash=sha256:0\nno-such-package==1.0\npytest=={pytest.__version__}\n")
    numpy, missing = health["wrong_versions"](lock)
    assert re.fullmatch(r"numpy is \S+, requirements.lock has 0.1", numpy)
    assert missing == "no-such-package is missing, requirements.lock has 1.0"


def test_health_holds_an_environment_for_tpus_to_both_locks(tmp_path, monkeypatch):
    health = runpy.run_path(str(ROOT / "kubeflow/health.py"))
    (tmp_path / "setup").mkdir()
    lock, tpu = tmp_path / "requirements.lock", tmp_path / "setup/tpu.lock"
    lock.write_text("numpy==2\ntensorboard==2.21\ntensorflow==2.21\n")
    tpu.write_text("tensorboard==2.20\ntensorflow-tpu==2.20\n")
    installed = {"numpy": "2", "tensorboard": "2.21", "tensorflow": "2.21"}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert health["locks"](tmp_path) == [lock]
    assert health["wrong_versions"](lock) == []
    installed["tensorflow-tpu"] = "2.20"
    assert health["locks"](tmp_path) == [lock, tpu]
    assert health["wrong_versions"](lock, tpu) == [
        "tensorboard is 2.21, tpu.lock has 2.20",
        "tensorflow is 2.21, tpu.lock has tensorflow-tpu instead",
    ]
    installed["tensorboard"] = "2.20"
    del installed["tensorflow"]
    assert health["wrong_versions"](lock, tpu) == []


def test_the_image_of_workers_has_the_locked_beam():
    [(beam, tasks)] = re.findall(
        r"^ARG BEAM_IMAGE=(\S+)\n.*^FROM \$\{(\w+)\}\nCOPY --from=beam /opt/apache/beam /opt/apache/beam\n",
        DOCKERFILE.with_suffix(".worker").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    [version] = re.findall(r"^apache-beam==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert (beam, tasks) == (f"apache/beam_python3.11_sdk:{version}", "TASKS")
