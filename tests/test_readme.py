"""Every command of the README runs, at smoke scale; its make targets exist."""

import re
import shlex
import subprocess
import sys

import pytest
from support import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
SET_UP = ["make reproduce", "make test"]
"""They build an environment; a fresh clone runs them, not the suite."""


def test_every_line_of_code_is_a_command_known_here():
    assert [c for c in COMMANDS if c not in SET_UP and not c.startswith("python scripts/")] == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


SCRIPTS = [c for c in COMMANDS if c.startswith("python ")]


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_command_runs(command, runs):
    words = [w for w in shlex.split(command)[1:] if not w.startswith("out=")]
    small = ["scale=smoke", f"runs={runs}"]
    if "report.py" in command:
        small.append(f"out={runs / 'report'}")
        trained = [sys.executable, "scripts/train.py", *words[1:], *small[:2]]
        subprocess.run(trained, cwd=ROOT, check=True, capture_output=True, timeout=300)
    done = subprocess.run(
        [sys.executable, *words, *small], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"`make ([a-z]+)`", README) + [c[5:] for c in SET_UP]))
)
def test_a_make_target_exists(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_and_pictures_are_there():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        if not path.startswith("https://"):
            assert (ROOT / path).exists(), path
