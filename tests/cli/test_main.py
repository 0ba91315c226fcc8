"""The commands as a user meets them: what they print, their exit codes, what they leave alone."""

import gzip
import os
import re
import shlex
from dataclasses import fields

import pytest
import yaml
from filelock import FileLock
from support import ROOT, bn_repro, call

from bn_repro.cli.command import OF_STUDIES
from bn_repro.cli.help import CONCERNS
from bn_repro.cli.study import in_full
from bn_repro.config import catalogue
from bn_repro.config.compose import compose
from bn_repro.config.schema import SETTINGS, Config
from bn_repro.records import paths
from bn_repro.records.reader import Outcome

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=20"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["experiment=mnist/bn", "optimizer.lrr=1"], "did you mean optimizer.lr?"),
        (["experiment=mnist/bn", "lr=1"], "lr: no such key; did you mean optimizer.lr?"),
        (["experiment=mnist/bn", "optimizer.zzz=1"], "optimizer has lr, r0, momentum"),
        (["experimnt=mnist/bn"], "experimnt: no such key; did you mean experiment?"),
        (["experiment=mnist/nothing"], "experiment: no 'mnist/nothing'; there are imagenet/bn"),
        (["experiment=mnist/bn", "data=mnst"], "data: no 'mnst'; did you mean mnist?"),
        (["study=figure1"], "study: no 'figure1'; did you mean fig1?"),
        (["experiment=mnist/bn", "hydra/launcher=slurm"], "hydra/launcher: no 'slurm'; there"),
        (["experiment=mnist/bn", "train.steps=many"], "train.steps: value 'many' of type"),
        (["experiment=mnist/bn", "optimizer.lr=0.1,0.2"], "several values; add -m to try each"),
        (["study.blocks=[{experiment:[mnist/bn],train.stepz:[1]}]"], "train.stepz: no such key"),
        (["study=fig1", "hydra/launcher=basic"], "hydra/launcher: give cores, submitit_local"),
        (["study=fig1", "on_failure=never"], "on_failure: 'never' is not one of continue, stop"),
        (["experiment=mnist/bn", "optimizer.lr=-1"], "optimizer.lr: -1.0 is not positive"),
        (["experiment=mnist/bn", "model.norm=bach"], "model.norm: 'bach' is not one of none"),
        (["experiment=mnist/bn", "device=cuda"], "device: 'cuda' was asked for"),
        ([], "experiment=mnist/bn"),
        (["study=fig1", "seed=3"], "study.seeds=N"),
        (["experiment=mnist/bn", "data=mnist", "data.root=nowhere"], "data.root: no train-im"),
        (["experiment=mnist/bn", "train.batch_size=70000"], "train.batch_size"),
        (["-m", "study=fig1"], "-m: a study is a sweep already"),
        (
            ["experiment=mnist/bn", "optimizer.decay_rate=0.9"],
            "where optimizer.decay_every is null",
        ),
        (
            [
                *("experiment=imagenet/bn_x5", "scale=smoke"),
                *("data.train_images=3", "train.batch_size=3"),
            ],
            "data: synthetic has 0 examples in val",
        ),
        (["experiment=mnist/bn", "data=synthetic"], "data.name: synthetic has examples of"),
        (["experiment=mnist/bn", "train.batch_size=1"], "train.batch_size: BatchNorm"),
        (["experiment=mnist/bn", "train.trace_sites=[hidden9]"], "no hidden9"),
        (["experiment=mnist/bn", "train.trace_units=[hiden3]"], "no hiden3 among what is tr"),
        (["study=fig1", "study.seeds=101"], "study.seeds: 101, but study fig1 lists 100"),
        (["study=fig1", "study.run=200"], "study.run: 200, but study fig1 has 200 runs, number"),
        (["study=fig1", "data=mnist", "data.root=nowhere"], "data.root: no train-im"),
        (["-m", "experiment=mnist/bn", "data.root=/no"], "data.root: no run reads it"),
        (["study=fig1", "data.root=/no"], "data.root: no run reads it, since mnist_binary"),
        (["experiment=mnist/bn", "study.run=1"], "study.run: is for study=..., which was not"),
        (["experiment=mnist/bn", "-m", "study.jobs=1"], "-m sweep it is hydra.launcher.jobs"),
        (["study=fig1", "device=cuda"], "device: 'cuda' was asked for"),
        (
            ["-m", "experiment=mnist/bn", "optimizer.lr=-1,1", "hydra/launcher=basic"],
            "hydra/launcher: give cores, submitit_local",
        ),
        (["-m", "experiment=mnist/bn", "hydra.launcher.jobs=-1"], "hydra.launcher.jobs: -1 is"),
        (["study=fig1", "hydra.launcher.jobs=x"], "hydra.launcher.jobs: 'x' is not 1 or more"),
        (["study=fig1", "+hydra.launcher.foo=1"], "unexpected keyword argument 'foo'"),
        (
            ["experiment=mnist/bn", "hydra/launcher=submitit_local"],
            "hydra/launcher=submitit_local: one run takes no launcher; add -m",
        ),
        (["-m", "experiment=glob("], "experiment=glob(: not understood"),
        (["experiment=mnist/bn", "model.hidden=[100000000,100000000]"], "model: too large for"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(tmp_path, words, said, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, *words, f"runs={tmp_path / 'runs'}")
    assert said in err
    assert code == 2, out + err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not re.sub(r"^.*: \d.* (steps, in .*|to train)\n", "", out)  # before torch comes
    assert "HYDRA_FULL_ERROR" not in os.environ
    assert not (tmp_path / "runs").exists()


def answer(monkeypatch, capsys, *words):
    """What a command prints that trains nothing."""
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0
    return out


def test_help_lists_the_choices_and_every_key(monkeypatch, capsys):
    out = answer(monkeypatch, capsys, "--help")
    listed = set(re.findall(r"^  (\S+)", out, flags=re.M))
    for group in ("experiment", "study"):
        assert listed >= set(catalogue.names(group))
    for group in ("data", "scale", "hydra/launcher", "hydra/sweeper"):
        stems = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}
        assert listed >= stems - {"default"}, group
    elsewhere = {"experiment", "scale", "out", "live"}
    assert listed >= {k for k in SETTINGS if not k.startswith("evaluation.")} - elsewhere
    assert "75 stopped before its end" in out


