"""Sweeps: what a word stands for, what is done again and what is not, and where runs work."""

import io
import json
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console
from submitit.core.utils import FailedJobError
from support import ROOT

from bn_repro.cli import errors
from bn_repro.cli.overrides import for_hydra
from bn_repro.cli.results import Results
from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id
from bn_repro.records import paths
from bn_repro.records.reader import Outcome, last_top1
from bn_repro.records.recorder import mark_as_lost, write_status
from bn_repro.sweep import slurm
from bn_repro.sweep.planned import PlannedRun
from bn_repro.sweep.scheduler import LOST, failed_before, run_all, with_one_engine
from bn_repro.training.run import record_failure
from bn_repro.training.world import World

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=4", "train.population_batches=0"]


class Work:
    """A run that ends at the second look; it stops when it is asked to."""

    def __init__(self, planned, states):
        self.state = states.get(planned.config.seed, "completed")
        self.looks, self.asked = 0, False

    def stop(self):
        self.asked = True

    def ended(self):
        self.looks += 1
        return self.asked or self.looks > (1 if self.state == "failed" else 2)

    def outcome(self, stopping):
        assert stopping or not self.asked
        return Outcome("preempted" if self.asked else self.state, 4, 0.1)


class Executor:
    """Two places for runs whose ends are given by seed."""

    def __init__(self, states=None):
        self.states, self.begun = states or {}, []

    def preflight(self, configs):
        pass

    def has_room(self, run, busy):
        return busy < 2

    def start(self, runs, busy):
        self.begun += [r.config.seed for r in runs]
        return [Work(r, self.states) for r in runs]

    def wait(self, workers):
        assert workers


def five(tmp_path):
    config = compose([*SMOKE, f"runs={tmp_path}"])
    return [PlannedRun(replace(config, seed=seed), {}) for seed in range(5)]


def bring_to_end(runs, executor, **options):
    """The outcomes, what was printed, and the command's exit code."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    outcomes = run_all(runs, executor, console, **options)
    results = Results(replace(runs[0].config, on_failure="continue"), console)
    for run, outcome in zip(runs, outcomes, strict=True):
        results.add(run.title, run.directory, outcome)
    results.log()
    return outcomes, text.getvalue(), results.exit_code


def test_a_failure_leaves_the_others_running(tmp_path):
    executor = Executor({1: "failed", 2: "diverged"})
    outcomes, _, code = bring_to_end(five(tmp_path), executor)
    assert [o.state for o in outcomes] == [
        "completed",
        "failed",
        "diverged",
        "completed",
        "completed",
    ]
    assert executor.begun == [0, 1, 2, 3, 4]
    assert code == 1


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [
        (paths.STATUS, "", "completed"),
        (paths.STATUS, '{"step": null}', "completed"),
        (paths.MANIFEST, "5", "completed"),
        (paths.METRICS, '{"step": 4}\n5\n{"step": 4}\n', "failed"),
    ],
)
def test_a_damaged_file_of_one_run_stops_no_other(tmp_path, name, content, state):
    runs, executor = five(tmp_path), Executor()
    directory = runs[2].directory
    directory.mkdir(parents=True)
    write_status(directory, Outcome("completed", 4, 0.5))
    (directory / paths.METRICS).write_text('{"step": 4}\n')
    (directory / name).write_text(content)
    outcomes, text, code = bring_to_end(runs, executor)
    assert [o.state for o in outcomes] == ["completed", "completed", state, *["completed"] * 2]
    assert code == (state == "failed")
    assert {0, 1, 3, 4} <= set(executor.begun)
    assert (str(directory / name) in text) == (name != paths.MANIFEST)


def test_a_failure_can_stop_all_resumably(tmp_path):
    executor = Executor({1: "failed"})
    outcomes, text, code = bring_to_end(five(tmp_path), executor, on_failure="stop")
    assert [o.state for o in outcomes] == ["preempted", "failed", *["preempted"] * 3]
    assert executor.begun == [0, 1]
    assert code == 1
    assert "stopped; run the same command again to go on" in text


def test_the_exit_code_of_several_is_the_first_of_2_1_75_0():
    assert [errors.first_of(*codes) for codes in ((0, 75), (75, 1, 0), (1, 2, 75), (0,))] == [
        *(75, 1, 2, 0)
    ]


def test_a_run_that_failed_of_itself_waits_for_retry_and_a_killed_one_does_not(tmp_path):
    runs = five(tmp_path)
    for planned, error in ((runs[0], "OSError: disk full"), (runs[1], f"{LOST}: SIGKILL")):
        planned.directory.mkdir(parents=True)
        write_status(planned.directory, Outcome("failed", 2, 0.5, error=error))
    runs[2].directory.mkdir(parents=True)
    write_status(
        runs[2].directory, Outcome("failed", 2, 0.5, error="job 7 left no result", cause="lost")
    )
    skipped = failed_before(runs)
    assert skipped == {runs[0].directory: Outcome("failed", 2, 0.5, error="OSError: disk full")}
    executor = Executor()
    outcomes, text, _ = bring_to_end(runs, executor, skipped=skipped)
    assert outcomes[0] == skipped[runs[0].directory]
    assert executor.begun == [1, 2, 3, 4]
    assert "sweep: 1 failed before (retry=true tries again), 4 to train" in text
    again = Executor()
    bring_to_end(runs, again)
    assert again.begun == [0, 1, 2, 3, 4]


def engines_of(*words):
    planned = [PlannedRun(compose([*SMOKE, word]), {}) for word in words]
    return [run.config.train.engine for run in with_one_engine(planned, planned)]


def test_runs_to_be_compared_have_one_engine(tmp_path):
    runs, other = f"runs={tmp_path}", "model.norm=sync_batch"
    assert engines_of(runs, "model.norm=none") == ["auto", "auto"]
    assert engines_of(runs, other, "train.engine=by_hand") == ["eager", "eager", "by_hand"]
    inception = PlannedRun(compose(["experiment=imagenet/bn_x5", "scale=smoke", runs]), {})
    mixed = [PlannedRun(compose([*SMOKE, runs]), {}), inception]  # these are never compared
    assert [run.config.train.engine for run in with_one_engine(mixed, mixed)] == ["auto", "eager"]
    begun = PlannedRun(compose([*SMOKE, runs]), {}).directory
    begun.mkdir(parents=True)
    (begun / paths.MANIFEST).write_text('{"engine": "by_hand"}')
    assert engines_of(runs, other) == ["auto", "eager"]


STUDY = """
name: chosen
blocks:
  - {name: tried, experiment: [mnist/bn], optimizer.lr: [0.1, 1.0], seed: [0]}
  - {name: best, experiment: [mnist/bn], optimizer.lr: {best_of: tried}, seed: [1]}
