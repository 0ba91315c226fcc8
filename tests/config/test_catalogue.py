"""What the heads of the YAML files tell is what the list of experiments and studies needs."""

import csv
import io
import json
import re
import shlex
from statistics import median

import pytest
from rich.console import Console
from support import ROOT

from bn_repro.cli import COMMANDS
from bn_repro.config import catalogue
from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id
from bn_repro.config.schema import check
from bn_repro.sweep.console import print_table
from bn_repro.sweep.study import expand

ALL = [(group, name) for group in ("experiment", "study") for name in catalogue.names(group)]


@pytest.mark.parametrize(("group", "name"), ALL)
def test_a_head_has_what_the_list_needs_and_its_commands_work_as_they_stand(group, name):
    e = catalogue.entry(group, name)
    assert re.search(r"Figure|sec\. \d|abstract", e.paper)
    assert bool(e.question) == (group == "study")
    assert re.search(r"\d", e.cost)
    assert any(f"{group}={name}" in command for command in e.commands)
    for command in e.commands:
        program, verb, *overrides = shlex.split(command)
        assert program == "bn-repro"
        assert verb in COMMANDS
        config = compose([*overrides, "study.seeds=1"] if group == "study" else overrides)
        runs = [config]
        if group == "study":
            planned, _ = expand(config.study, overrides, lambda run: 0.5)
            runs = [run.config for run in planned]
        if verb == "train":  # the others find the data where the runs found them
            for run in runs:
                check(run)


@pytest.mark.parametrize("name", catalogue.names("experiment"))
def test_the_cost_of_an_experiment_is_what_its_committed_runs_took(name):
    config = compose([f"experiment={name}"])
    seconds = []
    for table in (ROOT / "results").glob("*/runs.csv"):
        with open(table, newline="") as file:
            rows = csv.DictReader(file)
            seconds += [float(r["seconds"]) for r in rows if r["id"] == run_id(config)]
    cost = catalogue.entry("experiment", name).cost
    assert ("estimated" in cost) == (not seconds)
    if not seconds:
        return
    ((number, unit),) = re.findall(r"about (\d+) (s|minutes) on one core", cost)
    assert int(number) * {"s": 1, "minutes": 60}[unit] == pytest.approx(median(seconds), rel=0.1)


def test_the_cost_of_a_study_is_measured():
    assert catalogue.measured_cost("fig3").startswith("32 runs, 25 minutes a run (median), 13.8 h")
    assert catalogue.measured_cost("nothing") == ""


def test_every_experiment_and_study_is_listed():
    text = io.StringIO()
    for table in catalogue.tables():
        print_table(Console(file=text, width=100), table)
    assert not re.search(" +$", text.getvalue(), re.M)
    shown = text.getvalue()
    for group, name in ALL:
        assert f"\n{name} " in shown
        assert f"bn-repro train {group}={name}" in shown
    assert max(map(len, shown.splitlines())) <= 100
    for _, name in ALL:
        assert not name.endswith("base")


def head(tmp_path, monkeypatch, text):
    (tmp_path / "experiment" / "mine").mkdir(parents=True)
    (tmp_path / "experiment" / "mine" / "new.yaml").write_text(text)
    monkeypatch.setattr(catalogue, "CONFIGS", tmp_path)


def test_a_head_is_read_in_its_parts(tmp_path, monkeypatch):
    text = """# @package _global_
# Paper:    Figure 1b, with a norm of my own (sec. 4.1).
# Expected: 99.1 % after
#           50,000 steps.
# Cost:     3 s on one core
# Command:  bn-repro train experiment=mine/new seed=1
#           bn-repro report
#
# It is new.
#     And this is for readers too.
defaults: []
# Cost: no part of the head
"""
    head(tmp_path, monkeypatch, text)
    assert catalogue.entries("experiment") == [
        catalogue.Entry(
            "mine/new",
            paper="Figure 1b, with a norm of my own (sec. 4.1).",
            question="",
            expected="99.1 % after 50,000 steps.",
            cost="3 s on one core",
            commands=(
                "bn-repro train experiment=mine/new seed=1",
                "bn-repro report",
            ),
        )
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Paper: Figure 1\n# Command: x\nx: 1\n", "its head has no line '# Cost: ...'"),
        ("# Cost: 3 s\n# Command: x\nx: 1\n", "its head has no line '# Paper: ...'"),
        ("# Paper: Figure 1\n# Cost: 3 s\n", "its head has no line '# Command: ...'"),
    ],
)
def test_an_experiment_that_tells_too_little_is_listed_all_the_same(
    tmp_path, monkeypatch, text, said
):
    head(tmp_path, monkeypatch, text)
    with pytest.raises(ValueError, match=said):
        catalogue.entry("experiment", "mine/new")
    (told,) = catalogue.entries("experiment")
    assert said in told.paper
    assert told.commands == ("bn-repro train experiment=mine/new",)


def test_verdicts_are_those_of_the_results(tmp_path):
    folder = tmp_path / "fig1"
    assert catalogue.verdicts("fig1", tmp_path) == "no results yet"
    folder.mkdir()
    claims = [{"verdict": v} for v in ("holds", "undecided", "holds", "does not hold")]
    claims.append({"verdict": "not testable"})
    (folder / "claims.json").write_text(json.dumps(claims))
    found = catalogue.verdicts("fig1", tmp_path)
    assert found == "2 hold, 1 does not hold, 1 undecided, 1 not testable"
    (folder / "claims.json").write_text("{")
    assert "cannot be read" in catalogue.verdicts("fig1", tmp_path)
