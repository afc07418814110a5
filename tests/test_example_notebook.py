"""Executes `docs/examples/results.ipynb` from top to bottom."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "examples" / "results.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the packages that run notebooks
def test_the_notebook_runs_and_shows_trials_and_a_board(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("pandas")
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    monkeypatch.setenv("ALGOPERF_EXAMPLE_FRAMEWORK", "pytorch")
    monkeypatch.setenv("ALGOPERF_CHECKOUT", str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = "".join(
        str(output.get("text", "")) + str(output.get("data", {}))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert shown.count("ended: not reached") == 2
    assert "hyperparameters/learning_rate" in shown
    assert "score_by_steps" in shown