@pytest.mark.parametrize("name", CONCERNS)
def test_each_command_has_its_own_help_whose_commands_compose(monkeypatch, capsys, name):
    code, out, _ = bn_repro(monkeypatch, capsys, name, "--help")
    assert code == 0
    commands = re.findall(r"^bn-repro (\w+) ?(.*?)(?:   .*| a config.*)?$", out, flags=re.M)
    assert {command for command, _ in commands} == {name}
    assert ("train.batch_size" in out) == (name == "train")
    assert ("evaluation.crops  " in out) == (name == "evaluate")
    assert ("evaluation.world  " in out) == (name in ("evaluate", "export", "publish"))
    assert ("  force  " in out) == ("publish: send again" in " ".join(out.split()))
    assert ("imagenet/bn_x30 " in out) == (name in ("train", "evaluate", "publish"))
    for _, line in commands:
        words = shlex.split(line)
        words = in_full(words) if name in ("study", *OF_STUDIES) else words
        if "--config-dir" not in words:
            compose([w for w in words if w != "-m" and "(" not in w and "," not in w])


def test_the_whole_configuration_can_be_seen(monkeypatch, capsys):
    out = answer(monkeypatch, capsys, "experiment=mnist/bn", "seed=3", "--cfg", "job")
    shown = yaml.safe_load(out)
    assert (shown["seed"], shown["model"]["norm"]) == (3, "batch")
    assert set(shown) == {f.name for f in fields(Config)}


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("experiment=mnist/b", ["experiment=mnist/baseline", "experiment=mnist/bn"]),
        ("seed=0 experiment=imagenet/bn_x", [f"experiment=imagenet/bn_x{n}" for n in (30, 5)]),
        ("study=fig1", ["study=fig1", "study=fig1_rates"]),
        ("scale=smo", ["scale=smoke"]),
        ("experiment=mnist/bn optimizer.lr", ["optimizer.lr="]),
    ],
)
def test_tab_completes(monkeypatch, capsys, line, answers):
    monkeypatch.setenv("COMP_LINE", f"python scripts/train.py {line}")
    found = answer(monkeypatch, capsys, "-sc", "query=bash").split()
    assert [word for word in found if "sigmoid" not in word] == answers


