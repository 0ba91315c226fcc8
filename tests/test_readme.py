"""Every command of the README and of docs/ runs, at smoke scale; every link, path and cost is true.

The first command of each script runs as a user's does, in a process of its own; the others in this
one. A command for a SLURM cluster is only composed.
"""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from support import ROOT, bn_repro

from bn_repro.cli.command import OF_STUDIES
from bn_repro.cli.study import in_full

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
README, ALL = TEXTS[PAGES[0]], "\n".join(TEXTS.values())
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", ALL, flags=re.DOTALL | re.MULTILINE)
COMMANDS = list(
    dict.fromkeys(line for kind, text in BLOCKS if not kind for line in text.splitlines() if line)
)
SET_UP = ["make reproduce", "make figures", "make install"]
SET_UP += ["source .venv/bin/activate"]
"""They build an environment; a fresh clone runs them, not the suite."""
CLUSTER = [c for c in COMMANDS if "submitit_slurm" in c]
PROGRAM = [c for c in COMMANDS if c.startswith("bn-repro ") and c not in CLUSTER]
FIRST = {command.split()[1]: command for command in reversed(PROGRAM)}
RANKS = [c for c in COMMANDS if c.startswith("torchrun ")]
JOBS = [c for c in COMMANDS if c.startswith("sbatch ")]
SIZES = ("out=", "scale=", "train.steps=", "runs=", "study.seeds=", "data=cifar10")
"""What a small run replaces; nothing is fetched."""
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/runs.csv"))


def small(command):
    name, *words = shlex.split(command)[1:]
    words = in_full(words) if name in ("study", *OF_STUDIES) else words
    name = "train" if name == "study" else name
    overrides = [word for word in words if not word.startswith(SIZES)]
    return [name, *overrides, *["study.seeds=1"] * any(w.startswith("study=") for w in words)]


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


def test_every_line_of_code_is_run_below():
    assert set(COMMANDS) == {*SET_UP, *PROGRAM, *CLUSTER, *RANKS, *JOBS}


@pytest.mark.parametrize("command", PROGRAM)
def test_a_command_runs(command, runs, monkeypatch, capsys):
    def here(*words):
        code, out, err = bn_repro(monkeypatch, capsys, *words)
        assert code == 0, out + err
        assert "Traceback" not in out + err

    name, *words = [*small(command), "scale=smoke", f"runs={runs}"]
    if re.search("imagenet|fig[34]", command):
        words.append("data.train_images=64")
    if name != "train":  # the others read runs that are there
        here("train", *(word for word in words if not word.startswith("evaluation.")))
    if name == "report":
        words.append(f"out={runs / 'report'}")
    if command == FIRST[command.split()[1]]:
        called(sys.executable, "-m", "bn_repro", name, *words)
    else:
        here(name, *words)


@pytest.mark.parametrize("command", CLUSTER)
def test_a_command_for_a_cluster_composes(command, monkeypatch, capsys):
    code, out, err = bn_repro(monkeypatch, capsys, *small(command), "--cfg", "hydra")
    assert code == 0, out + err
    assert "cluster: slurm" in out


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
        SLURM_ARRAY_TASK_ID="2",
        SCALE="smoke",
        PYTHON=sys.executable,
    )
    assert re.search(r"imagenet/\w+ seed \d.*: completed", out)


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"`make ([a-z]+)`", ALL)) | {c[5:] for c in SET_UP[:3]})
)
def test_a_make_target_exists(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked.read_text()), target


def test_paths_are_there():
    rooms = "bn_repro|configs|docs|hydra_plugins|notebooks|scripts|tests"
    found = re.findall(rf"`((?:{rooms})/[\w./]*)`", ALL)
    assert found
    for path in found:
        assert (ROOT / path).exists(), path


def test_extras_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = set(re.findall(r"'\.\[(\w+)\]'", ALL))
    assert found
    assert found <= set(extras["optional-dependencies"])


def test_every_page_and_every_study_is_linked():
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in README
    for folder in RESULTS:
        assert f"(results/{folder.name}/README.md)" in README


def runs_of(study):
    with open(ROOT / "results" / study / "runs.csv") as file:
        return list(csv.DictReader(file))


def test_a_study_costs_what_its_results_say():
    for folder in RESULTS:
        row = re.search(rf"^\| `{folder.name}` \| (\d+) \| (.*) \|$", ALL, flags=re.MULTILINE)
        assert row, f"docs/running.md has no cost of {folder.name}"
        assert int(row[1]) == len(runs_of(folder.name)), folder.name
        assert f"- Time: {row[2]}.\n" in (folder / "README.md").read_text(), folder.name


def test_the_results_in_brief_are_those_of_the_runs():
    def percent(study, experiment, column):
        rows = [row for row in runs_of(study) if row["experiment"] == experiment]
        as_it_stands = [row for row in rows if row["id"] == rows[0]["id"]]
        return f"{100 * np.mean([float(row[column]) for row in as_it_stands]):.1f}"

    brief = " ".join(README.partition("## Two commands")[0].split())
    on_mnist = [percent("fig1", f"mnist/{arm}", "final_top1") for arm in ("bn", "baseline")]
    assert "test accuracy is {} % with BN and {} % without".format(*on_mnist) in brief
    rates = json.loads((ROOT / "results" / "fig1_rates" / "claims.json").read_text())
    assert f"BN is {100 * rates[0]['estimate']:.2f} points ahead" in brief
    found = json.loads((ROOT / "results" / "fig3_photographs" / "claims.json").read_text())
    claims = {claim["id"]: claim for claim in found}
    ahead, behind = (
        100 * claims[f"{name}_over_inception_maximum_difference"]["estimate"]
        for name in ("bn_x5", "bn_baseline")
    )
    assert f"its maximum is {ahead:.1f} points higher" in brief
    assert f"its maximum is {-behind:.1f} points lower" in brief
    own = json.loads((ROOT / "results" / "bn_alone_photographs" / "claims.json").read_text())
    assert f"its maximum is {100 * own[1]['estimate']:.1f} points higher" in brief
    factors = re.findall(r"needs ([\d.]+) (\[[\d., ]+\]) times fewer steps", brief)
    studies = ("fig3_photographs", "bn_alone_photographs")
    for study, (factor, interval) in zip(studies, factors, strict=True):
        page = (ROOT / "results" / study / "README.md").read_text()
        assert f"| {factor} x {interval}" in page
