"""What the heads of the YAML files tell is what the list of experiments and studies needs."""

import io
import json
import re

import pytest
from rich.console import Console
from support import ROOT

from bn_repro.config import catalogue
from bn_repro.config.compose import compose

ALL = [(group, name) for group in ("experiment", "study") for name in catalogue.names(group)]


@pytest.mark.parametrize(("group", "name"), ALL)
def test_a_head_tells_what_the_list_needs(group, name):
    e = catalogue.entry(group, name)
    assert re.match(r"Figure|sec\. \d|abstract", e.paper)
    assert len(e.claim) > 8
    assert re.search(r"\d|as imagenet/", e.cost)
    assert any(f"{group}={name}" in command for command in e.commands)
    assert "python" not in e.claim + e.cost


def test_every_experiment_and_study_is_listed():
    text = io.StringIO()
    catalogue.show(Console(file=text, width=100))
    shown = text.getvalue()
    for group, name in ALL:
        assert f"\n{name} " in shown
        assert f"python scripts/train.py {group}={name}" in shown
    assert max(map(len, shown.splitlines())) <= 100
    for _, name in ALL:
        assert not name.endswith("base")


def test_what_is_listed_composes():
    for name in catalogue.names("experiment"):
        assert compose([f"experiment={name}"]).experiment == name


def head(tmp_path, monkeypatch, text):
    (tmp_path / "experiment" / "mine").mkdir(parents=True)
    (tmp_path / "experiment" / "mine" / "new.yaml").write_text(text)
    monkeypatch.setattr(catalogue, "CONFIGS", tmp_path)


def test_a_head_is_read_in_its_parts(tmp_path, monkeypatch):
    text = """# @package _global_
# Figure 1b, with a norm of my own. Sec. 4.1. Expected: 99.1 % after
# 50,000 steps. It is new.
# Cost: 3 s on one core.   python scripts/train.py experiment=mine/new seed=1
defaults: []  # Cost: no part of the head
"""
    head(tmp_path, monkeypatch, text)
    assert catalogue.entries("experiment") == [
        catalogue.Entry(
            "mine/new",
            paper="Figure 1b",
            claim="With a norm of my own",
            expected="Expected: 99.1 % after 50,000 steps",
            cost="3 s on one core",
            commands=("python scripts/train.py experiment=mine/new seed=1",),
        )
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Figure 1, mine.\nx: 1\n", "its head comment tells no cost"),
        ("# Mine. Cost: 3 s.\nx: 1\n", "its head comment tells no place in the paper"),
        ("x: 1\n", "its head comment tells no cost"),
    ],
)
def test_an_experiment_that_tells_too_little_is_listed_all_the_same(
    tmp_path, monkeypatch, text, said
):
    head(tmp_path, monkeypatch, text)
    with pytest.raises(ValueError, match=said):
        catalogue.entry("experiment", "mine/new")
    (told,) = catalogue.entries("experiment")
    assert said in told.claim
    assert told.commands == ("python scripts/train.py experiment=mine/new",)


def test_verdicts_are_those_of_the_results(tmp_path):
    folder = tmp_path / "fig1"
    assert catalogue.verdicts("fig1", tmp_path) == "no results yet"
    folder.mkdir()
    claims = [{"verdict": v} for v in ("holds", "undecided", "holds", "does not hold")]
    (folder / "claims.json").write_text(json.dumps(claims))
    assert catalogue.verdicts("fig1", tmp_path) == "2 hold, 1 do not, 1 undecided"
    (folder / "claims.json").write_text("{")
    assert "cannot be read" in catalogue.verdicts("fig1", tmp_path)


@pytest.mark.parametrize("folder", sorted((ROOT / "results").glob("*/claims.json")))
def test_no_verdict_is_lost(folder):
    count = sum(map(int, re.findall(r"\d+", catalogue.verdicts(folder.parent.name))))
    assert count == len(json.loads(folder.read_text()))
