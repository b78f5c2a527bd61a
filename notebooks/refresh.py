"""Run notebooks from top to bottom and store them with their outputs: `python notebooks/refresh.py [FILE ...]`."""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def refresh(path: Path) -> None:
    """Run one notebook on an embedded Redis of its own, and leave out what differs from run to run."""
    notebook = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as data:
        os.environ.update(RAGKNN_DATA=data, HF_HUB_DISABLE_PROGRESS_BARS="1")
        resources = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, kernel_name="python3", timeout=600, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":  # a progress bar that is gone leaves an empty output
            cell.outputs = [one for one in cell.outputs if one.get("data", {}).get("text/html") != ""]
    nbformat.write(notebook, path)


for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
    refresh(path)
    print(path.name)
