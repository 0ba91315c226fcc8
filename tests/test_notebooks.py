"""The notebooks run from anywhere, and are committed with what they show and nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  builds its cache here, not in a kernel, which would say so
import nbformat
import pytest
from analysis.conftest import write_run
from analysis.test_fig4 import CHANGES, evaluate
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from support import ROOT

spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
assert spec is not None
assert spec.loader is not None
SCRIPT = importlib.util.module_from_spec(spec)
spec.loader.exec_module(SCRIPT)

NOTEBOOKS = {
    "batch_norm_by_hand": 2,
    "figure1": 3,
    "figure2_3": 4,
    "figure4": 2,
    "learning_rate_and_init": 3,
    "your_own": 3,
}
"""How many pictures each draws at least."""
MOST_BYTES = 300_000
HERE = "FOLDER = None"


def path_of(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def test_these_are_all():
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*")) == sorted(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_with_what_it_shows(name: str):
    """Whatever opened it last: byte for byte what the same cells and pictures give in the one
    form, small, and with nothing of the machine that ran it."""
    text = path_of(name).read_text(encoding="utf-8")
    notebook = nbformat.read(path_of(name), 4)
    nbformat.validate(notebook)
    assert text == SCRIPT.committed_form(notebook)
    assert len(text.encode()) < MOST_BYTES
    assert 5 <= len(notebook["cells"]) <= 12
    assert outputs(notebook, "error") == []
    assert pictures(notebook) >= NOTEBOOKS[name]
    assert str(ROOT) not in text
    assert not re.search(r"/home/|/root/|/Users/|/tmp/|0x[0-9a-f]{6}", text)


def test_the_form_has_no_trace_of_the_run():
    notebook = nbformat.read(path_of("your_own"), 4)
    before = SCRIPT.committed_form(notebook)
    notebook.metadata.language_info = {"name": "python", "version": "3.11.7"}
    for number, cell in enumerate(notebook.cells):
        cell.metadata.execution = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
        if cell.cell_type == "code":
            cell.execution_count = number
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = number
    assert SCRIPT.committed_form(notebook) == before


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jupyter's own files in a folder of the test; short, since a socket's path has to be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", runtime)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(name, str(tmp_path / name.lower()))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        yield


def run(name: str, where: Path, folder: Path | str | None = None, then: str = "") -> NotebookNode:
    """The notebook as a kernel started in ``where`` leaves it, up to its first error; ``then`` is a
    cell more at its end."""
    notebook = nbformat.read(path_of(name), 4)
    if folder is not None:
        setup = notebook.cells[1]
        assert setup.source.count(HERE) == 1
        setup.source = setup.source.replace(HERE, f"FOLDER = {str(folder)!r}")
    notebook.cells += [nbformat.v4.new_code_cell(then)] if then else []
    with suppress(CellExecutionError):  # it is in the outputs
        SCRIPT.run(notebook, where)
    return notebook


TINY = re.compile(r"\b\d(\.\d+)?e-1\d\b")
"""What is left of rounding, which each machine has its own of."""


def said(notebook: NotebookNode) -> list[list[tuple[str, ...]]]:
    """What each cell shows, but for the points of a picture."""

    def shown(output: NotebookNode) -> tuple[str, ...]:
        data = output.get("data", {"": output.get("text", "")})
        kinds = sorted(data)
        text = "\n".join(TINY.sub("tiny", data[k]) for k in kinds if k != "image/png")
        return output.output_type, *kinds, text

    return [[shown(output) for output in cell.get("outputs", [])] for cell in notebook.cells]


def outputs(notebook: NotebookNode, kind: str) -> list[NotebookNode]:
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in found if output.output_type == kind]


def pictures(notebook: NotebookNode) -> int:
    shown = [*outputs(notebook, "display_data"), *outputs(notebook, "execute_result")]
    return sum("image/png" in output.data for output in shown)


def ran_through(notebook: NotebookNode) -> bool:
    assert [output.traceback for output in outputs(notebook, "error")] == []
    assert [s.text for s in outputs(notebook, "stream") if s.name == "stderr"] == []
    return all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_another_folder(name: str, tmp_path: Path):
    notebook = run(name, tmp_path)
    assert ran_through(notebook)
    assert pictures(notebook) >= NOTEBOOKS[name]
    shown = said(nbformat.read(path_of(name), 4))
    assert said(notebook) == shown, f"python scripts/notebooks.py {name}"


@pytest.mark.usefixtures("quiet")
def test_a_notebook_shows_other_runs(tmp_path: Path):
    """Figure 4's, the pickiest, on what ``report.py`` wrote elsewhere from made-up runs."""
    from bn_repro.analysis import report

    how = {"steps": 3_000, "split": "val", "traces": False}
    members = [
        write_run(
            *(tmp_path, "imagenet/bn_x30", seed),
            id=f"0a00000{seed}",
            varied=varied,
            blocks=f"ensemble {seed}" if seed else "plain",
            **how,
        )
        for seed, varied in enumerate([{}, *CHANGES])
    ]
    for member in members:
        evaluate(member, 1, signal=1.8)
        evaluate(member, 144, signal=2.1)
    report.write("fig4", members, tmp_path / "report")
    notebook = run("figure4", tmp_path, tmp_path / "report")
    assert ran_through(notebook)
    assert pictures(notebook) == NOTEBOOKS["figure4"]
    shown = json.dumps(notebook)
    assert "dropout" in shown
    assert "**holds**" in shown


@pytest.mark.usefixtures("quiet")
def test_any_runs_have_a_notebook(tmp_path: Path):
    """Arms that differ in a key; one that died before its first evaluation, and a run to come."""
    how = {"steps": 2_000, "traces": False}
    for seed in (0, 1):
        write_run(tmp_path / "runs", "mnist/baseline", seed, **how)
        write_run(tmp_path / "runs", "mnist/bn", seed, top=0.9, **how)
    write_run(tmp_path / "runs", "mnist/bn", 0, id="dead", dies_at=100, traces=False)
    write_run(tmp_path / "runs", "mnist/bn", 7, id="running", state="running", **how)
    notebook = run("your_own", tmp_path, "runs", then="print(left.get_legend_handles_labels()[1])")
    assert ran_through(notebook)
    assert pictures(notebook) == NOTEBOOKS["your_own"] - 1  # these have no histograms
    (table,) = (
        o.data["text/html"] for o in outputs(notebook, "execute_result") if "text/html" in o.data
    )
    for arm in ("mnist/baseline, model.norm=False", "mnist/bn, model.norm=True", "(dead)"):
        assert arm in table
    assert "running" not in table
    (labels,) = (s.text for s in outputs(notebook, "stream"))
    assert labels.count("mnist/bn, model.norm=True") == 1
