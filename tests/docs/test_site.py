"""The site is built without a warning: of links, anchors, docstrings and names of the reference."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.full
def test_the_site_is_built(tmp_path):
    subprocess.run(["sh", "setup/docs_environment.sh"], cwd=ROOT, check=True)
    done = subprocess.run(
        [".venv-docs/bin/python", "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "score_variants" in (tmp_path / "site" / "reference" / "prediction.html").read_text()