"""


LAYER_IS_EAGER = [
    "study.name=test",
    "study.blocks=["
    "{name:first,experiment:[mnist/bn],optimizer.lr:[0.1],seed:[0]},"
    "{name:later,experiment:[mnist/bn],model.norm:[layer],optimizer.lr:{best_of:first},seed:[1]}]",
]


@pytest.mark.parametrize("ask", [[], ["study.only=[first]"], ["study.run=0"]])
def test_a_block_that_waits_has_its_word_on_the_engine(monkeypatch, tmp_path, ask):
    """Else the blocks of one study would have two, and its report would refuse them."""
    words = [*LAYER_IS_EAGER, *SMOKE[1:], f"runs={tmp_path}", *ask]
    assert command(monkeypatch, *words) == 0
    (first,) = tmp_path.glob("mnist/bn-*/seed0")
    assert read(first, paths.MANIFEST)["engine"] == "eager"


@pytest.fixture
def reported(monkeypatch, tmp_path):
    """A study's words; the runs of its first block are reported, trained elsewhere: 1.0 is best."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study/chosen.yaml").write_text(STUDY)
    ids = [run_id(compose([*SMOKE, f"optimizer.lr={rate}"])) for rate in (0.1, 1.0)]
    folder = tmp_path / "results/chosen"
    folder.mkdir(parents=True)
    rows = [f"mnist/bn,{ids[0]},0,diverged,3,,1.5\n", f"mnist/bn,{ids[1]},0,completed,4,0.9,1.5\n"]
    head = "experiment,id,seed,state,step,final_top1,seconds\n"
    (folder / "runs.csv").write_text(head + "".join(rows))
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    words = ["study=chosen", f"hydra.searchpath=[file://{tmp_path}]", *SMOKE[1:]]
    return [*words, f"runs={tmp_path / 'runs'}"]


def test_reported_runs_are_not_trained_again(monkeypatch, executor, reported, capsys):
    assert command(monkeypatch, *reported) == 0
    assert executor.begun == [0, 0]  # of no directory; the block of the best waits for them
    executor.begun = []
    assert command(monkeypatch, *reported, "study.skip_reported=true") == 0
    assert executor.begun == [1]
    out = capsys.readouterr().out
    assert "study chosen: 2 of 3 runs are already finished, 1 to train" in out
    assert "mnist/bn optimizer.lr=1.0 seed 1: completed" in out
    assert "diverged" in out
    assert command(monkeypatch, *reported, "study.skip_reported=true", "study.run=1") == 0
    assert "already completed at step 4" in capsys.readouterr().out
    assert command(monkeypatch, *reported, "study.skip_reported=true", "force=true") == 2
    assert "study.skip_reported: " in capsys.readouterr().err


