"""Every block of shell or Python in the documents runs, or says above it why no test can run it.

They run in a folder that has what they name: the demo's genome, a run whose model knows nothing, a few of the
variants.
"""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pysam
import pytest

from enformer_keras import Enformer
from tests.untrained_run import make_run

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- not run: (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ECOLI = "data/ecoli/MG1655_U00096"


def blocks():
    """Page, number, language and text of those that are to be run."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, (why, language, text) in enumerate(BLOCK.findall(path.read_text())):
            if language in ("sh", "python") and not why:
                yield pytest.param(language, text, id=f"{path.name}-{number}")


def test_a_block_says_its_language():
    """So that none is passed over."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        assert {language for _, language, _ in BLOCK.findall(path.read_text())} <= {
            "sh",
            "python",
            "yaml",
            "text",
        }


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A folder of what the blocks name."""
    if not (ROOT / "data" / "ecoli").is_dir():
        pytest.fail("the demo's genome is not there: run `make data`")
    folder = tmp_path_factory.mktemp("blocks")
    (folder / "data").symlink_to(ROOT / "data")
    make_run(folder / "runs" / "demo")
    (folder / "MODEL").symlink_to("runs/demo")
    for name in ("genome.fa", "MG1655_U00096.fasta"):
        (folder / name).symlink_to(f"{ECOLI}.fasta")
    with (folder / f"{ECOLI}.gff3").open() as lines:
        (folder / "MG1655_U00096.gff3").write_text(
            "".join(line for line, _ in zip(lines, range(60), strict=False))
        )
    with gzip.open(ROOT / "datasets" / "ecoli" / "variants.vcf.gz", "rt") as file:
        lines = file.readlines()
    header = [line for line in lines if line.startswith("#")]
    for name in ("datasets/ecoli/ecoli_536", "datasets/ecoli/variants", "x", "common", "mine"):
        path = folder / f"{name}.vcf.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with pysam.BGZFile(str(path), "w") as file:
            # A background takes a hundred.
            file.write("".join(lines[: len(header) + (110 if name == "common" else 5)]).encode())
    (folder / "peaks.bed").write_text("U00096.3\t20000\t20200\nU00096.3\t50000\t50300\n")
    (folder / "designs.fa").write_text(">one\n" + "ACGT" * 4096 + "\n")
    return folder


@pytest.fixture
def folder(named, tmp_path):
    """Where one block runs, and leaves what it writes."""
    for path in named.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def names():
    """What the blocks of Python take as given."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    small = {"channels": 24, "num_heads": 2, "num_transformer_layers": 1, "filters_divisible_by": 2}
    small |= {"sequence_length": 1024, "target_length": 4}

    def one_hot(count, length):
        return np.eye(4, dtype="float32")[rng.integers(0, 4, (count, length))]

    return {
        "keras": keras,
        "Enformer": lambda heads: Enformer(heads=heads, **small),
        "pretrained": Enformer(heads={"human": 3}, **small),
        "sequences": ["ACGT" * 4096] * 2,
        "y": rng.random((2, 112, 2), dtype="float32"),
        "x_human": one_hot(2, 1024),
        "x_mouse": one_hot(2, 1024),
        "y_human": rng.random((2, 4, 5313), dtype="float32"),
        "y_mouse": rng.random((2, 4, 1643), dtype="float32"),
        "folder": Path("scores"),
    }


@pytest.mark.full
@pytest.mark.parametrize(("language", "text"), blocks())
def test_it_runs(folder, monkeypatch, language, text):
    monkeypatch.chdir(folder)
    if language == "python":
        exec(compile(text, "block", "exec"), names())
        return
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        ["sh", "-eu", "-c", text], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
