"""What ``dry=true`` says of runs: counted, timed by those like them, and none is trained."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support import ROOT, bn_repro, call

from bn_repro.cli import dry
from bn_repro.cli.evaluate import runs_to_evaluate
from bn_repro.config import compose as composition
from bn_repro.config.compose import compose
from bn_repro.config.schema import StudyConfig
from bn_repro.records import paths
from bn_repro.records.paths import RESULTS
from bn_repro.sweep import costs
from bn_repro.sweep.forecast import Forecast
from bn_repro.sweep.planned import PlannedRun
from bn_repro.sweep.study import expand

SMOKE = ["experiment=mnist/bn", "scale=smoke"]


def planned(runs, *words):
    return PlannedRun(compose([*words, f"runs={runs}"]), {})


def lay(run, state="completed", step=None, seconds=30.0):
    """As much of a run's records as says how far it came."""
    run.directory.mkdir(parents=True)
    step = run.config.train.steps if step is None else step
    status = {"state": state, "step": step, "seconds": seconds, "cause": None, "error": None}
    (run.directory / "status.json").write_text(json.dumps(status))
    row = {"step": step, "split": "test", "statistics": "moving", "loss": 1.0, "top1": 0.9}
    (run.directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (run.directory / "manifest.json").write_text("{}")
    config = {"experiment": run.config.experiment, "scale": run.config.scale, "seed": 0}
    (run.directory / "config.yaml").write_text(yaml.safe_dump(config))
    (run.directory / "weights").write_bytes(bytes(1_000_000))


def test_finished_begun_and_failed_runs_are_counted(tmp_path):
    runs = [planned(tmp_path, *SMOKE, f"seed={seed}") for seed in range(5)]
    lay(runs[0])
    lay(runs[1], "preempted", step=50)
    lay(runs[2], "failed", step=100)
    found = Forecast(runs, runs[0].config)
    said = "5 runs, 1 finished, 1 failed before (retry=true tries again), 3 to train (1 of them"
    assert found.summary.startswith(said)
    assert found.time(1) == "about 1 min 22 s"  # 30 s each, of one three quarters
    assert found.time(2) == "about 1 min 22 s one after another, 41 s with 2 side by side"
    assert found.disk.startswith("about 3.0 MB more in")

    again = compose([*SMOKE, f"runs={tmp_path}", "retry=true"])
    assert "4 to train (2 of them begun)" in Forecast(runs, again).summary
    anew = compose([*SMOKE, f"runs={tmp_path}", "force=true"])
    assert "0 finished, 5 to train; existing runs start over" in Forecast(runs, anew).summary
    done = {run.key: None for run in runs[3:]}
    assert "3 finished" in Forecast(runs, runs[0].config, done).summary


def test_a_run_takes_as_long_as_those_nearest_to_it(tmp_path):
    committed = tmp_path / "results" / "mine"
    committed.mkdir(parents=True)
    runs = tmp_path / "runs"
    paper = planned(runs, "experiment=mnist/bn")
    known = costs.CompletedRuns(str(runs), tmp_path / "results")
    assert known.like(paper) == ([], False)

    head = "experiment,id,seed,state,step,seconds,device\n"
    rows = [f"mnist/bn,{paper.key[1]},0,completed,50000,40,cpu", "mnist/bn,x,0,diverged,9,1,cpu"]
    rows += ["mnist/bn,other,0,completed,50000,60,cpu", "mnist/bn,torn,0,completed,,,"]
    (committed / "runs.csv").write_text(head + "\n".join(rows) + "\n")

    def took(run):
        found, same = costs.CompletedRuns(str(runs), tmp_path / "results").like(run)
        return [f.seconds for f in found], same

    assert took(paper) == ([40.0], True)
    assert took(planned(runs, "experiment=mnist/bn", "optimizer.lr=0.3")) == ([40.0, 60.0], False)
    assert took(planned(runs, "experiment=mnist/bn", "train.steps=100")) == ([], False)
    assert took(planned(runs, "experiment=mnist/baseline")) == ([], False)
    lay(planned(runs, "experiment=mnist/bn", "seed=4"), seconds=33.0)
    assert took(paper) == ([33.0], True)  # this machine's own
    lay(planned(runs, *SMOKE), seconds=2.0)
    longer = planned(runs, *SMOKE, "train.steps=400")
    assert took(longer) == ([2.0], False)
    assert Forecast([longer], longer.config).time(1) == "about 4 s"  # twice the steps


def test_what_is_committed_times_figure_1(tmp_path):
    run = planned(tmp_path, "experiment=mnist/bn")
    found, same = costs.CompletedRuns(str(tmp_path)).like(run)
    assert same
    assert {f.source for f in found} >= {"results/fig1"}
    assert (RESULTS / "fig1").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        [*SMOKE, "train.steps=4", "train.trace_every=0"],
        ["experiment=imagenet/bn_x5", "scale=smoke", "train.steps=4", "train.trace_every=0"],
    ],
)
def test_the_size_of_a_run_is_about_that_of_its_files(monkeypatch, capsys, tmp_path, words):
    config = compose([*words, f"runs={tmp_path}"])
    code, out, err = call(monkeypatch, capsys, *words, f"runs={tmp_path}")
    assert code == 0, out + err
    directory = PlannedRun(config, {}).directory
    size = sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())
    assert costs.size_of(config) == pytest.approx(size, rel=0.35)
    untraced = costs.size_of(replace(config, train=replace(config.train, trace_dense=0)))
    traces = sum((directory / name).stat().st_size for name in (paths.TRACES, paths.HISTOGRAMS))
    assert costs.size_of(config) - untraced == pytest.approx(traces, rel=0.6)


