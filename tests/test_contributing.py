"""CONTRIBUTING.md at its word: its blocks are applied to a copy of the repository, and run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from support import ROOT
from test_notebooks import outputs, pictures, quiet, ran_through, run  # noqa: F401
from tracking.test_dashboard import panels_of

from bn_repro.config import catalogue

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(
    r"^`([\w./]+)`, (at the end|new|after `(.*?)`):\n\n```\w+\n(.*?)```$", re.DOTALL | re.MULTILINE
)
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, text in FENCED for line in text.splitlines() if not kind]
MAKEFILE = (ROOT / "Makefile").read_text()
ARMS = {f"mnist/bn, model.norm={norm}" for norm in ("batch", "none", "mine:rms")}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with the page's blocks, and no results; its usual scale is that of seconds, so
    that each command runs as it is printed."""
    folder = tmp_path_factory.mktemp("copy")
    left_out = shutil.ignore_patterns("__pycache__")
    for part in ("bn_repro", "hydra_plugins", "configs", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=left_out)
    shutil.copy(ROOT / "README.md", folder)
    (folder / "results").mkdir()
    config = folder / "configs" / "config.yaml"
    assert config.read_text().count("- scale: default\n") == 1
    config.write_text(config.read_text().replace("- scale: default\n", "- scale: smoke\n"))
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == sum(PAGE.count(f"```{kind}\n") for kind in ("python", "yaml", "jinja"))
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


def called(copy, command):
    """What a command line prints."""
    program, *words = shlex.split(command)
    if program == "make":
        (recipe,) = re.findall(rf"^{words[0]}: install .*\n\t@\$\(BIN\)/(.*)\n\n", MAKEFILE, re.M)
        return called(copy, recipe)
    words = {"python": words, "wandb": ["-m", "wandb", *words]}
    words |= {"bn-repro": ["-m", "bn_repro", *words["python"]]}
    words = words[program]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(copy)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.usefixtures("quiet")
def test_the_page_is_followed_to_its_end(copy, server, monkeypatch):
    """From a norm to a sweep over it, to its dashboard and notebook, and to its verdict."""
    sweep, sync, dashboard, study, report, make, experiment = COMMANDS
    sent = listening(server, monkeypatch)
    assert called(copy, sweep).count("completed") >= 6  # three norms, two seeds
    assert sent == {}
    called(copy, sync)
    assert called(copy, dashboard).startswith(f"{server.url}/me/bn-repro/reports/")
    see_it_on_the_dashboard(server, sent)
    see_it_in_the_notebook(copy, monkeypatch)
    assert "6 of 15 runs are already finished" in called(copy, study)
    report_without_a_module(copy)
    called(copy, report)
    called(copy, make)
    find_it_in_the_report(copy)
    assert "completed at step" in called(copy, experiment)


def listening(server, monkeypatch):
    """What the server will be told of each run, by its id."""
    sent, known = {}, server.answer

    def answer(query, asked):
        if "mutation UpsertBucket" in query:
            told = {key: value for key, value in asked.items() if value is not None}
            sent[asked["name"]] = {"tags": [], **sent.get(asked["name"], {}), **told}
        return known(query, asked)

    monkeypatch.setattr(server, "answer", answer)
    return sent


def see_it_on_the_dashboard(server, sent):
    """Each panel draws the sweep's runs, of series that these have, and a line for each norm."""
    assert len(sent) == 6
    (spec,) = (request for request in server.requests if request.startswith("{"))
    norms = set()
    lines = [panel for panel in panels_of(spec) if panel.metrics]
    for panel in lines:
        assert panel.config["groupBy"] == "arm.value"
        for name, told in sent.items():
            about = told | {"group": told["groupName"]}
            assert panel.draws(about)
            assert not panel.draws(about | {"tags": [t for t in told["tags"] if t != "norms"]})
            logged = {key for row in server.history(name) for key in row}
            has = server.summary(name) if panel.kind == "Bar Chart" else logged
            assert {*panel.metrics} & {*has} or "steps_to" in panel.metrics[0], panel.title
            norms.add(json.loads(told["config"])["arm"]["value"])
    assert {panel.title for panel in lines} >= {"training loss", "accuracy at the end"}
    sweep = {"", " model.norm=none", " model.norm=mine:rms"}
    assert norms == {f"mnist/bn smoke{varied}" for varied in sweep}


def see_it_in_the_notebook(copy, monkeypatch):
    """By its name in the picture's legend, and in the table."""
    monkeypatch.setenv("PYTHONPATH", str(copy))
    notebook = run("your_own", copy, "runs", then="print(left.get_legend_handles_labels()[1])")
    assert ran_through(notebook)
    assert pictures(notebook) == 3
    (labels,) = (output.text for output in outputs(notebook, "stream"))
    assert {*re.findall("'(.*?)'", labels)} == ARMS
    told = [o.data.get("text/html", "") for o in outputs(notebook, "execute_result")]
    assert {arm for arm in ARMS if f"<th>{arm}</th>" in "".join(told)} == ARMS


def report_without_a_module(copy):
    """Curves and a table, and no claims; of runs that the sweep has made."""
    study = copy / "configs" / "study" / "plain.yaml"
    study.write_text("name: plain\nblocks:\n  - {experiment: [mnist/bn], seed: [0, 1]}\n")
    called(copy, "python scripts/report.py study=plain out=runs/plain")
    assert json.loads((copy / "runs" / "plain" / "claims.json").read_text()) == []
    assert "study plain" in (copy / "runs" / "plain" / "README.md").read_text().lower()
    assert (copy / "runs" / "plain" / "figure_curves.png").stat().st_size > 10_000
    study.unlink()


def find_it_in_the_report(copy):
    """Its claim with a verdict, its arms, and its figure, wherever all studies are told."""
    results = copy / "results"
    (claim,) = json.loads((results / "rms" / "claims.json").read_text())
    sentence = "BN ends higher than RMS normalization."
    assert (claim["sentence"], claim["n"], claim["verdict"]) == (sentence, 5, "holds")
    assert "BN minus RMS normalization" in claim["rule"]
    text = (results / "REPORT.md").read_text()
    (row,) = (line for line in text.splitlines() if f"| {sentence} |" in line)
    assert "**holds**" in row
    (row,) = (x for x in (copy / "README.md").read_text().splitlines() if x.startswith("| [rms]"))
    assert "BN ends higher than RMS normalization, by +" in row
    assert "## Batch and RMS normalization" in text
    assert "(rms/figure_curves.svg)" in text
    assert "| `mnist/bn` | mine:rms | 5 |" in text
    html = (results / "report.html").read_text()
    assert sentence in html
    drawn = (results / "rms" / "figure_curves.svg").read_text()
    for arm in ARMS:
        assert f"<!-- {arm} -->" in drawn
        assert f"<code>{arm}</code>" in html


@pytest.mark.parametrize(("group", "name"), [("study", "rms"), ("experiment", "mnist/rms_norm")])
def test_what_is_new_is_listed(copy, monkeypatch, group, name):
    """With its place in the paper and its cost, which ``--help`` and ``list`` want of each."""
    monkeypatch.setattr(catalogue, "CONFIGS", copy / "configs")
    assert name in catalogue.names(group)
    assert catalogue.entry(group, name).cost