def command(monkeypatch, *words):
    """The command in this process: its exit code."""
    path = str(ROOT / "scripts" / "train.py")
    monkeypatch.setattr(sys, "argv", [path, *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(path, run_name="__main__")
    return end.value.code


def directories(runs):
    return sorted(path.parent for path in Path(runs).glob("mnist/*/seed*/status.json"))


def read(directory, name):
    return json.loads((directory / name).read_text())


@pytest.fixture
def executor(monkeypatch):
    """Every sweep of this process goes to an executor that trains nothing."""
    found = Executor()
    monkeypatch.setattr("bn_repro.sweep.local.LocalExecutor", lambda jobs: found)
    return found


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["seed=range(0,6,step=2)"], [0, 2, 4]),
        (["seed=choice(3,1)"], [3, 1]),
        (["seed=sort(3,1,2)"], [1, 2, 3]),
        (["seed=1,2", "optimizer.lr=0.1,1.0"], [1, 1, 2, 2]),
    ],
)
def test_ranges_and_choices(monkeypatch, executor, tmp_path, words, seeds):
    assert command(monkeypatch, "-m", *SMOKE, *words, f"runs={tmp_path}") == 0
    assert executor.begun == seeds


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        (
            "experiment=glob(mnist/*)",
            "experiment=mnist/baseline,mnist/bn,mnist/recurrent,mnist/recurrent_bn",
        ),
        ("experiment=glob(*/bn,exclude=imagenet/*)", "experiment=mnist/bn"),
        ("experiment=glob([*_x5,*_x30])", None),
        ("seed=glob(*)", "seed=glob(*)"),
    ],
)
def test_a_glob_stands_for_experiments(word, expanded):
    (found,) = for_hydra([word])
    if expanded is None:
        names = found.removeprefix("experiment=").split(",")
        x5 = ["imagenet/bn_x5", "imagenet/inception_x5"]
        assert names == ["imagenet/bn_baseline_x5", "imagenet/bn_x30", *x5]
    else:
        assert found == expanded


def test_a_sweep_of_nothing_is_told(monkeypatch, executor, tmp_path, capsys):
    assert command(monkeypatch, "-m", *SMOKE, "data=glob(none*)", f"runs={tmp_path}") == 2
    assert "-m: nothing to run" in capsys.readouterr().err
    assert command(monkeypatch, "-m", "experiment=glob(none*)", f"runs={tmp_path}") == 2
    assert "matches none of imagenet/bn_baseline" in capsys.readouterr().err


def test_titles_tell_what_is_swept_alone(monkeypatch, executor, tmp_path, capsys):
    command(monkeypatch, "-m", *SMOKE, "optimizer.lr=0.1,1.0", "live=false", f"runs={tmp_path}")
    out = capsys.readouterr().out
    assert "mnist/bn optimizer.lr=0.1 seed 0  completed" in out
    assert "train.steps" not in out
    assert "live" not in out


def test_a_sweep_in_batches_has_one_table_and_one_exit_code(
    monkeypatch, executor, tmp_path, capsys
):
    executor.states = {0: "failed"}
    words = ["-m", *SMOKE, "seed=0,1,2", "hydra.sweeper.max_batch_size=1", f"runs={tmp_path}"]
    assert command(monkeypatch, *words) == 1
    assert executor.begun == [0, 1, 2]
    assert capsys.readouterr().out.count("accuracy") == 1
    executor.begun = []
    assert command(monkeypatch, *words, "on_failure=stop") == 1
    assert executor.begun == [0]


@pytest.mark.parametrize("died", [mark_as_lost, lambda directory, reason: interrupted(directory)])
def test_a_run_that_ended_and_died_before_it_could_tell_has_ended(tmp_path, died):
    run = five(tmp_path)[0]
    run.directory.mkdir(parents=True)
    write_status(run.directory, Outcome("completed", 4, 0.5))
    (run.directory / paths.METRICS).write_text('{"step": 4}\n')
    assert died(run.directory, f"{LOST}: SIGKILL").state == "completed"
    assert json.loads((run.directory / paths.STATUS).read_text())["state"] == "completed"


def interrupted(directory):
    return record_failure(directory, KeyboardInterrupt(), World())