def test_an_unwritable_runs_directory_is_told(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call(monkeypatch, capsys, *SMOKE, f"runs={tmp_path / 'file' / 'runs'}")
    assert code == 2
    assert err.startswith("error: runs: cannot write to")


def test_a_truncated_data_file_is_told_by_its_path(monkeypatch, capsys, tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        content = bytes((0, 0, 8, 3 if "images" in name else 1)) + (5).to_bytes(4, "big") * 3
        (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(content * 100)[:-20])
    words = ["data=mnist", f"data.root={tmp_path}", f"runs={tmp_path / 'runs'}"]
    code, _, err = call(monkeypatch, capsys, *SMOKE, *words)
    assert code == 2
    assert f"{tmp_path}/train-images-idx3-ubyte.gz: cannot be read" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["scale=smoke"], ["study.seeds=5"]])
def test_a_smaller_study_never_goes_over_the_committed_results(monkeypatch, capsys, words):
    before = (ROOT / "results" / "fig1" / "runs.csv").read_bytes()
    code, _, err = call(monkeypatch, capsys, "study=fig1", *words, command="report")
    assert code == 2
    assert "give out=..." in err
    assert (ROOT / "results" / "fig1" / "runs.csv").read_bytes() == before


GRID_AND_FINAL = [
    "study.name=test",
    "study.blocks=[{name:grid,experiment:[mnist/bn],optimizer.lr:[0.1,0.5],seed:[0]},"
    "{name:final,experiment:[mnist/bn],optimizer.lr:{best_of:grid},seed:[1]}]",
    *("scale=smoke", "train.steps=4"),
]


def now_and_before(folder):
    """How many runs there are, and how many were moved aside."""
    runs = {p.parent for p in folder.glob("mnist/*/seed*/status.json")}
    now = {p for p in runs if "." not in p.name}
    return len(now), len(runs - now)


def test_a_study_by_force_trains_each_run_once_and_a_block_of_it_leaves_the_rest(
    monkeypatch, capsys, tmp_path
):
    def train(*words):
        code, out, err = call(monkeypatch, capsys, *GRID_AND_FINAL, f"runs={tmp_path}", *words)
        return code, out + err

    code, said = train("study.only=[final]")
    assert code == 2
    assert "study.only: final: waits for the runs of other blocks of study test" in said
    for again in ([], ["force=true"]):
        code, said = train(*again)
        assert code == 0, said
    assert now_and_before(tmp_path) == (3, 3)
    code, said = train("study.only=[final]", "force=true")
    assert code == 0, said
    assert now_and_before(tmp_path) == (3, 4)

    def stopped(runs, *args, **options):
        return [Outcome("preempted", 0, 0.0) for _ in runs]

    monkeypatch.setattr("bn_repro.cli.train.run_all", stopped)
    code, said = train("force=true")
    assert code == 75
    assert now_and_before(tmp_path) == (0, 7)  # the last block's old run too


@pytest.mark.parametrize("ask", [["study=fig1"], ["-m", "experiment=mnist/bn,mnist/baseline"]])
def test_force_moves_nothing_before_the_input_is_good(monkeypatch, capsys, tmp_path, ask):
    words = [*ask, "scale=smoke", f"runs={tmp_path}", "train.steps=4"]
    assert call(monkeypatch, capsys, *words)[0] == 0
    before = sorted(tmp_path.glob("mnist/*/seed*"))
    assert len([p for p in before if p.is_dir()]) == 2

    code, _, err = call(monkeypatch, capsys, *words, "force=true", "data=mnist", "data.root=/no")
    assert code == 2
    assert "/no" in err
    busy = max(p for p in before if p.is_dir())
    with FileLock(paths.lock_file(busy)):
        code, _, err = call(monkeypatch, capsys, *words, "force=true")
    assert code == 2
    assert f"{busy}: another process is training this run" in err
    assert sorted(tmp_path.glob("mnist/*/seed*")) == before


def test_a_report_on_no_folder_or_into_a_file_is_refused_in_a_line(monkeypatch, capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for word, said in (
        (f"runs={tmp_path}/nowhere", "error: runs: no folder"),
        (f"out={file}", "error: out: "),
    ):
        code, out, err = call(monkeypatch, capsys, word, command="report")
        assert (code, out) == (2, "")
        assert err.startswith(said)
        assert err.count("\n") == 1
    assert file.read_text() == "mine"
