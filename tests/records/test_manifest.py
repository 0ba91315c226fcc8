"""What a manifest says of the code that trained: its commit, where one is known."""

import json
import subprocess
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from bn_repro.records import commit as commits
from bn_repro.records import paths, recorder
from bn_repro.tracking import wandb_run

FACTS = {"device": "cpu", "hardware": "cpu", "engine": "eager", "threads": 1, "world": 1}


def said(monkeypatch):
    monkeypatch.delenv(commits.COMMIT, raising=False)
    made = recorder.manifest(**FACTS, examples={})
    return made["commit"], made["dirty"], made["source"]


@pytest.mark.parametrize(
    ("noted", "commit"),
    [
        (None, (None, None)),
        ({"url": "file:///a.whl", "archive_info": {}}, (None, None)),
        ({"url": "https://a", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}, ("12ab", False)),
    ],
)
def test_a_wheel_in_a_repository_of_others_does_not_take_its_commit(monkeypatch, noted, commit):
    text = noted and json.dumps(noted)
    monkeypatch.setattr(paths, "CHECKOUT", None)
    origin = SimpleNamespace(read_text=lambda name: text)
    monkeypatch.setattr(commits, "distribution", lambda name: origin)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("git was asked"))
    assert said(monkeypatch) == (*commit, "wheel")


def test_a_copy_that_is_neither_says_so(monkeypatch):
    def missing(*words, **options):
        raise FileNotFoundError(2, "No such file or directory", "git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert said(monkeypatch) == (None, None, "checkout")

    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(paths, "CHECKOUT", None)
    monkeypatch.setattr(commits, "distribution", unknown)
    assert said(monkeypatch) == (None, None, "wheel")


def test_an_archive_in_a_repository_of_others_does_not_take_its_commit(monkeypatch, tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "third_party" / "bn_repro").mkdir(parents=True)
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path / "third_party" / "bn_repro")
    assert said(monkeypatch) == (None, None, "checkout")
    monkeypatch.setattr(wandb_run, "CHECKOUT", tmp_path / "third_party" / "bn_repro")
    assert wandb_run.repository() is None