def test_a_failed_run_has_its_traceback_and_is_tried_again_on_request(
    monkeypatch, tmp_path, capsys
):
    words = ["-m", *SMOKE, "optimizer.lr=0.1,0.25", "hydra.launcher.jobs=2", f"runs={tmp_path}"]
    spoiled = compose([*SMOKE, "optimizer.lr=0.25", f"runs={tmp_path}"])
    directory = PlannedRun(spoiled, {}).directory
    (directory / paths.METRICS).mkdir(parents=True)
    assert command(monkeypatch, *words) == 1
    out = capsys.readouterr().out
    assert re.search(rf"1 failed: \w+Error: .*\({directory}/traceback.txt\)", out)
    assert "add retry=true to train failed runs again" in out
    assert "Traceback" in (directory / paths.TRACEBACK).read_text()
    states = [read(d, paths.STATUS)["state"] for d in directories(tmp_path)]
    assert sorted(states) == ["completed", "failed"]

    (directory / paths.METRICS).rmdir()
    assert command(monkeypatch, *words) == 1
    out = capsys.readouterr().out
    assert "1 of 2 runs are already finished, 1 failed before (retry=true tries again)" in out
    assert command(monkeypatch, *words, "retry=true") == 0
    assert read(directory, paths.STATUS)["state"] == "completed"
    assert "retry: false" in (directory / paths.CONFIG).read_text()


@pytest.mark.skipif(
    not find_spec("hydra_plugins.hydra_optuna_sweeper"), reason="needs the extra 'optuna'"
)
@pytest.mark.filterwarnings("ignore:The ``declarative_base:DeprecationWarning")  # Optuna's own
def test_optuna_seeks_the_best_accuracy_and_the_same_command_trains_nothing(
    monkeypatch, tmp_path, capsys
):
    words = ["-m", "hydra/sweeper=search", f"hydra.sweep.dir={tmp_path}", *SMOKE]
    words += ["optimizer.lr=tag(log,interval(0.001,10.0))", "hydra.sweeper.n_trials=4"]
    words.append(f"runs={tmp_path}")
    assert command(monkeypatch, *words) == 0
    found = directories(tmp_path)
    assert len(found) == 4
    best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert capsys.readouterr().out.count("run  ") == 1
    rates = [yaml.safe_load((d / paths.CONFIG).read_text())["optimizer"]["lr"] for d in found]
    top = max(zip(map(last_top1, found), rates, strict=True))
    assert (best["best_value"], best["best_params"]["optimizer.lr"]) == top
    assert command(monkeypatch, *words) == 0
    assert directories(tmp_path) == found
    assert capsys.readouterr().out.count("2 of 2 runs are already finished") == 2


def holds(process, file):
    """Whether a process has a file open."""
    try:
        return any(os.readlink(fd) == str(file) for fd in Path(f"/proc/{process}/fd").iterdir())
    except OSError:  # it, or one of its files, is gone
        return False


def test_submitit_runs_jobs_and_one_that_is_preempted_goes_on(monkeypatch, tmp_path, capsys):
    words = ["-m", *SMOKE, "train.steps=8000", "train.log_every=10", "train.eval_every=2000"]
    words += ["seed=0,1"]
    words += ["hydra/launcher=submitit_local", "hydra.launcher.jobs=2", f"runs={tmp_path}"]
    sent, over = [], threading.Event()

    def preempt():
        """The first job that trains is told that its machine is wanted."""
        while not sent and not over.wait(0.02):
            for metrics in tmp_path.glob("mnist/*/seed*/metrics.jsonl"):
                folders = (tmp_path / ".submitit").glob("[0-9]*")
                controllers = ",".join(folder.name for folder in folders)
                jobs = subprocess.run(
                    ["pgrep", "-P", controllers], capture_output=True, text=True
                ).stdout.split()
                # Another job may be starting still: it has no run yet that would go on.
                own = [job for job in jobs if holds(job, paths.lock_file(metrics.parent))]
                if metrics.stat().st_size and own:
                    sent.append(int(own[0]))
                    os.kill(sent[0], signal.SIGUSR2)
                    return

    thread = threading.Thread(target=preempt, daemon=True)
    thread.start()
    assert command(monkeypatch, *words) == 0
    over.set()
    thread.join()
    assert sent
    out = capsys.readouterr().out
    assert out.count("completed at step 8,000") == 2
    manifests = [read(d, paths.MANIFEST) for d in directories(tmp_path)]
    assert [len(m.get("resumed", [])) for m in sorted(manifests, key=str)].count(1) == 1
    assert all(m["command"].startswith("train.py -m experiment=mnist/bn") for m in manifests)
    for directory in directories(tmp_path):
        assert read(directory, paths.STATUS)["state"] == "completed"
        rows = (directory / paths.METRICS).read_text().splitlines()
        steps = [json.loads(row)["step"] for row in rows]
        assert steps == sorted(steps)


