"""The notebook that asks a trained model runs from beginning to end, on a small model that knows nothing."""

import nbclient
import nbformat
import pytest

from tests.notebooks.test_ecoli import ROOT, cells, pictures
from tests.untrained_run import make_run

NOTEBOOK = ROOT / "notebooks" / "using.ipynb"


@pytest.mark.full
def test_it_runs(tmp_path):
    if not (ROOT / "data" / "ecoli").is_dir():
        pytest.fail("the demo's genome is not there: run `make data`")
    make_run(tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    kept = [line for line in parameters.source.splitlines() if not line.startswith(("RUN", "SCORED"))]
    parameters.source = "\n".join([f'RUN = "{tmp_path}"', *kept, "SCORED, AROUND = 3, 2"])
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
