"""The tutorial notebook: it runs as it stands, shows what it promises, and stores no outputs."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return found


def test_no_outputs_are_stored(stored: dict[str, Any]) -> None:
    cells = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages that run notebooks
def test_it_runs(stored: dict[str, Any]) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.reads(json.dumps(stored), as_version=4)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=str(NOTEBOOK.parent))
    shown = [
        set(output.get("data", {})) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    assert not any(output.output_type == "stream" for cell in notebook.cells for output in cell.get("outputs", ()))
    tables, pictures = (sum(kind in kinds for kinds in shown) for kind in ("text/html", "image/png"))
    assert tables >= 4 and pictures >= 6
