"""Every command of the README runs, at smoke scale; its make targets exist.

The first of each script runs as a user's does, in a process of its own; the others in this one.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, call

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
SET_UP = ["make reproduce", "make test"]
"""They build an environment; a fresh clone runs them, not the suite."""


def test_every_line_of_code_is_run_below():
    assert set(COMMANDS) == {*SET_UP, *SCRIPTS, *RANKS, *JOBS}


SCRIPTS = [c for c in COMMANDS if c.startswith("python scripts/")]
FIRST = {command.split()[1]: command for command in reversed(SCRIPTS)}
RANKS = [c for c in COMMANDS if c.startswith("torchrun ")]
JOBS = [c for c in COMMANDS if c.startswith("sbatch ")]
OF_SIZE = ("out=", "scale=", "train.steps=", "runs=")
"""Words that a small run replaces."""


def small(command):
    return [w for w in shlex.split(command)[1:] if not w.startswith(OF_SIZE)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def called(*words, **env):
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ | env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_command_runs(command, runs, monkeypatch, capsys):
    def here(path, *words):
        code, out, err = call(monkeypatch, capsys, *words, script=Path(path).name)
        assert code == 0, out + err
        assert "Traceback" not in out + err

    script, *words = [*small(command), "scale=smoke", f"runs={runs}"]
    if re.search("imagenet|fig[34]", command):
        words.append("data.train_images=64")
    if "train.py" not in script:  # it speaks of runs that are there
        here("train.py", *(word for word in words if not word.startswith("evaluation.")))
    if "report.py" in script:
        words.append(f"out={runs / 'report'}")
    if command == FIRST[script]:
        called(sys.executable, script, *words)
    else:
        here(script, *words)


@pytest.mark.parametrize("command", RANKS)
def test_ranks_run(command, runs):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = ["2" if word == "8" else word for word in small(command)]
    out = called(*launcher, *words, "scale=smoke", f"runs={runs}", OMP_NUM_THREADS="1")
    assert "completed at step" in out


@pytest.mark.parametrize("command", JOBS)
def test_a_job_of_the_array_runs_its_network(command, runs):
    script, *words = small(command)
    out = called(
        *("bash", script, *words, f"runs={runs}"),
        SLURM_ARRAY_TASK_ID="9",
        SCALE="smoke",
        PYTHON=sys.executable,
    )
    assert "imagenet/bn_x5 seed 1: completed" in out


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


RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/README.md"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_every_verdict_is_told_as_the_results_have_it(folder):
    found = re.search(
        r"## Claims\n\n(.*?)\n\n", (folder / "README.md").read_text(), flags=re.DOTALL
    )
    told = found[1].splitlines() if found else []
    assert told or (folder / "claims.json").read_text() == "[]\n"
    missing = [line for line in told if line not in README.splitlines()]
    assert not missing, "README.md is not what the results say: make report"


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
