"""The notebook that asks a trained model runs from beginning to end, on a small model that knows nothing."""

import json

import keras
import nbclient
import nbformat
import pytest

from enformer_keras import Enformer
from tests.notebooks.test_ecoli import ROOT, cells, pictures

NOTEBOOK = ROOT / "notebooks" / "using.ipynb"
TRACKS = (("chip_1", 0), ("chip_2", 1), ("cds_plus", 3), ("cds_minus", 2))


@pytest.fixture
def run(tmp_path):
    """A run's folder with one pushed version."""
    keras.utils.set_random_seed(0)
    model = Enformer.from_preset("tiny", heads={"ecoli": 4}, sequence_length=16_384, target_length=112)
    extra = tmp_path / "pushed" / "1" / "assets.extra"
    extra.mkdir(parents=True)
    model.save(extra / "model.keras")
    rows = [
        {"index": at, "identifier": name, "description": name, "strand_pair": pair}
        for at, (name, pair) in enumerate(TRACKS)
    ]
    card = {"organisms": {"ecoli": {"tracks": rows, "contig_lengths": {"U00096.3": 4_641_652}}}}
    (extra / "model.json").write_text(json.dumps(card))
    return tmp_path


@pytest.mark.full
def test_it_runs(run):
    if not (ROOT / "data" / "ecoli").is_dir():
        pytest.fail("the demo's genome is not there: run `make data`")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    kept = [line for line in parameters.source.splitlines() if not line.startswith(("RUN", "SCORED"))]
    parameters.source = "\n".join([f'RUN = "{run}"', *kept, "SCORED, AROUND = 3, 2"])
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks")}}
    )
    client.execute()
    assert pictures(notebook) == 2


def test_it_is_kept_with_the_pictures_of_the_demos_model():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.execution_count for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
    assert pictures(notebook) == 2
    kinds = {output.get("name", output.output_type) for cell in cells(notebook) for output in cell.outputs}
    assert kinds == {"stdout", "display_data"}
    text = "".join(output.get("text", "") for cell in cells(notebook) for output in cell.outputs)
    assert "larger than 100.0% of 200 neighbours" in text