def job_of(planned, tmp_path, **said):
    """A local job of submitit's that has ended, as it looks from here."""
    pickle = tmp_path / "result"
    if "result" in said:
        pickle.touch()
    files = SimpleNamespace(result_pickle=pickle, stderr="err.txt")

    def result():
        if isinstance(said["result"], Exception):
            raise said["result"]
        return said["result"]

    return slurm.Job(planned, SimpleNamespace(job_id="7", paths=files, result=result), "local")


def test_a_lost_job_is_told_and_harms_none(tmp_path):
    planned = five(tmp_path)[0]
    lost = job_of(planned, tmp_path).outcome(stopping=False)
    assert (lost.state, lost.error) == (
        "failed",
        "its process ended: job 7 left no result; see err.txt",
    )
    assert job_of(planned, tmp_path).outcome(stopping=True).state == "preempted"
    trace = FailedJobError(
        "Job failed with trace:\n  File\nValueError: data.root: gone\n---\nYou can"
    )
    failed = job_of(planned, tmp_path, result=trace).outcome(stopping=False)
    assert failed.error == "ValueError: data.root: gone"
    planned.directory.mkdir()
    write_status(planned.directory, Outcome("failed", 3, 1.0, error="OSError: disk full"))
    assert job_of(planned, tmp_path, result=trace).outcome(stopping=False) == Outcome(
        "failed", 3, 1.0, error="OSError: disk full"
    )


def test_a_run_that_fails_is_a_failed_job(tmp_path, monkeypatch):
    command_line = list(sys.argv)
    monkeypatch.setattr(sys, "argv", [])
    planned = five(tmp_path)[0]
    (planned.directory / paths.METRICS).mkdir(parents=True)
    with pytest.raises(RuntimeError, match="IsADirectoryError"):
        slurm.Training(tuple(command_line))(planned.config)
    assert sys.argv == command_line


def test_a_job_takes_parameters_of_slurm_and_refuses_others(tmp_path, monkeypatch):
    planned = five(tmp_path)[:1]
    jobs = slurm.SlurmExecutor("slurm", str(tmp_path / "%j"), special={"partition": "gpu"})
    with pytest.raises(ValueError, match=r"hydra/launcher: submitit: Could not detect \"srun\""):
        jobs.start(planned, [])
    jobs = slurm.SlurmExecutor("local", str(tmp_path / "%j"), special={"partition": "gpu"})
    with pytest.raises(ValueError, match="hydra/launcher: submitit: Unknown argument 'partition'"):
        jobs.start(planned, [])


def test_local_jobs_have_room_on_what_they_see(tmp_path, monkeypatch):
    """GPUs are hidden from them; or all see the same ones."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(3))
    run = five(tmp_path)[0]

    def jobs(**how):
        executor = slurm.SlurmExecutor("local", str(tmp_path), **how)
        return next(busy for busy in range(99) if not executor.has_room(run, busy))

    assert jobs(common={"gpus_per_node": 0}) == jobs() == 3
    assert jobs(common={"gpus_per_node": 2}) == 1
    assert jobs(common={"gpus_per_node": 2}, jobs=4) == jobs(jobs=4) == 4
    cluster = slurm.SlurmExecutor("slurm", str(tmp_path))
    assert cluster.has_room(run, 1_000)
    assert not replace(cluster, jobs=4).has_room(run, 4)


def test_a_job_whose_time_is_up_is_queued_again_though_sigterm_follows(monkeypatch):
    """As SLURM sends them: the signal that was asked for, then SIGTERM."""
    asked = []

    def preempted(config, stop):
        with stop.listening():
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGTERM)
        return Outcome("preempted", 7, 1.0)

    monkeypatch.setattr("bn_repro.training.run.run", preempted)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    before = signal.signal(signal.SIGUSR2, lambda *_: asked.append("queued"))
    try:
        slurm.Training(tuple(sys.argv))(compose(SMOKE))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert asked == ["queued"]


def test_jobs_that_were_cancelled_are_asked_for_at_once_and_then_seldom(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm.Job, "asked", -math.inf)
    planned, asked = five(tmp_path)[0], []
    ends = {"done": lambda force_check: asked.append(force_check), "cancel": lambda check: None}
    jobs = [slurm.Job(planned, SimpleNamespace(**ends), "slurm") for _ in range(2)]
    jobs[0].ended()
    for job in jobs:
        job.stop()
    for job in jobs:
        job.ended()
    assert asked == [False, True, False]  # one answer is of all
