"""``bn-repro``: its commands, the short words of a study, and what is no command."""

import json
import subprocess
import sys

import pytest
import yaml
from support import ROOT, bn_repro, call

from bn_repro.cli import COMMANDS
from bn_repro.cli.command import OF_STUDIES
from bn_repro.cli.study import OF_A_STUDY, as_train
from bn_repro.config.schema import SETTINGS

WORDS = ["experiment=mnist/bn", "scale=smoke", "train.steps=4"]


def test_help_names_every_command_at_once(monkeypatch, capsys):
    for words in ([], ["--help"], ["-h"], ["help"]):
        code, out, _ = bn_repro(monkeypatch, capsys, *words)
        assert code == 0
        assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == [
            *COMMANDS
        ]
    heavy = ("torch", "hydra", "numpy", "pandas", "rich")
    code = f"""import sys, bn_repro.cli.command as c
try: c.main()
finally: assert not set(sys.modules) & set({heavy})"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == out


def test_the_version(monkeypatch, capsys):
    assert bn_repro(monkeypatch, capsys, "--version")[1] == "bn-repro 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "trian: no such command; did you mean train? there are train, study,"),
        (["experiment=mnist/bn"], "did you mean bn-repro train experiment=mnist/bn?"),
        (["-m", "seed=0,1"], "-m: a command comes first; did you mean bn-repro train -m seed=0,1?"),
        (["study"], "study: give its name, as in bn-repro study fig1; bn-repro list has all"),
        (["study", "fig1", "seeds=many"], "study.seeds: value 'many'"),
    ],
)
def test_what_is_no_command_is_told_in_a_line(monkeypatch, capsys, words, said):
    code, out, err = bn_repro(monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("fig1", "study=fig1"),
        ("fig1 seeds=2 jobs=1", "study=fig1 study.seeds=2 study.jobs=1"),
        ("seeds=2 fig1 scale=smoke", "study.seeds=2 study=fig1 scale=smoke"),
        ("fig1 skip_reported=true run=3", "study=fig1 study.skip_reported=true study.run=3"),
        ("--config-dir mine norms seed=1", "--config-dir mine study=norms seed=1"),
        ("study=fig1 study.seeds=2", "study=fig1 study.seeds=2"),
        ("fig1 fig3", "study=fig1 fig3"),
    ],
)
def test_a_study_by_its_name_is_train_with_its_keys(words, meant):
    assert as_train(words.split()) == meant.split()


@pytest.mark.parametrize(
    ("name", "full"), [("study", "train"), *((name, name) for name in OF_STUDIES)]
)
def test_a_study_by_its_name_is_composed_as_by_its_keys(name, full, monkeypatch, capsys):
    told = [
        bn_repro(monkeypatch, capsys, *words.split(), "--cfg", "job")[:2]
        for words in (f"{name} fig1 seeds=2", f"{full} study=fig1 study.seeds=2")
    ]
    assert told[0] == told[1]
    study = yaml.safe_load(told[0][1])["study"]
    assert (study["name"], study["seeds"]) == ("fig1", 2)


def test_the_short_words_of_a_study_are_no_keys_of_their_own():
    for key in OF_A_STUDY:
        assert f"study.{key}" in SETTINGS
        assert key not in SETTINGS


def test_a_run_is_the_same_by_command_and_by_script(monkeypatch, capsys, tmp_path):
    code, out, err = bn_repro(monkeypatch, capsys, "train", *WORDS, f"runs={tmp_path}")
    assert code == 0, out + err
    (manifest,) = tmp_path.glob("mnist/*/seed0/manifest.json")
    command = json.loads(manifest.read_text())["command"]
    assert command.startswith("bn-repro train experiment=mnist/bn scale=smoke")
    code, out, _ = call(monkeypatch, capsys, *WORDS, f"runs={tmp_path}")
    assert (code, "already completed" in out) == (0, True)


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("bn-repro st", "study status"),
        ("bn-repro train experiment=mnist/b", "experiment=mnist/baseline experiment=mnist/bn"),
        ("bn-repro report study=fig1", "study=fig1 study=fig1_rates"),
    ],
)
def test_tab_completes_commands_and_their_words(monkeypatch, capsys, line, answers):
    monkeypatch.setenv("COMP_LINE", line)
    code, out, _ = bn_repro(monkeypatch, capsys, "-sc", "query=bash")
    assert (code, out.split()) == (0, answers.split())


def test_tab_completion_is_installed_for_the_command(monkeypatch, capsys):
    out = bn_repro(monkeypatch, capsys, "-sc", "install=bash")[1]
    assert out.rstrip().endswith("hydra_bash_completion bn-repro")