def test_the_size_of_a_run_is_that_of_its_data_set_and_of_what_it_traces():
    words = ["experiment=imagenet/bn_x5", "scale=smoke", "data=synthetic", "train.trace_every=1"]
    few, many, less = (
        costs.size_of(compose([*words, word]))
        for word in ("data.classes=10", "data.classes=1000", "train.trace_sites=[conv1]")
    )
    assert many > 1.5 * few
    assert less < few
    mlp = compose(["experiment=mnist/bn", "train.trace_sites=[hidden1]"])
    assert costs.size_of(mlp) < costs.size_of(compose(["experiment=mnist/bn"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", *SMOKE], ["mnist/bn seed 0: 1 run, 0 finished, 1 to train", "time: unknown"]),
        (["study", "fig1"], ["study fig1: 200 runs, 0 finished, 200 to train", "results/fig1"]),
        (["study", "fig1", "skip_reported=true"], ["200 finished, 0 to train", "time: none"]),
        (
            ["study", "learning_rate_and_init", "scale=smoke"],
            ["14 runs, 0 finished", "2 runs of a later block wait for a choice"],
        ),
        (
            ["train", "-m", "experiment=mnist/bn,mnist/baseline", "seed=range(0,3)"],
            ["sweep: 6 runs, 0 finished, 6 to train", "mnist/baseline     3         0         3"],
        ),
        (
            ["train", "experiment=imagenet/bn_x5"],
            ["to be given before they train: data.root: data=tiny_imagenet needs it"],
        ),
    ],
)
def test_a_dry_command_says_it_all_and_leaves_nothing(monkeypatch, capsys, tmp_path, words, said):
    code, out, err = bn_repro(monkeypatch, capsys, *words, "dry=true", f"runs={tmp_path / 'runs'}")
    assert (code, err) == (0, "")
    for line in said:
        assert line in out
    assert out.endswith("dry=true: nothing was trained, and nothing written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "study=fig1"], "dry: is for what trains; leave it out"),
        (["train", "experiment=mnist/bn", "optimizer.lr=-1"], "optimizer.lr: -1.0 is not positive"),
    ],
)
def test_bad_input_of_a_dry_command(monkeypatch, capsys, words, said):
    code, _, err = bn_repro(monkeypatch, capsys, *words, "dry=true")
    assert code == 2
    assert said in err


def test_the_jobs_of_a_sweep_are_composed_once_for_all_seeds(monkeypatch, capsys, tmp_path):
    composed, plain = [], composition.plain

    def counted(made, overrides):
        composed.append(overrides)
        return plain(made, overrides)

    monkeypatch.setattr(composition, "plain", counted)
    words = ["-m", *SMOKE, "optimizer.lr=0.1,0.2", "seed=range(0,20)", "dry=true"]
    code, out, err = bn_repro(monkeypatch, capsys, "train", *words, f"runs={tmp_path}")
    assert (code, err) == (0, "")
    assert "40 runs" in out
    assert len(composed) == 2


def test_a_seed_that_another_key_names_reaches_it(monkeypatch, capsys, tmp_path):
    words = ["-m", "experiment=mnist/bn", "scale=smoke", "train.steps=1", "seed=0,1"]
    code, *_ = bn_repro(monkeypatch, capsys, "train", *words, f"runs={tmp_path}/${{seed}}")
    assert code == 0
    found = sorted(path.relative_to(tmp_path).parts for path in tmp_path.glob("*/mnist/*/seed*/"))
    assert [(runs, folder) for runs, _, _, folder in found] == [("0", "seed0"), ("1", "seed1")]


def test_a_seed_that_another_key_names_reaches_it_in_a_study_too(tmp_path):
    own = [f"runs={tmp_path}/${{seed}}", "data.limit=${seed}"]  # no limit of 0, the usual seed
    study = StudyConfig(blocks=[{"experiment": ["mnist/bn"], "seed": [3, 4]}])
    runs, _ = expand(study, own, lambda run: None)
    assert [Path(run.config.runs).name for run in runs] == ["3", "4"]
    asked = ["experiment=mnist/bn", "evaluation.seeds=[3,4]", *own]
    evaluated, _ = runs_to_evaluate(compose([*asked, "seed=3"]), asked)
    assert [run.key for run in evaluated] == [run.key for run in runs]
    assert runs[0].key[1] != runs[1].key[1]


def test_a_dry_study_of_section_4_1_needs_no_torch(tmp_path):
    code = """import sys
from bn_repro.cli.command import main
try: main()
finally: assert "torch" not in sys.modules"""
    words = ["study", "fig1", "dry=true", f"runs={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_one_run_that_failed_is_tried_again(tmp_path, capsys):
    run = planned(tmp_path, *SMOKE)
    lay(run, "failed", step=50)
    dry.one_run(run.config, None)
    assert "1 to train" in capsys.readouterr().out
