"""The commands as a user meets them: what they print, their exit codes, what they leave alone."""

import gzip
import runpy
import sys

import pytest
from support import ROOT

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=20"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["experiment=mnist/bn", "optimizer.lrr=1"], 1, "lrr"),
        (["experiment=mnist/nothing"], 1, "mnist/nothing"),
        (["experiment=mnist/bn", "train.steps=many"], 1, "train.steps"),
        (["experiment=mnist/bn", "optimizer.lr=-1"], 2, "optimizer.lr: -1.0 is not positive"),
        (["experiment=mnist/bn", "model.norm=bach"], 2, "model.norm: 'bach' is unknown; one of"),
        (["experiment=mnist/bn", "device=cuda"], 2, "device: 'cuda' was asked for"),
        ([], 2, "experiment=mnist/bn"),
        (["study=fig1", "seed=3"], 2, "study.seeds=N"),
        (["experiment=mnist/bn", "data=mnist", "data.root=nowhere"], 2, "data.root: no train-im"),
        (["experiment=mnist/bn", "train.batch_size=70000"], 2, "train.batch_size"),
        (["-m", "experiment=mnist/bn", "optimizer.lr=-1,1"], 2, "optimizer.lr: -1.0"),
        (["-m", "study=fig1"], 2, "-m: a study is a sweep of its own"),
        (["experiment=mnist/bn", "+optimizer.lrr=1"], 2, "optimizer.lrr: no such key"),
        (["experiment=mnist/bn", "model.width=0.5"], 2, "model.width: mlp has no such setting"),
        (["experiment=mnist/bn", "data=synthetic"], 2, "data.name: synthetic has examples of"),
        (["experiment=mnist/bn", "train.batch_size=1"], 2, "train.batch_size: BatchNorm"),
        (["experiment=mnist/bn", "train.trace_sites=[hidden9]"], 2, "no hidden9"),
        (["study=fig1", "study.seeds=12"], 2, "study.seeds: 12 of the 10"),
        (["study=fig1", "data=mnist", "data.root=nowhere"], 2, "data.root: no train-im"),
        (["study=fig1", "device=cuda"], 2, "device: 'cuda' was asked for"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(tmp_path, words, code, said, monkeypatch, capsys):
    path = str(ROOT / "scripts" / "train.py")
    monkeypatch.setattr(sys, "argv", [path, *words, f"runs={tmp_path / 'runs'}"])
    with pytest.raises(SystemExit) as end:  # in this process: a new one takes seconds to begin
        runpy.run_path(path, run_name="__main__")
    printed = capsys.readouterr()
    out = printed.out + printed.err
    assert said in out
    assert end.value.code == code, out
    assert "Traceback" not in out
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_runs_directory_is_told(script, tmp_path):
    (tmp_path / "file").write_text("")
    done = script("train.py", *SMOKE, f"runs={tmp_path / 'file' / 'runs'}")
    assert done.returncode == 2
    assert "runs: cannot write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_data_file_is_told_by_its_path(script, tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        content = bytes((0, 0, 8, 3 if "images" in name else 1)) + (5).to_bytes(4, "big") * 3
        (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(content * 100)[:-20])
    done = script(
        "train.py", *SMOKE, "data=mnist", f"data.root={tmp_path}", f"runs={tmp_path / 'runs'}"
    )
    assert done.returncode == 2
    assert f"{tmp_path}/train-images-idx3-ubyte.gz: cannot be read" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_sweep_runs_side_by_side_and_is_not_done_again(script, tmp_path):
    words = [*SMOKE, "optimizer.lr=0.1,0.5", "seed=range(0,2)", f"runs={tmp_path}", "-m"]
    first = script("train.py", *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("completed at step 20") == 4
    assert len(list(tmp_path.glob("mnist/bn-*/seed*/status.json"))) == 4
    again = script("train.py", *words)
    assert "4 of 4 runs are already finished" in again.stdout


def test_a_failed_run_leaves_the_others_running(script, tmp_path):
    blocked = script("train.py", *SMOKE, "optimizer.lr=0.25", f"runs={tmp_path}")
    assert blocked.returncode == 0
    (directory,) = tmp_path.glob("mnist/bn-*")
    status = directory / "seed0" / "status.json"
    status.write_text(status.read_text().replace("completed", "running"))
    for path in (directory / "seed0" / "checkpoints").iterdir():
        path.unlink()
    (directory / "seed0" / "metrics.jsonl").unlink()
    (directory / "seed0" / "metrics.jsonl").mkdir()
    done = script("train.py", *SMOKE, "optimizer.lr=0.1,0.25,0.5", f"runs={tmp_path}", "-m")
    assert done.returncode == 1
    assert done.stdout.count("completed at step 20") == 2
    assert "failed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["scale=smoke"], ["study.seeds=5"]])
def test_a_smaller_study_never_goes_over_the_committed_results(script, words):
    before = (ROOT / "results" / "fig1" / "runs.csv").read_bytes()
    done = script("report.py", "study=fig1", *words)
    assert done.returncode == 2
    assert "give out=..." in done.stderr
    assert (ROOT / "results" / "fig1" / "runs.csv").read_bytes() == before


def test_a_study_done_by_force_does_each_run_once(script, tmp_path):
    grid = "{name:grid,experiment:[mnist/bn],optimizer.lr:[0.1,0.5],seed:[0]}"
    final = "{experiment:[mnist/bn],optimizer.lr:{best_of:grid},seed:[1]}"
    words = ["study.name=test", f"study.blocks=[{grid},{final}]", "scale=smoke", "train.steps=4"]
    for again in ([], ["force=true"]):
        done = script("train.py", *words, f"runs={tmp_path}", *again)
        assert done.returncode == 0, done.stdout + done.stderr
    runs = {p.parent for p in tmp_path.glob("mnist/*/seed*/status.json")}
    now = {p for p in runs if "." not in p.name}
    assert (len(now), len(runs - now)) == (3, 3)


def test_a_study_goes_from_runs_to_verdicts(script, tmp_path):
    words = ["study=fig1", "scale=smoke", f"runs={tmp_path}"]
    trained = script("train.py", *words)
    assert trained.returncode == 0, trained.stderr
    out = tmp_path / "fig1"
    done = script("report.py", *words, f"out={out}")
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout
    names = {path.name for path in out.iterdir()}
    assert {"README.md", "claims.json", "runs.csv", "curves.csv.gz", "traces.csv.gz"} <= names
    assert {"figure1.svg", "figure1.png"} <= names
