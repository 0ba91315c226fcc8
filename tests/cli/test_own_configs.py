"""Configurations of one's own, in a folder that ``--config-dir`` names."""

import os
import re
from dataclasses import asdict

import pytest
from support import ROOT, bn_repro

from bn_repro.analysis.studies import default
from bn_repro.analysis.study import study_of
from bn_repro.cli.overrides import for_hydra, own_folder
from bn_repro.config.compose import OWN_CONFIGS, compose
from bn_repro.config.identity import arm_of, tags_of

PAGE = (ROOT / "docs" / "running.md").read_text()
FILES = dict(re.findall(r"^`~/mine/([\w./]+)`:\n\n```yaml\n(.*?)```", PAGE, re.M | re.S))


@pytest.fixture
def mine(tmp_path):
    """The folder, with the page's experiment and study."""
    assert sorted(FILES) == ["experiment/mnist/mine.yaml", "study/mine.yaml"]
    for name, text in FILES.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / name).write_text(text)
    return tmp_path / "mine"


def test_they_train_and_are_reported_beside_the_runs(monkeypatch, capsys, mine, tmp_path):
    runs = tmp_path / "runs"
    own = [f"--config-dir={mine}", "scale=smoke", "train.steps=20", f"runs={runs}"]
    code, out, err = bn_repro(monkeypatch, capsys, "train", *own, "experiment=mnist/mine")
    assert code == 0, out + err
    assert "mnist/mine seed 0: completed at step 20" in out
    code, out, err = bn_repro(monkeypatch, capsys, "study", *own, "mine")
    assert code == 0, out + err
    assert "study mine: 1 of 2 runs are already finished, 1 to train" in out
    code, out, err = bn_repro(monkeypatch, capsys, "report", *own, "study=mine")
    assert code == 0, out + err
    assert f"tables and verdicts: {runs}/mine/README.md" in out
    assert "make report" not in out
    readme = (runs / "mine" / "README.md").read_text()
    assert f"\nbn-repro train study=mine --config-dir={mine} scale=smoke train.steps=20 " in readme
    assert "`mnist/mine` | 1 |" in readme


def test_they_are_swept_by_either_way_to_name_the_folder(monkeypatch, capsys, mine, tmp_path):
    words = ["-m", "experiment=mnist/mine", "seed=0,1", "dry=true", f"runs={tmp_path}"]
    for own in (f"--config-dir={mine}", f"hydra.searchpath=[file://{mine}]"):
        code, out, err = bn_repro(monkeypatch, capsys, "train", own, *words)
        assert (code, "sweep: 2 runs" in out) == (0, True), err


def test_what_is_missing_is_told_with_what_is_there(monkeypatch, capsys, mine):
    own = ["--config-dir", str(mine)]
    code, _, err = bn_repro(monkeypatch, capsys, "train", *own, "experiment=mnist/mien")
    assert (code, "did you mean mnist/mine? there are imagenet/" in err) == (2, True)
    code, _, err = bn_repro(monkeypatch, capsys, "report", *own, "study=mine")
    assert code == 2
    assert f"train them with: bn-repro train study=mine --config-dir={mine}\n" in err
    code, _, err = bn_repro(monkeypatch, capsys, "train", "--config-dir=~/nowhere")
    assert (code, err) == (2, err.replace("~", ""))


def test_a_name_that_would_be_ours_is_refused(monkeypatch, capsys, mine):
    (mine / "study" / "mine.yaml").rename(mine / "study" / "fig1.yaml")
    code, _, err = bn_repro(monkeypatch, capsys, "study", "--config-dir", str(mine), "fig1")
    assert code == 2
    said = f"error: {mine}/study/fig1.yaml: the package has a study/fig1.yaml too; give yours an"
    assert err.startswith(said)


def test_the_folder_is_found_among_the_words(monkeypatch):
    assert own_folder(["study=mine", "--config-dir", "a"]) == "a"
    assert own_folder(["-cd=a", "study=mine"]) == "a"
    assert own_folder(["study=mine"]) is None
    assert own_folder(["--config-dir"]) is None
    assert own_folder([]) is None
    monkeypatch.setenv("HOME", "/home/me")
    assert for_hydra(["--config-dir=~/a"]) == ["--config-dir=/home/me/a"]


@pytest.mark.parametrize("name", ["mine", "inception", "depth_layers", "default"])
def test_a_study_without_an_analysis_of_its_own_has_the_usual_one(name):
    assert study_of(name) is default.STUDY


def test_they_are_named_in_processes_that_a_command_starts(monkeypatch, mine):
    """Such a process has no Hydra of its own that knows the folder."""
    monkeypatch.setenv(OWN_CONFIGS, str(mine))
    config = compose(["experiment=mnist/mine", "scale=smoke", "optimizer.lr=1.0"])
    assert arm_of(asdict(config)) == "mnist/mine smoke optimizer.lr=1.0"
    assert "optimizer.lr=1.0" in tags_of(asdict(config))


def test_a_command_names_them_to_the_processes_that_it_starts(monkeypatch, capsys, mine, tmp_path):
    seen = []
    monkeypatch.setattr(
        "bn_repro.cli.dry.one_run", lambda *_: seen.append(os.environ[OWN_CONFIGS]) or 0
    )
    own = ["--config-dir", str(mine), "experiment=mnist/mine", "dry=true", f"runs={tmp_path}"]
    assert bn_repro(monkeypatch, capsys, "train", *own)[0] == 0
    assert seen == [str(mine)]
    assert OWN_CONFIGS not in os.environ
