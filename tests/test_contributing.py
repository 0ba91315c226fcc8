"""CONTRIBUTING.md at its word: its blocks are applied to a copy of the repository, and run."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(
    r"^`([\w./]+)`, (at the end|new|after `(.*?)`):\n\n```\w+\n(.*?)```$", re.DOTALL | re.MULTILINE
)
COMMANDS = re.findall(r"^python scripts/.*$", PAGE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    left_out = shutil.ignore_patterns("__pycache__")
    for part in ("bn_repro", "hydra_plugins", "configs", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=left_out)
    (folder / "results").mkdir()
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == PAGE.count("```python") + PAGE.count("```yaml")
    for name, where, line, text in blocks:
        path = folder / name
        if where == "new":
            assert not path.exists(), path
            path.write_text(text)
        elif where == "at the end":
            path.write_text(f"{path.read_text()}\n\n{text}")
        else:
            before, found, after = path.read_text().partition(f"{line}\n")
            assert found, line
            path.write_text(before + found + text + after)
    return folder


def called(copy, *words):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(copy)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_is_followed_to_its_end(copy):
    """A norm, a sweep over it, an experiment, a study and a claim with its verdict."""
    for command in COMMANDS:
        out = called(copy, *command.split()[1:], "scale=smoke")
        if "-m" in command.split():
            assert out.count("completed") >= 6  # three norms, two seeds
    claims = json.loads((copy / "runs" / "norms" / "claims.json").read_text())
    assert [(c["sentence"], c["n"]) for c in claims] == [
        ("BN ends higher than layer normalization.", 1)
    ]
    assert isinstance(claims[0]["estimate"], float)
    rows = (copy / "runs" / "norms" / "runs.csv").read_text()
    assert {"mnist/baseline", "mnist/bn", "mnist/layer_norm"} < set(re.split("[,\n]", rows))


def test_a_study_without_a_module_has_a_report(copy):
    """Curves and a table, and no claims."""
    study = copy / "configs" / "study" / "plain.yaml"
    study.write_text("name: plain\nblocks:\n  - {experiment: [mnist/bn], seed: [0]}\n")
    called(copy, "scripts/train.py", "study=plain", "scale=smoke")
    called(copy, "scripts/report.py", "study=plain", "scale=smoke", "out=runs/plain")
    assert json.loads((copy / "runs" / "plain" / "claims.json").read_text()) == []
    assert "study plain" in (copy / "runs" / "plain" / "README.md").read_text().lower()
    assert (copy / "runs" / "plain" / "figure_curves.png").stat().st_size > 10_000
