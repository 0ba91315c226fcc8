"""Run the notebooks, and keep what they show in the form in which they are committed.

python scripts/notebooks.py                all of notebooks/
python scripts/notebooks.py figure1        these alone
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image
from traitlets.config import Config

from bn_repro.cli.entry import exit_with

FOLDER = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WITHOUT = {"metadata": {}, "execution_count": None}
"""Of a cell and of what it shows."""
COLOURS = 64
"""Of a picture: a third of the bytes, and no difference to the eye."""


def run(notebook: NotebookNode, where: Path) -> None:
    """Run all cells by a kernel started in ``where``; CellExecutionError at the first that fails.

    What they show is then in the notebook. Jupyter's own files are in JUPYTER_RUNTIME_DIR, whose
    path has to be short.
    """
    config = Config()
    config.KernelManager.transport = "ipc"  # sockets with names: no ports, nothing to encrypt
    config.KernelManager.ip = str(Path(os.environ["JUPYTER_RUNTIME_DIR"]) / "kernel")
    config.NotebookClient.coalesce_streams = True
    config.NotebookClient.iopub_timeout = 600  # by default what a cell shows after 4 s is too late
    resources = {"metadata": {"path": str(where)}}
    NotebookClient(notebook, timeout=600, resources=resources, config=config).execute()


def committed_form(notebook: NotebookNode) -> str:
    """The text of the file: cells and what they show, without when and how often they ran."""
    whole = json.loads(nbformat.writes(notebook))
    whole["metadata"] = METADATA
    for cell in whole["cells"]:
        for part in (cell, *cell.get("outputs", ())):
            part |= {key: kept for key, kept in WITHOUT.items() if key in part}
            if "image/png" in part.get("data", {}):
                part["data"]["image/png"] = _small("".join(part["data"]["image/png"]))
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _small(png: str) -> str:
    """The picture with fewer colours; one that has no more is as it was."""
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "P":
        return png
    packed = io.BytesIO()
    image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    return base64.b64encode(packed.getvalue()).decode()


def main() -> int:
    """Run the notebooks that are named, or all, and write what has changed."""
    names = sys.argv[1:]
    paths = [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb"))
    for path in paths:
        if not path.is_file():
            print(f"error: {path}: there is no such notebook", file=sys.stderr)
            return 2
        notebook = nbformat.read(path, 4)
        try:
            with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
                os.environ["JUPYTER_RUNTIME_DIR"] = runtime
                run(notebook, FOLDER)
        except CellExecutionError as error:
            print(f"error: {path}: {error.ename}: {error.evalue}", file=sys.stderr)
            return 1
        text = committed_form(notebook)
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(text.encode()) / 1000:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    exit_with(main)
