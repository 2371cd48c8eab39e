"""The notebook on the demo's genome runs from beginning to end, with fewer steps and a smaller model."""

from pathlib import Path

import keras
import nbclient
import nbformat
import numpy as np
import pytest

from enformer_keras import Enformer

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "ecoli.ipynb"
SMALL = 'PRESET = "tiny"\nEPOCHS, STEPS = 2, 3\nFINE_TUNING_STEPS = 2'


def cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in cells(notebook) for output in cell.outputs)


@pytest.fixture
def folder(tmp_path):
    """Where the notebook finds the demo's description, and leaves its files."""
    if not (ROOT / "data" / "ecoli").is_dir():
        pytest.fail("the demo's genome is not there: run `make data`")
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


@pytest.mark.full
def test_it_runs_and_leaves_its_models(folder):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert {line.split(" = ")[0] for line in parameters.source.splitlines()} == {
        line.split(" = ")[0] for line in SMALL.splitlines()
    }
    parameters.source = SMALL
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    assert pictures(notebook) == 2
    tuned = keras.saving.load_model(folder / "coding.keras")
    assert isinstance(tuned, Enformer)
    assert tuned.heads == {"coding": 1}
    sequence = np.eye(4, dtype="float32")[np.zeros((1, 16_384), int)]
    assert tuned.predict(sequence, verbose=0)["coding"].shape == (1, 112, 1)


def test_it_is_kept_with_the_pictures_of_a_whole_run():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.execution_count for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
    assert pictures(notebook) == 2
    kinds = {output.get("name", output.output_type) for cell in cells(notebook) for output in cell.outputs}
    assert kinds == {"stdout", "display_data"}
