"""The notebook in `examples/` runs as it is, in a real kernel, and shows progress and results."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from support import ROOT

NOTEBOOK = ROOT / "examples" / "first-run.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The code cells after the notebook has run from top to bottom."""
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for plugin in ("lot_tasks", "lot_lattice"):
        pytest.importorskip(plugin)
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name))
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    assert (folder / "runs/copy_reverse-lattice/version_1/metrics.json").is_file()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def forms(cell: Any) -> list[dict[str, str]]:
    """Each output of a cell, in its forms."""
    assert not [output for output in cell.outputs if output.output_type in ("stream", "error")]
    return [output.data for output in cell.outputs]


def test_training_shows_one_line_that_ends_at_the_last_step(cells: list[Any]) -> None:
    begins, line, *_ = forms(cells[1])
    assert begins["text/plain"].startswith("copy_reverse-lattice: ")
    assert line["text/plain"].startswith("step 100/100  loss ")
    assert "  validation exact_match " in line["text/plain"]
    assert line["text/html"].startswith('<pre style="margin:0">step 100/100  ')


def test_results_are_tables_for_people(cells: list[Any]) -> None:
    config, result, evaluation, look = (forms(cells[number])[-1] for number in (0, 1, 2, 3))
    assert config["text/plain"].startswith("copy_reverse-lattice\nseed: 0\ntask:\n  name: copy_reverse\n")
    assert result["text/html"].startswith("<table><caption ")
    assert "runs/copy_reverse-lattice/version_0: 100 steps, the best after " in result["text/plain"]
    assert "\n  exact_match     " in result["text/plain"]
    assert "validation split, 1,024 examples" in evaluation["text/plain"]
    assert "order_parameter.R" in evaluation["text/html"]
    assert look["text/plain"].startswith("attention_entropy of runs/copy_reverse-lattice/version_0, step_")


def test_a_report_of_ones_own_takes_the_place_of_the_line(cells: list[Any]) -> None:
    (losses,) = forms(cells[4])
    assert list(ast.literal_eval(losses["text/plain"])) == list(range(25, 201, 25))
