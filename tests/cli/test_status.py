"""``bn-repro status``: the runs of a study or of a folder, for one look and for many."""

import io
import time
from dataclasses import replace

import yaml
from rich.console import Console
from support import as_lines

from bn_repro.cli import status as command
from bn_repro.config.compose import compose
from bn_repro.records import paths
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import write_status
from bn_repro.training.run import run


def lay(root, name, state, *, scale="default", steps=50_000, error=None, rows=(), **keys):
    """A run directory as training leaves it."""
    directory = root / "mnist" / name
    directory.mkdir(parents=True)
    train = {"steps": steps, "batch_size": 60}
    config = {"scale": scale, "model": {}, "data": {}, "optimizer": keys, "train": train}
    (directory / paths.CONFIG).write_text(yaml.safe_dump(config))
    write_status(directory, Outcome(state, 200, 1.0, error=error))
    (directory / paths.METRICS).write_text(as_lines(rows))
    paths.lock_file(directory).touch()
    return directory


def status(config, *own, console=None):
    text = io.StringIO()
    command.follow(config, own, console or Console(file=text, width=200))
    return text.getvalue().splitlines()


def test_titles_have_what_tells_runs_apart(tmp_path):
    lay(tmp_path, "bn-1/seed0", "completed", lr=0.1, momentum=0.0)
    lay(tmp_path, "bn-2/seed0", "completed", lr=0.3, momentum=0.0)
    lay(tmp_path, "bn-2/seed0.20260101-000000", "completed", lr=0.3)  # archived
    lay(tmp_path, "bn-3/seed0", "completed", scale="smoke", steps=200, lr=0.1, momentum=0.0)
    torn = lay(tmp_path, "baseline-3/seed11", "completed", lr=1.0)
    (torn / paths.CONFIG).unlink()
    lay(tmp_path, "gone-4/seed0", "completed", lr=0.1)  # of an experiment that is no more
    lay(tmp_path, "gone-5/seed0", "completed", lr=0.3)
    rows = command.rows_under(tmp_path)
    assert [row.title for row in rows] == [
        "mnist/baseline seed 11",
        "mnist/bn optimizer.lr=0.3 seed 0",
        "mnist/bn seed 0",
        "mnist/bn smoke seed 0",
        "mnist/gone optimizer.lr=0.1 seed 0",
        "mnist/gone optimizer.lr=0.3 seed 0",
    ]
    assert [row.steps for row in rows] == [0, 50_000, 50_000, 200, 50_000, 50_000]


def test_a_copy_is_left_out_and_said(tmp_path):
    for name in ("bn-1/seed0", "bn-1/seed1", "bn-1/seed00"):
        directory = lay(tmp_path, name, "completed", lr=0.1)
        made = yaml.safe_load((directory / paths.CONFIG).read_text())
        (directory / paths.CONFIG).write_text(yaml.safe_dump({**made, "seed": 0}))
    said = status(compose([f"runs={tmp_path}", "live=false"]))
    assert said[0].startswith(f"{tmp_path / 'mnist/bn-1/seed00'}: not a run's folder")
    assert said[1].startswith(f"{tmp_path / 'mnist/bn-1/seed1'}: its config.yaml is of seed 0")
    assert said[2].startswith(f"{tmp_path}: 1 run, 1 completed")


def test_a_study_has_runs_that_have_not_begun(tmp_path):
    own = ["scale=smoke", "train.steps=2", f"runs={tmp_path}"]
    run(compose(["experiment=mnist/bn", *own]), log=lambda line: None)
    lines = status(compose(["study=fig1", *own]), *own)
    assert lines[0] == "study fig1: 2 runs, 1 not begun, 1 completed"
    assert lines[2].split()[:5] == ["mnist/baseline", "seed", "0", "not", "begun"]
    assert "2/2" in lines[3]


def test_a_log_gets_one_look_with_the_errors(tmp_path):
    lay(tmp_path, "bn-1/seed0", "failed", error="OSError: [disk] full")
    lines = status(replace(compose([]), runs=str(tmp_path)))
    assert lines[0] == f"{tmp_path}: 1 run, 1 failed"
    assert lines[-1] == (
        f"mnist/bn seed 0: failed: OSError: [disk] full ({tmp_path}/mnist/bn-1/seed0)"
    )


def test_a_terminal_is_followed_until_all_have_ended(tmp_path, monkeypatch):
    directory = lay(tmp_path, "bn-1/seed0", "preempted")
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        write_status(directory, Outcome("completed" if len(naps) > 1 else "preempted", 400, 2.0))

    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr("bn_repro.sweep.display.REFRESH_SECONDS", 0)
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=20)
    status(replace(compose([]), runs=str(tmp_path)), console=console)
    assert len(naps) == 2
    assert text.getvalue().index("stopped") < text.getvalue().index("completed")


GRID = {"name": "grid", "experiment": ["mnist/bn"], "optimizer.lr": [0.1], "seed": [0]}


def test_a_study_is_followed_into_the_block_that_waited(tmp_path, monkeypatch):
    """At the moment when all known runs have ended, the next block's are looked for."""
    blocks = [
        GRID,
        {**GRID, "name": "final", "optimizer.lr": {"best_of": "grid"}, "seed": [1]},
    ]
    own = ["scale=smoke", "train.steps=2", f"runs={tmp_path}"]
    config = compose(own)
    config = replace(config, study=replace(config.study, name="test", blocks=blocks))
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        run(compose(["experiment=mnist/bn", f"seed={len(naps) - 1}", *own]), log=lambda line: None)

    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr("bn_repro.sweep.display.REFRESH_SECONDS", 0)
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=20)
    status(config, *own, console=console)
    assert len(naps) == 2  # the grid's run, then the other block's
    assert "seed 1" in text.getvalue()


def test_looking_changes_nothing(tmp_path):
    for k, state in enumerate(("running", "completed", "failed")):
        lay(tmp_path, f"bn-1/seed{k}", state)

    def everything():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}

    before = everything()
    status(replace(compose([]), runs=str(tmp_path)))
    assert everything() == before


def test_two_hundred_runs_take_ten_times_as_long_as_twenty(tmp_path):
    """Not a hundred times; of processor time, which other work on the machine hardly changes."""
    row = {"split": "test", "statistics": "moving", "loss": 1.0, "top1": 0.5}
    rows = [{"step": step, **row} for step in range(0, 8000, 100)]
    seconds, lines = [], []
    for count in (20, 200):
        folder = tmp_path / str(count)
        for k in range(count):
            state = "running" if k < 4 else "completed"
            lay(folder, f"bn-{k // 3}/seed{k % 3}", state, rows=rows, lr=float(k // 3))
        begun = time.process_time()
        lines = status(replace(compose([]), runs=str(folder)))
        seconds.append(time.process_time() - begun)
    assert seconds[1] < 25 * seconds[0]
    assert len(lines) == 202


def test_the_rate_of_a_run_of_several_ranks_is_in_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("bn_repro.sweep.run_status.is_locked", lambda directory: True)
    directory = lay(tmp_path, "bn-1/seed0", "running")
    (directory / paths.MANIFEST).write_text('{"world": 8}')
    row = {"step": 200, "examples_per_second": 960.0}  # of all ranks: 2 steps of 8 x 60 images
    (directory / paths.TIMING).write_text(as_lines([row]))
    assert " 2.0/s" in "".join(status(compose([f"runs={tmp_path}", "live=false"])))
