"""The wheel and the sdist install into empty environments, on an old Python and a new one, and work there."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# uv from its lock, with the index that pip has been given.
UV = 'task=tests; . setup/uv.sh; prepare_uv .venv/bin/python; exec "$uv" "$@"'
PREDICTS = (
    "import numpy as np, enformer_keras as e;"
    "m = e.Enformer.from_preset('tiny', heads={'a': 2}, sequence_length=1024, target_length=4);"
    "print(m.predict(e.one_hot_encode(['ACGT' * 256]), verbose=0)['a'].shape)"
)
# Beyond Keras and its backend, which are imported either way.
TAKES = (
    "import time, keras, jax; begun = time.process_time(); import enformer_keras;"
    "print(time.process_time() - begun)"
)


def uv(*arguments):
    return subprocess.run(
        ["sh", "-euc", UV, "sh", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    uv("build", "--quiet", "--out-dir", folder)
    return folder


def run(python, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [python, *arguments], cwd=python.parent, env=environment, capture_output=True, text=True, check=False
    )


def find_python(version):
    """On the PATH, or among pyenv's, whose shim on the PATH may refuse to run."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))]
    runs = (one for one in found if one and not subprocess.run([one, "-c", ""], capture_output=True).returncode)
    return next(runs, None)


@pytest.mark.full
@pytest.mark.parametrize(("version", "kind"), [("3.11", "*.whl"), ("3.13", "*.tar.gz")])
def test_it_installs_and_predicts(packages, tmp_path, version, kind):
    (package,) = packages.glob(kind)
    python = find_python(version)
    if python is None:
        pytest.skip(f"no CPython {version} is here")
    uv("venv", "--quiet", "--python", python, tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, f"{package}[jax]")
    assert run(python, "-c", PREDICTS).stdout == "(1, 4, 2)\n"
    run(python, "-c", TAKES)  # compiles
    assert float(run(python, "-c", TAKES).stdout) < 3
    # The command is there, and says what it lacks.
    lacking = run(python, "enformer", "info", "model.keras")
    assert lacking.stderr.splitlines()[-1].endswith("pip install 'enformer-keras[command]'")
    uv("pip", "install", "--quiet", "--python", python, f"{package}[command]")
    assert "score" in run(python, "enformer", "--help").stdout
    assert run(python, "enformer", "--version").stdout.split()[-1] == package.name.split("-")[1].removesuffix(
        ".tar.gz"
    )


def test_they_hold_the_licence_and_nothing_else_than_the_two_packages(packages):
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "enformer_keras/extras.py"} <= names
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders <= {"enformer_keras", "enformer_command", "enformer_keras.egg-info", "tests"}
